"""The folder that `mote enroll` makes for a device: its configuration and its key."""

import json
import os
from pathlib import Path

from mote_host.config import BrokerSettings

_CONFIG = """\
# The configuration of one mote device. `moted --keys` lists all keys with their defaults.

[device]
name = {name}
key_file = "device.key"
state_dir = "state"
board = {board}
{scale}
[broker]
host = {host}
port = {port}
"""
_CREDENTIALS = """\
# If the broker asks for a password: the user, and a file of mode 0600 with the password.
# user = {name}
# password_file = "broker.password"
"""
_TLS = """\
tls = true
# The broker's CA in PEM form; without it, the system's trust store (MicroPython has none).
# ca_file = "ca.pem"
"""


def write_device(
    folder: Path,
    name: str,
    key: bytes,
    broker: BrokerSettings,
    board: str,
    *,
    time_scale: float | None = None,
    more: str = "",
) -> Path:
    """Write moted.toml and device.key (mode 0600) into `folder`; returns the configuration's path.

    `time_scale` is for simulated boards, `more` is appended to the configuration as it is. Raises
    OSError; nothing is overwritten.
    """
    quoted = {"name": json.dumps(name), "board": json.dumps(board)}
    scale = "" if time_scale is None else f"time_scale = {time_scale}\n"
    text = _CONFIG.format(**quoted, scale=scale, host=json.dumps(broker.host), port=broker.port)
    text += (_TLS if broker.tls else "") + _CREDENTIALS.format(**quoted) + more
    _write(folder / "device.key", key.hex() + "\n")
    config = folder / "moted.toml"
    _write(config, text)
    return config


def _write(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
