"""A board's configuration, /mote.cfg: moted.toml checked and made into bytes on a host.

So a board carries neither TOML nor the table of keys. The file is one MessagePack array: version,
CRC-32 of the rest, and the rest as binary, which is an array of FIELDS. It holds secrets: a board
has no users to keep them from, whoever opens it has them.
"""

import os
from binascii import crc32

from mote.msgpack import FormatError, Unpacker

from . import ConfigError

VERSION = 1
MAX_BYTES = 8192

FIELDS = (
    "name",
    "key",  # 32 bytes
    "limits",  # in the order of Limits.values()
    "part_bytes",
    "drop",
    "record_bytes",
    "segments",
    "segment_bytes",
    "keepalive_s",
    "session_expiry_s",
    "user",  # or nil
    "password",  # or nil
    "link",  # ["lan", host, port] or ["uart", number, baud]
    "ca",  # certificates in DER to trust; nil: no TLS
    "board",  # whose tools there are, "none"
    "modules",  # of the user's own tools
    "watchdog_ms",  # 0: none
    "verbose",
)
_AGAIN = "make it again on a host, from moted.toml"


class Settings:
    """What is in the file at `path`: each of FIELDS is an attribute. Raises ConfigError."""

    def __init__(self, path):
        self.path = path
        values = _read(path)
        for n in range(len(FIELDS)):
            setattr(self, FIELDS[n], values[n])


def _read(path):
    data = _bytes(path)
    try:
        u = Unpacker(data)
        u.array(3)
        version, crc = u.int(), u.int()
        if version != VERSION:
            why = "is of version %d, this firmware reads %d" % (version, VERSION)
            raise _wrong(path, why)
        body = u.bin()
        if crc32(body) != crc:
            raise FormatError("checksum")
        values = Unpacker(body).value()
        if len(values) != len(FIELDS):
            raise FormatError("fields")
    except FormatError as e:
        raise _wrong(path, "is damaged (%s)" % e) from None
    return values


def _bytes(path):
    try:
        size = os.stat(path)[6]
        if size > MAX_BYTES:
            raise _wrong(path, "is over %d bytes" % MAX_BYTES)
        data = bytearray(size)
        with open(path, "rb") as file:
            file.readinto(data)
    except OSError as e:
        missing = e.args[:1] == (2,)
        raise _wrong(path, "is missing" if missing else "can't be read, error %s" % e) from None
    return data


def _wrong(path, why):
    return ConfigError("%s %s: %s" % (path, why, _AGAIN))
