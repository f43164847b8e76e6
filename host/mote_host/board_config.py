"""A board's configuration: moted.toml, checked and made into the bytes of /mote.cfg.

mote_device.settings says what is in that file, and reads it on the board.
"""

from binascii import crc32
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mote.msgpack import Packer
from mote_device import ConfigError as DeviceConfigError
from mote_device.config import UART, load_config, read_key, read_secret
from mote_device.limits import limits_of
from mote_device.settings import FIELDS, MAX_BYTES, VERSION
from mote_ports.certificates import read_pem

from mote_host.errors import ConfigError

# What a board has unless moted.toml says otherwise: it must do with a heap of 56 KiB.
DEFAULTS = {
    # Six buffers are as long as a record, into which an ask and a result must fit.
    ("log", "record_bytes"): 384,
    ("limits", "ask_bytes"): 256,
    ("limits", "result_bytes"): 256,
    # An open turn takes about 600 bytes; a session, an id or a fact that is remembered, 100.
    ("limits", "open_turns"): 2,
    ("limits", "sessions"): 4,
    ("limits", "seen_asks"): 16,
    ("limits", "facts"): 8,
    # A checkpoint of all these may fill a 16th of a segment: 32 KiB is the least.
    ("log", "segment_kib"): 32,
    ("log", "segments"): 8,
    ("log", "program_unit"): 16,  # the board knows its own; this one has to do for the sums
}
_LOCAL = ("localhost", "127.")


def compile_config(path: Path, adapt: Callable[[Any], None] | None = None) -> bytes:
    """The bytes of /mote.cfg that the moted.toml at `path` stands for.

    Key, password and certificates are read from the files that it names, and are in it. `adapt`
    may change the configuration, read and checked, before it is compiled. Raises ConfigError.
    """
    try:
        config = load_config(str(path), DEFAULTS)
        if adapt:
            adapt(config)
        return pack(_values(config))
    except DeviceConfigError as error:
        raise ConfigError(str(error)) from error


def pack(values: dict[str, Any]) -> bytes:
    """The file with these values of mote_device.settings.FIELDS. Raises ConfigError."""
    body = Packer(bytearray(MAX_BYTES))
    try:
        body.value([values[name] for name in FIELDS])
        whole = Packer(bytearray(MAX_BYTES)).array(3).int(VERSION).int(crc32(body.taken()))
        return bytes(whole.bin(body.taken()).taken())
    except ValueError as error:
        raise ConfigError(
            f"a board's configuration has at most {MAX_BYTES} bytes: are fewer certificates in "
            "[broker] ca_file enough?"
        ) from error


def _values(config: Any) -> dict[str, Any]:
    device, broker, log = config.device, config.broker, config.log
    limits = limits_of(config)
    return {
        "name": device.name,
        "key": read_key(device.key_file),
        "limits": limits.values(),
        "part_bytes": limits.part_bytes,
        "drop": limits.drop,
        "record_bytes": log.record_bytes,
        "segments": log.segments,
        "segment_bytes": log.segment_kib * 1024,
        "keepalive_s": broker.keepalive_s,
        "session_expiry_s": broker.session_expiry_s,
        "user": broker.user or None,
        "password": read_secret(broker.password_file) if broker.password_file else None,
        "link": _link(config),
        "ca": _certificates(config),
        "board": device.board,
        "modules": config.tools.modules,
        "watchdog_ms": device.watchdog_s * 1000,
        "verbose": device.verbose,
    }


def _link(config: Any) -> list[Any]:
    broker = config.broker
    if broker.serial:
        number = broker.serial.removeprefix(UART)
        if number == broker.serial or not number.isdecimal():
            raise _wrong(config, f'serial: of a board it is "{UART}" and a number')
        return ["uart", int(number), broker.baud]
    if broker.host.startswith(_LOCAL):
        raise _wrong(config, f"host: {broker.host} would be the board itself")
    return ["lan", broker.host, broker.port]


def _certificates(config: Any) -> list[bytes] | None:
    broker = config.broker
    if not broker.tls:
        return None
    if broker.client_cert:
        raise _wrong(config, "client_cert: a board has none; it has user and password")
    if not broker.ca_file:
        raise _wrong(config, "ca_file: needed with tls: a board has no trust store")
    try:
        found: list[bytes] = read_pem(broker.ca_file, "CERTIFICATE")
    except ValueError as error:
        raise _wrong(config, f"ca_file: {error}") from error
    return found


def _wrong(config: Any, why: str) -> ConfigError:
    return ConfigError(f"{config.path}: [broker] {why}")
