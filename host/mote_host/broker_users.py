"""The users of a mosquitto that `mote broker init` set up: passwords, what each may do, logins."""

import base64
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mote_host.config import BrokerSettings, load
from mote_host.errors import ConfigError
from mote_host.registry import check_name

GATEWAY = "gateway"
CLIENT = "client"
PASSWORD_BYTES = 24
ITERATIONS = 101  # mosquitto's own number; a random password needs none

ACL = """\
# Who may publish (write) and subscribe (read) where; nobody else may do anything.

# A device logs in under its own name (%u) and has its own topics only.
pattern write mote/%u/up
pattern write mote/%u/out
pattern write mote/%u/state
pattern read mote/%u/in
pattern read mote/%u/dn

# The gateway hears and answers all devices. `mote ask`, `cancel` and `devices` log in as the
# gateway does, so it may ask and read answers and presence, too.
user gateway
topic read mote/+/up
topic write mote/+/dn
topic write mote/+/in
topic read mote/+/out
topic read mote/+/state
"""
_CLIENT_ACL = """
# Somebody who asks: all devices. To allow one device only, put its name in place of the +.
user {name}
topic write mote/+/in
topic read mote/+/out
topic read mote/+/state
"""
_SECTION = """\
[broker]
host = {host}
port = {port}
tls = true
ca_file = "ca.pem"
user = {user}
password_file = "broker.password"
"""


def hashed(password: str, salt: bytes) -> str:
    """The password as mosquitto 2 stores it: $7$, PBKDF2 with HMAC-SHA-512 (RFC 8018, 5.2)."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return f"$7${ITERATIONS}${_base64(salt)}${_base64(digest)}"


@contextmanager
def adding_user(folder: Path, name: str, *, force: bool = False) -> Iterator[str]:
    """A random password for `name`, whose hash is stored at the end, if nothing was raised.

    So nobody's password is another one before the login that uses it is written. Nobody else adds
    one meanwhile. Raises ConfigError if the user is there already, unless `force`.
    """
    path = folder / "passwords"
    with _locked(folder):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as exc:
            raise _no_broker(folder, exc) from exc
        others = [line for line in lines if line.partition(":")[0] != name]
        if len(others) < len(lines) and not force:
            raise ConfigError(f"{name} has a password already; --force makes a new one")
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        yield password
        stored = f"{name}:{hashed(password, secrets.token_bytes(12))}"
        write_private(path, "\n".join([*others, stored]) + "\n")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder for this process alone (flock(2)), as soon as others are done with it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise _no_broker(folder, exc) from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _no_broker(folder: Path, exc: OSError) -> ConfigError:
    return ConfigError(
        f"--dir {folder}: no broker was set up there ({exc.strerror}); mote broker init does"
    )


def allow_client(folder: Path, name: str) -> None:
    """Let a user ask all devices, and read what they answer."""
    path = folder / "acl"
    text = path.read_text(encoding="utf-8")
    if f"user {name}\n" not in text:
        write_private(path, text + _CLIENT_ACL.format(name=name))


def check_user(name: str) -> str:
    """The name itself, if a device or a client can have it. Raises DeviceError or ConfigError."""
    if name == GATEWAY:
        raise ConfigError(f"{name} is the gateway's own name at this broker; choose another")
    return check_name(name)


def write_login(folder: Path, out: Path, name: str, password: str) -> list[Path]:
    """Write what a device needs to log in into `out`: broker.password and ca.pem; returns them.

    Where `out` has a moted.toml as `mote enroll` wrote it, its comments on the login become
    settings, and it is returned too. Raises OSError.
    """
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = [out / "broker.password", out / "ca.pem"]
    write_private(written[0], password + "\n")
    written[1].write_bytes((folder / "tls" / "ca.crt").read_bytes())
    config = out / "moted.toml"
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    settings = [
        line for line in section(folder, name).splitlines() if line[:3] in ("ca_", "use", "pas")
    ]
    if all(f"\n# {line}\n" in text for line in settings):
        for line in settings:
            text = text.replace(f"\n# {line}\n", f"\n{line}\n")
        write_private(config, text)
        written.append(config)
    return written


def section(folder: Path, name: str) -> str:
    """The `[broker]` of a device's moted.toml."""
    broker = settings_of(folder)
    return _SECTION.format(host=json.dumps(broker.host), port=broker.port, user=json.dumps(name))


def settings_of(folder: Path) -> BrokerSettings:
    """How the gateway reaches this broker. Raises ConfigError."""
    return load(folder / "gateway.toml").broker


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
