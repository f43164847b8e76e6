"""Segments and frames as they lie on a medium, read through one buffer.

Theory of operation. A frame is `length, kind, sequence, payload, CRC-32`; FORMAT.md has the bytes.
A segment's CRCs are seeded with its header, so that neither an older life of the segment nor a
payload that looks like a frame passes for one. In a sync of several frames each is seeded with the
CRC of the one before: if the power goes while they are written, in whatever order the medium
writes them, none counts behind one that is torn. What is no frame is padding, the erased rest, or
bytes that were torn or damaged: the next frame is looked for at every byte, since frames of one
sync are not aligned.

A medium has `unit` (1 to 256 bytes), `segment_bytes`, `segments`, and the methods
`read(segment, offset, buf)` (erased bytes read as 0xFF), `program(segment, offset, data)`,
`erase(segment)` and `sync()`. They raise LogError.
"""

import hashlib
import struct
from binascii import crc32

from .const import const

VERSION = const(2)
HEAD = const(5)  # length, kind, sequence: what the chain covers together with the payload
OVERHEAD = const(9)  # that, and the CRC
HEADER = const(64)  # a segment's header, before padding to the unit

ITEMS = const(0x7E)  # frames of a checkpoint
LAST = const(0x7F)
ITEM = const(160)  # bytes of an item of a checkpoint at most

# what a header may be
ERASED = const(0)
VALID = const(1)
FOREIGN = const(2)
BAD = const(3)


class LogError(Exception):
    """The log can't be used; the text names the segment and the offset, or the limit."""


class Lost(LogError):
    """A record that is not, or no longer, in the log."""


def chain(h, frame):
    """The chain hash after `frame` (a frame without its CRC), `h` being the one before."""
    digest = hashlib.sha256(h)
    digest.update(frame)
    return digest.digest()


def chain_gap(h, last):
    """The chain hash after lost records, the last of which is `last`, `h` the one before them."""
    digest = hashlib.sha256(h)
    digest.update(b"gap")
    digest.update((last & 0xFFFFFFFF).to_bytes(4, "big"))
    return digest.digest()


def genesis(device):
    """h[0], the chain hash before the first record of the device of that name."""
    return hashlib.sha256(b"mote" + device.encode()).digest()


def align(n, unit):
    """`n` rounded up to a multiple of `unit`."""
    return (n + unit - 1) // unit * unit


def ahead(seq16, seq):
    """How far the record with these low bits is ahead of `seq`: negative for an older one."""
    n = (seq16 - seq) & 0xFFFF
    return n - 0x10000 if n >= 0x8000 else n


class Segments:
    """Reads a medium. `sign(bytes) -> MAC` binds segments to a device (None: not checked).

    Views that are handed out are good until the next call. Frames that wait in `out` for a sync
    are read from there, as if they were where they will lie.
    """

    def __init__(self, medium, sign, record_bytes):
        self.medium = medium
        self.sign = sign
        self.unit = medium.unit
        self.size = medium.segment_bytes
        self.frame_bytes = max(record_bytes, 2 * ITEM) + OVERHEAD
        self._buf = memoryview(bytearray(align(self.frame_bytes, max(self.unit, 4))))
        self._segment, self._from, self._to = -1, 0, 0  # what is in it
        self.tail = -1  # the segment that is written,
        self.at = 0  # the offset where it goes on,
        self.out = memoryview(bytearray(align(record_bytes + OVERHEAD, self.unit)))
        self.pending = 0  # and the bytes of `out` that will lie there
        self.run = -1  # while walking
        self._crc = 0  # of the frame that was looked at last

    def forget(self):
        """The medium has changed."""
        self._segment = -1

    def window(self, segment, at, n):
        """A view of `n` bytes, read ahead as far as the buffer goes."""
        if segment == self.tail and self.at <= at < self.at + self.pending:
            at -= self.at
            return self.out[at : at + n]
        if segment != self._segment or at < self._from or at + n > self._to:
            end = min(at + len(self._buf), self.size)
            self._segment = -1
            self.medium.read(segment, at, self._buf[: end - at])
            self._segment, self._from, self._to = segment, at, end
        at -= self._from
        return self._buf[at : at + n]

    # -- headers

    def judge(self, segment):
        """Whether its header is ERASED, VALID, FOREIGN or BAD."""
        head = bytes(self.window(segment, 0, HEADER))
        if not head.rstrip(b"\xff"):
            return ERASED
        if head[:4] != b"mote" or crc32(head[:60]) != int.from_bytes(head[60:], "big"):
            return BAD
        if head[4] != VERSION or (self.sign and self.sign(head[:44]) != head[44:60]):
            return FOREIGN
        return VALID

    def origin(self, segment):
        """(first sequence, chain hash before it) of a header."""
        head = self.window(segment, 8, 36)
        return int.from_bytes(head[:4], "big"), bytes(head[4:])

    def seed(self, segment):
        """What the CRCs of its frames begin with."""
        return int.from_bytes(self.window(segment, 60, 4), "big")

    def pack_header(self, first, h):
        """The header of a new segment, padded to the unit."""
        head = bytearray(b"\xff" * align(HEADER, self.unit))
        struct.pack_into(">4sBBHI", head, 0, b"mote", VERSION, self.unit - 1, 0, first)
        head[12:44] = h
        head[44:60] = self.sign(bytes(head[:44]))
        struct.pack_into(">I", head, 60, crc32(bytes(head[:60])))
        return head

    def begin(self):
        """Where the first frame of a segment lies."""
        return align(HEADER, self.unit)

    # -- frames

    def frame_at(self, segment, at, seed):
        """The length of the frame there, without its CRC; 0 if there is none."""
        room = min(self.size - at, self.frame_bytes)
        if room < OVERHEAD:
            return 0
        view = self.window(segment, at, HEAD)
        n = HEAD + (view[0] << 8 | view[1])
        if n + 4 > room:
            return 0
        view = self.window(segment, at, n + 4)
        self._crc = crc32(view[:n], seed)
        return n if self._crc == int.from_bytes(view[n : n + 4], "big") else 0

    def walk(self, segment, at, seed, visit, run=-1):
        """Call `visit(at, n)` for each frame from `at` on, until it returns True.

        `n` is its length without the CRC; `run`, here and as an attribute when `visit` is called,
        is what its CRC begins with if that is not the segment's seed: the CRC of the frame before
        it, of the same sync. Returns that frame's place, or else where writing may go on.
        """
        end = at
        self.run = run
        while at < self.size:
            n = self._next(segment, at, seed)
            if n:
                crc = self._crc
                if visit(at, n):
                    return at
                self.run = crc
                at = end = at + n + 4
                continue
            self.run = -1
            # no frame begins with 0xFF: padding, the erased rest, or what was torn or damaged
            at = self.written(segment, at)
            if at < self.size and not self.frame_at(segment, at, seed):
                at += 1
                end = at + 4  # or the frame behind it might complete a CRC that was torn
        return align(end, self.unit)

    def _next(self, segment, at, seed):
        """The length of the frame there, of the same sync as the one before it or of a new one."""
        n = 0
        if self.run >= 0:
            n = self.frame_at(segment, at, self.run)
        if not n:
            self.run = -1
            n = self.frame_at(segment, at, seed)
        return n

    def written(self, segment, at):
        """The offset of the first byte from `at` on that is not erased, or the segment's end."""
        while at < self.size:
            n = min(len(self._buf), self.size - at)
            if segment == self.tail:  # up to what waits, and up to its end
                for edge in (self.at, self.at + self.pending):
                    if at < edge:
                        n = min(n, edge - at)
            rest = len(bytes(self.window(segment, at, n)).lstrip(b"\xff"))
            if rest:
                return at + n - rest
            at += n
        return at

    # -- writing

    def program(self, segment, at, data):
        """Program `data` and read it back. Raises LogError if that is not what is there."""
        self.forget()
        self.medium.program(segment, at, data)
        done = 0
        while done < len(data):
            n = min(len(data) - done, len(self._buf))
            self.medium.read(segment, at + done, self._buf[:n])
            if self._buf[:n] != data[done : done + n]:
                refuse(segment, "does not keep what is programmed at offset %d" % at)
            done += n


def refuse(segment, why):
    """Raise LogError for a segment."""
    raise LogError("segment %d: %s" % (segment, why))
