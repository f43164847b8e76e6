"""Segments of a log, built byte by byte from core/FORMAT.md alone: no code of the product."""

import hashlib
import hmac
import struct
import zlib

SIZE = 2048
KEY = bytes(range(32))
LOG_KEY = hmac.digest(KEY, b"log", "sha256")
START = hashlib.sha256(b"motelamp").digest()
TURN = [2, 7, "main", b"k" * 8, 2, 8, b"r" * 16, 100, 2, 1, 0, 1, 3, 2, 500, 0, 0, 0, 0, 9]
STATE = [1, 3, 1_700_000_000, 0, 0, None, 0, 0, 0]


def pack(value):
    """MessagePack of the types that the tests need."""
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        return bytes([value]) if 0 <= value < 128 else b"\xce" + struct.pack(">I", value)
    if isinstance(value, str):
        return bytes([0xA0 + len(value.encode())]) + value.encode()
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    return b"\xdc" + struct.pack(">H", len(value)) + b"".join(map(pack, value))


def body(kind, number, payload):
    """A frame without its CRC."""
    return struct.pack(">HBH", len(payload), kind, number & 0xFFFF) + payload


def link(head, data):
    """The next chain hash."""
    return hashlib.sha256(head + data).digest()


def mac(data):
    """A MAC under Kl."""
    return hmac.digest(LOG_KEY, data, "sha256")[:16]


class Writer:
    """Writes one segment; seq and head are those of the last record."""

    def __init__(self, first=1, head=START, unit=1, version=2):
        self.unit, self.first = unit, first
        self.seq, self.head = first - 1, head
        top = struct.pack(">4sBBHI", b"mote", version, unit - 1, 0, first) + head
        top += mac(top)
        self.seed = zlib.crc32(top)
        self.data = top + struct.pack(">I", self.seed)
        self.sync()

    def sync(self):
        self.data += b"\xff" * (-len(self.data) % self.unit)

    def raw(self, kind, number, payload):
        plain = body(kind, number, payload)
        self.data += plain + struct.pack(">I", zlib.crc32(plain, self.seed))
        return plain

    def checkpoint(self, oldest=1, items=(STATE,), state=1, frames=1, version=2):
        """LOG in a frame of its own, then the other items in `frames` frames, the last frame."""
        log = [0, version, SIZE, 4, 512, oldest, 0, None, state]
        plain = self.data[:64] + self.raw(0x7E, 0, pack(log))
        for n in range(frames):
            plain += self.raw(0x7E, n + 1, b"".join(map(pack, items[n::frames])))
        self.raw(0x7F, frames + 1, pack([mac(hashlib.sha256(plain).digest())]))
        self.sync()
        return self

    def add(self, *sizes, kind=4, sync=True):
        """Append a record of each size."""
        for size in sizes:
            self.seq += 1
            plain = self.raw(kind, self.seq, pack([1, b"p" * size]))
            self.head = link(self.head, plain)
            if sync:
                self.sync()
        return self

    def lose(self, count):
        """Lose records before the next one, as a reader sees it."""
        self.seq += count
        self.head = link(self.head, b"gap" + struct.pack(">I", self.seq))
        return self

    def padded(self):
        assert len(self.data) <= SIZE
        return self.data.ljust(SIZE, b"\xff")
