"""The folder that `mote broker init` makes: a mosquitto with TLS, passwords, ACL and limits."""

import ipaddress
import json
import os
import pwd
import re
from pathlib import Path

from mote_host import broker_users as users
from mote_host.certificates import make_certificates
from mote_host.errors import ConfigError
from mote_host.mqtt_framing import MAX_PACKET_BYTES

_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

_CONFIG = """\
# mosquitto 2 for mote, written by `mote broker init`. mosquitto.conf(5) explains each option.
# Paths are absolute: mosquitto would look for others where it was started. After a change, and
# after `mote broker add`, it reads them again (all but the listener) upon:
#   kill -HUP $(cat {folder}/mosquitto.pid)
pid_file {folder}/mosquitto.pid

# TLS only, so that no password can be read on the way. Clients verify with tls/ca.crt.
listener {port}
certfile {folder}/tls/server.crt
keyfile {folder}/tls/server.key
tls_version tlsv1.2

# Each device and each person has a user; what it may do there is in the acl.
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl

# Started as root, mosquitto becomes this user: the owner of the files here.
user {user}

# The longest message: a device's answer with the largest reply_bytes. Whoever sends more is
# disconnected; without a limit, one client could fill the memory with 256 MB.
max_packet_size {max_packet}

# Messages of QoS 1 on the way to a client at once. Devices ask for four at most by themselves.
max_inflight_messages 20

# Messages that wait for a client that is away or slow; what comes beyond that is dropped. Asks
# are repeated by `mote ask`, uploads by the devices.
max_queued_messages 200

# Sessions of clients that do not come back. MQTT 5 clients say how long theirs is to be kept
# (a device: session_expiry_s, a day); those of 3.1.1 would stay for ever.
persistent_client_expiration 14d

# Presence (retained) and asks that wait for a device outlive a restart of the broker; at a crash
# of the machine, what came in the last minute is lost.
persistence true
persistence_location {folder}/data/
autosave_interval 60

# Else small messages wait for the acknowledgement of the ones before.
set_tcp_nodelay true
"""
_GATEWAY = """\
# How the gateway reaches its broker: mote --config {folder}/gateway.toml gateway

[broker]
host = {host}
port = {port}
tls = true
ca_file = {ca}
user = "gateway"
password_file = {password}
"""
_FILES = (
    "mosquitto.conf",
    "acl",
    "passwords",
    "gateway.toml",
    "gateway.password",
    "client.password",
    "tls/ca.crt",
    "tls/ca.key",
    "tls/server.crt",
    "tls/server.key",
)


def write_broker(folder: Path, hostnames: list[str], port: int, *, force: bool) -> list[Path]:
    """Write it all into `folder`; returns the files. The first hostname is what clients dial.

    Raises ConfigError if one of the files exists, unless `force`, and if a hostname can't be one.
    """
    folder = folder.absolute()
    paths = [folder / name for name in _FILES]
    for path in paths:
        if path.exists() and not force:
            raise ConfigError(
                f"{path} exists already; choose another folder, or --force: then all users get"
                " new passwords, and devices need them and the new ca.pem"
            )
    names = [_checked(name) for name in hostnames]
    try:
        (folder / "tls").mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "data").mkdir(mode=0o700, exist_ok=True)
        make_certificates(folder / "tls", names)
        _write(folder, names[0], port)
    except OSError as exc:
        raise ConfigError(f"{exc.filename or folder}: {exc.strerror}") from exc
    return paths


def _write(folder: Path, host: str, port: int) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    users.write_private(folder / "acl", users.ACL)
    users.write_private(folder / "passwords", "")
    for name in (users.GATEWAY, users.CLIENT):
        with users.adding_user(folder, name) as password:
            users.write_private(folder / f"{name}.password", password + "\n")
    users.allow_client(folder, users.CLIENT)
    gateway = _GATEWAY.format(
        folder=folder,
        host=json.dumps(host),
        port=port,
        ca=json.dumps(str(folder / "tls" / "ca.crt")),
        password=json.dumps(str(folder / "gateway.password")),
    )
    users.write_private(folder / "gateway.toml", gateway)
    config = _CONFIG.format(folder=folder, port=port, user=user, max_packet=MAX_PACKET_BYTES)
    users.write_private(folder / "mosquitto.conf", config)


def _checked(name: str) -> str:
    """A host name or an address."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        if _HOSTNAME.fullmatch(name):
            return name
    raise ConfigError(f"--hostname {name!r}: not a host name or an address")
