"""Reading a device's own log, from its folder on this machine, without changing it."""

from dataclasses import dataclass
from pathlib import Path

from mote.log import Log, LogError, genesis
from mote.wire import subkey
from mote_ports.files import FileMedium

from mote_host.errors import DeviceError
from mote_host.frames import Record, decode
from mote_host.registry import KEY_BYTES
from mote_host.turns import Turns

_HEADER = 64
_LARGEST_RECORD = 4096


@dataclass(frozen=True, slots=True)
class DeviceLog:
    """A log as it was read. `head` is the chain hash after the last record."""

    records: list[Record]
    head: bytes
    signed: bool  # the segments' MACs were checked with the device's key
    named: bool  # the chain begins with the device's name


def find_log(path: Path) -> Path:
    """The folder with the segments: `path` itself, or `log` or `state/log` in it."""
    for folder in (path, path / "log", path / "state" / "log"):
        if (folder / "0000.log").is_file():
            return folder
    raise DeviceError(f"{path}: no log here (no 0000.log in it, in log/ or in state/log/)")


def read_log(path: Path, device: str | None = None, key: bytes | None = None) -> DeviceLog:
    """Read and verify the log in `path`: every CRC and the chain across all segments.

    With the device's `key` the segments' MACs are checked too, with its name that the chain is
    that device's. Raises DeviceError with the place of what is wrong.
    """
    folder = find_log(path)
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9].log"))
    header = files[0].read_bytes()[:_HEADER]
    if len(header) < _HEADER or header[:4] != b"mote":
        raise DeviceError(f"{files[0]}: not a mote log")
    unit = header[5] + 1
    size = max(*(file.stat().st_size for file in files), _HEADER) + unit
    medium = FileMedium(str(folder), int(files[-1].stem) + 1, size // unit * unit, unit)
    start = genesis(device) if device else header[12:44]
    if header[8:12] == b"\0\0\0\1" and header[12:44] != start:
        raise DeviceError(f"{folder}: this is not the log of {device}")
    log = Log(medium.read_only(), start, subkey(key, "log").sign if key else None, _LARGEST_RECORD)
    turns = Turns()
    records: list[Record] = []

    def visit(seq: int, h: bytes, kind: int, payload: memoryview) -> None:
        records.append(turns.place(Record(seq, kind, h, decode(kind, bytes(payload)))))

    try:
        log.open(visit)
    except (LogError, ValueError) as exc:
        raise DeviceError(f"{folder}: {exc}") from exc
    finally:
        medium.close()
    return DeviceLog(records, log.head, key is not None, device is not None)


def read_key(path: Path) -> bytes:
    """The key in a device's key file: 32 bytes as 64 hexadecimal digits. Raises DeviceError."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError as exc:
        raise DeviceError(f"{path}: {exc.strerror}") from exc
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DeviceError(f"{path}: not a key of {2 * KEY_BYTES} hexadecimal digits")
    return key
