"""The enrolled devices: one key file for each, in a directory that only the owner may enter."""

import os
import re
import secrets
import tempfile
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from mote.wire import Mac, subkey

from mote_host.errors import DeviceError

KEY_BYTES = 32
MAX_MACS = 4096  # of keys that are in use

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


def is_name(name: str) -> bool:
    """Whether a device can have that name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """The name itself, if a device can have it. Raises DeviceError."""
    if not is_name(name):
        raise DeviceError(
            f"{name[:64]!r} can't be a device's name: 1 to 32 of a-z A-Z 0-9 - _ ."
            " beginning with a letter or a digit"
        )
    return name


@lru_cache(MAX_MACS)
def mac(key: bytes, use: str) -> Mac:
    """What signs for one `use` of a key. To make it costs more than to sign a message with it."""
    made: Mac = subkey(key, use)
    return made


class Registry:
    """Keys under `state_dir`: `devices/NAME.key`, and `revoked/NAME-<utc>.key`."""

    def __init__(self, state_dir: Path) -> None:
        self._devices = state_dir / "devices"
        self._revoked = state_dir / "revoked"

    def enroll(self, name: str) -> bytes:
        """Make a new key for a new device and return it. Raises DeviceError if it is enrolled."""
        path = self._path(name)
        key = secrets.token_bytes(KEY_BYTES)
        try:
            _make_private(self._devices)
            _write_new(path, key.hex() + "\n")
        except FileExistsError:
            raise DeviceError(f"{name} is enrolled already ({path})") from None
        except OSError as exc:
            raise DeviceError(f"{path}: the key can't be written: {exc.strerror}") from exc
        return key

    def revoke(self, name: str) -> Path:
        """Put the device's key aside; returns where. Raises DeviceError if it is not enrolled."""
        path = self._path(name)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self._revoked / f"{name}-{stamp}.key"
        try:
            _make_private(self._revoked)
            path.rename(aside)
            aside.chmod(0o600)
        except FileNotFoundError:
            raise DeviceError(f"{name} is not enrolled") from None
        except OSError as exc:
            raise DeviceError(f"{path}: the key can't be moved: {exc.strerror}") from exc
        return aside

    def key(self, name: str) -> bytes | None:
        """The device's key; None if it is not enrolled. Raises DeviceError if the file is bad."""
        if not is_name(name):
            return None
        path = self._path(name)
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise DeviceError(f"{path}: the key can't be read: {exc.strerror}") from exc
        except ValueError:
            key = b""  # nothing of the file may get into an error's text
        if len(key) != KEY_BYTES:
            raise DeviceError(f"{path}: not a key of {2 * KEY_BYTES} hexadecimal digits")
        return key

    def names(self) -> list[str]:
        """The enrolled devices, sorted."""
        found = (path.stem for path in self._devices.glob("*.key"))
        return sorted(name for name in found if is_name(name))

    def _path(self, name: str) -> Path:
        return self._devices / f"{check_name(name)}.key"


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)


def _write_new(path: Path, text: str) -> None:
    """Create `path` whole and safe, or not at all. Raises FileExistsError.

    mkstemp opens with O_EXCL and mode 0600; link, unlike rename, never replaces a key.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
