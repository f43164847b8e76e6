"""Writes the header and the checkpoint of a segment through a small buffer.

The state may be far larger than the buffer: it comes as items, which are packed one behind the
other into frames, and the frames are programmed as the buffer fills.
"""

import hashlib
from binascii import crc32

from .const import const
from .msgpack import Packer
from .segments import HEAD, HEADER, ITEM, ITEMS, LAST, align

_STAGE = const(256)


class Writer:
    """Begins segments. `open`, then `item()` for each item, then `close`."""

    def __init__(self, segments):
        self.seed = 0
        self._segments = segments
        self._items = Packer(bytearray(2 * ITEM))
        self._stage = memoryview(bytearray(align(_STAGE, segments.unit)))
        self._used = 0  # bytes in it
        self._at = 0  # where they will lie
        self._segment = 0
        self._n = 0
        self._sha = None
        self._head = bytearray(HEAD)

    def open(self, segment, first, h):
        """Begin an erased segment, whose first record is `first` and follows the hash `h`."""
        head = self._segments.pack_header(first, h)
        self.seed = int.from_bytes(head[60:64], "big")
        self._segment = segment
        self._at = self._used = self._n = 0
        self._items.reset(0)
        self._sha = hashlib.sha256(head[:HEADER])
        self._put(head)

    def item(self):
        """A Packer to pack the next item with, of at most ITEM bytes."""
        if self._items.pos > ITEM:
            self._frame(ITEMS)
        return self._items

    def close(self):
        """Program and sync the rest; returns where records may begin."""
        self._frame(ITEMS)
        mac = self._segments.sign(self._sha.digest())
        self._items.array(1).bin(mac)
        self._frame(LAST)
        end = align(self._used, self._segments.unit)
        self._stage[self._used : end] = b"\xff" * (end - self._used)
        self._program(end)
        self._segments.medium.sync()
        self._sha = None
        return self._at

    def _frame(self, kind):
        payload = self._items.taken()
        self._items.reset(0)
        head, n = self._head, len(payload)
        head[0], head[1], head[2] = n >> 8, n & 0xFF, kind
        head[3], head[4] = self._n >> 8, self._n & 0xFF
        self._n += 1
        if kind == ITEMS:  # MP: a hash is over with its digest
            self._sha.update(head)
            self._sha.update(payload)
        self._put(head)
        self._put(payload)
        self._put(crc32(payload, crc32(head, self.seed)).to_bytes(4, "big"))

    def _put(self, data):
        data = memoryview(data)
        while data:
            n = min(len(data), len(self._stage) - self._used)
            self._stage[self._used : self._used + n] = data[:n]
            self._used += n
            data = data[n:]
            if self._used == len(self._stage):
                self._program(self._used)

    def _program(self, n):
        if n:
            self._segments.program(self._segment, self._at, self._stage[:n])
        self._at += n
        self._used = 0
