"""The log: records in frames, in segments, on a medium; every record chained to the one before.

Theory of operation. A frame is `length, kind, sequence, payload, CRC-32`; FORMAT.md has the bytes.
Frames fill a segment from its header on and never cross into the next. What is appended waits in
a small buffer until it fills or `sync` pads it to the medium's program unit. A segment's CRCs are
seeded with its header, so that neither an older life of the segment nor a payload that looks
like a frame passes for one.

Opening walks all frames. A bad one with nothing valid behind it is a torn tail: no byte there
is ever programmed again, writing goes on behind it. Where a valid frame follows, its number
tells: the next one due means that a torn tail was sealed there; any other means that records
are gone, and the log is refused as damaged, with the place.

A medium has `unit` (1 to 256 bytes), `segment_bytes`, `segments`, and the methods
`read(segment, offset, buf)` (erased bytes read as 0xFF), `program(segment, offset, data)`,
`erase(segment)` and `sync()`. They raise OSError.
"""

import hashlib
import struct
from array import array
from binascii import crc32

from .const import const

_VERSION = const(1)
HEAD = const(5)  # length, kind, sequence: what the chain covers together with the payload
_OVERHEAD = const(9)  # that, and the CRC
_HEADER = const(64)  # a segment's header, before padding to the unit

_MARKS = const(32)  # places remembered, one every eighth record


class LogError(Exception):
    """The log can't be used; the text names the segment and the offset, or the limit."""


class LogFull(LogError):
    """No segment is left."""


def chain(h, frame):
    """The chain hash after `frame` (a frame without its CRC), `h` being the one before."""
    digest = hashlib.sha256(h)
    digest.update(frame)
    return digest.digest()


def genesis(device):
    """h[0], the chain hash before the first record of the device of that name."""
    return hashlib.sha256(b"mote" + device.encode()).digest()


def _align(n, unit):
    return (n + unit - 1) // unit * unit


class Log:
    """One device's log. Create it, `open` it, then `append` and `sync`.

    `seq` is the newest record's number (the first is 1), `head` its chain hash (32 bytes),
    `synced` the newest record that is safe. Frames are handed out without their CRC; such a view
    is good until the next call.
    """

    def __init__(self, medium, start, sign, record_bytes=1024):
        """`start` is h[0]; `sign(header) -> MAC` binds segments to the device (None: no check)."""
        self.seq = 0
        self.head = self._start = start
        self.synced = 0
        self.record_bytes = record_bytes
        self.unit = medium.unit
        self._medium = medium
        self._sign = sign
        self._first = []  # (first sequence, segment), oldest first
        self._buf = bytearray(record_bytes + _OVERHEAD)  # the reading window
        self._view = memoryview(self._buf)
        self._win = (-1, 0, 0)  # segment, from, to
        self._out = memoryview(bytearray(max(256, medium.unit)))
        self._out_at = 0  # offset of `_out` in the segment being written
        self._out_len = 0
        self._seed = 0
        self._broken = False
        self._head = bytearray(HEAD)
        self._crc = bytearray(4)
        self._marks = array("I", [0] * (3 * _MARKS))
        self._last = (0, 0, 0)  # sequence, segment, offset of the frame read last

    # -- opening

    def open(self, visit):
        """Walk the log; `visit(seq, hash, kind, payload)` sees each record.

        Raises LogError if the log is damaged or another device's.
        """
        found = []
        for segment in range(self._medium.segments):
            header = self._header(segment)
            if header:
                found.append((header[0], segment, header[1]))
        found.sort()
        for first, segment, h in found:
            if h != self.head or first != self.seq + 1:
                _refuse(segment, "does not follow")
            self._first.append((first, segment))
            self._out_at = self._walk(segment, visit)
        if self._first:
            self._seed = self._seed_of(self._first[-1][1])
            self._medium.sync()  # a process that was killed may have left it in a cache
        self.synced = self.seq

    def _header(self, segment):
        """(first sequence, chain hash before it), or None if the segment was never begun."""
        head = bytes(self._window(segment, 0, _HEADER))
        if not head.rstrip(b"\xff"):
            return None
        if head[:4] != b"mote" or crc32(head[:60]) != int.from_bytes(head[60:], "big"):
            size = self._medium.segment_bytes
            if self._written_end(segment, _HEADER, size) > _align(_HEADER, self.unit):
                _refuse(segment, "damaged header")
            return None  # erased, or torn while it was begun: no record was ever in it
        if head[4] != _VERSION:
            _refuse(segment, "version %d" % head[4])
        if head[5] + 1 != self.unit:
            _refuse(segment, "unit %d" % (head[5] + 1))
        if self._sign and self._sign(head[:44]) != head[44:60]:
            _refuse(segment, "not this device's")
        return struct.unpack_from(">I", head, 8)[0], head[12:44]

    def _walk(self, segment, visit):
        """Visit the segment's records; returns where writing may go on."""
        unit, size = self.unit, self._medium.segment_bytes
        seed = self._seed_of(segment)
        at = _align(_HEADER, unit)
        while at + _OVERHEAD <= size:
            n = self._frame_at(segment, at, seed, self.seq + 1)
            if n < 0:
                _refuse(segment, "damaged at offset %d" % at)
            if n:
                frame = self._window(segment, at, n)
                self.seq += 1
                self.head = chain(self.head, frame)
                self._mark(self.seq, segment, at)
                visit(self.seq, self.head, frame[2], frame[HEAD:])
                at += n + 4
                continue
            next_unit = _align(at, unit)
            if next_unit > at and self._written_end(segment, at, next_unit) == at:
                at = next_unit  # padding
                continue
            end = self._written_end(segment, at, size)
            if end == at:
                break
            at = self._resume(segment, at, end, seed)
        return _align(min(at, size), unit)

    def _resume(self, segment, at, end, seed):
        """Where to go on behind bytes at `at` that are no frame; something is written up to `end`.

        A frame behind them is looked for at every byte, since frames of one sync are not aligned.
        """
        for probe in range(at + 1, end - _OVERHEAD + 1):
            n = self._frame_at(segment, probe, seed, self.seq + 1)
            if n < 0:
                _refuse(segment, "damaged at offset %d" % at)
            if n:
                return probe
        return _align(end, self.unit)

    def _written_end(self, segment, at, to):
        """The offset behind the last programmed byte before `to`; `at` if all is erased."""
        end = at
        while at < to:
            step = min(len(self._buf), to - at)
            n = len(bytes(self._window(segment, at, step)).rstrip(b"\xff"))
            if n:
                end = at + n
            at += step
        return end

    # -- frames

    def _seed_of(self, segment):
        return int.from_bytes(self._window(segment, 60, 4), "big")

    def _frame_at(self, segment, at, seed, seq):
        """The length of the frame there, without its CRC; 0 if there is none, < 0 if not `seq`."""
        room = self._medium.segment_bytes - at
        if room < _OVERHEAD:
            return 0
        view = self._window(segment, at, HEAD)
        n = HEAD + (view[0] << 8 | view[1])
        if n + 4 > room or n + 4 > len(self._buf):
            return 0
        view = self._window(segment, at, n + 4)
        if crc32(view[:n], seed) != int.from_bytes(view[n : n + 4], "big"):
            return 0
        return n if view[3] << 8 | view[4] == seq & 0xFFFF else -n

    def _window(self, segment, at, n):
        """A view of `n` bytes of the medium, read ahead as far as the buffer goes."""
        held, start, end = self._win
        if held != segment or at < start or at + n > end:
            start = at
            end = min(at + len(self._buf), self._medium.segment_bytes)
            self._win = (-1, 0, 0)
            self._medium.read(segment, start, self._view[: end - start])
            self._win = (segment, start, end)
        at -= start
        return self._view[at : at + n]

    def _mark(self, seq, segment, at):
        self._last = (seq, segment, at)
        if not seq & 7:
            i = (seq >> 3) % _MARKS * 3
            marks = self._marks
            marks[i], marks[i + 1], marks[i + 2] = seq, segment, at

    def frame(self, seq):
        """A view of record `seq`'s frame without the CRC: kind at [2], payload from [5] on.

        Raises LogError if there is no such record.
        """
        if not (self._first and self._first[0][0] <= seq <= self.seq):
            raise LogError("no record %d" % seq)
        if seq > self.synced:
            self.sync()
        at_seq, segment, at = self._near(seq)
        seed = self._seed_of(segment)
        while True:
            n = self._frame_at(segment, at, seed, at_seq)
            if n > 0:
                if at_seq == seq:
                    self._last = (seq, segment, at)
                    return self._window(segment, at, n)
                at_seq += 1
                at += n + 4
                continue
            at = _align(at + 1, self.unit)
            if at >= self._medium.segment_bytes:
                _refuse(segment, "no record %d" % seq)

    def _near(self, seq):
        """(sequence, segment, offset) of a known record at or before `seq`, in its segment."""
        first, segment = self._first[0]
        for start, number in self._first:
            if start <= seq:
                first, segment = start, number
        best = (first, segment, _align(_HEADER, self.unit))
        i = (seq >> 3) % _MARKS * 3
        for mark in (self._last, tuple(self._marks[i : i + 3])):
            if mark[1] == segment and best[0] <= mark[0] <= seq:
                best = mark
        return best

    def hash_at(self, seq):
        """h[seq], computed from the header of its segment on."""
        if seq == self.seq:
            return self.head
        h, n = self._start, 1
        for first, segment in self._first:
            if first <= seq:
                h, n = self._header(segment)[1], first
        while n <= seq:
            h = chain(h, self.frame(n))
            n += 1
        return h

    def oldest(self):
        """The number of the oldest record that is kept."""
        return self._first[0][0] if self._first else self.seq + 1

    # -- appending

    def room(self):
        """Bytes that can be filled at the least, whatever the sizes of the records."""
        medium = self._medium
        free = medium.segments - len(self._first)
        here = medium.segment_bytes - self._out_at - self._out_len if self._first else 0
        waste = self.record_bytes + _OVERHEAD  # what does not fit begins the next segment
        return max(0, here - waste) + free * (medium.segment_bytes - _HEADER - waste)

    def append(self, kind, payload):
        """Append a record; returns its number. It is safe only after `sync`.

        Raises LogError if the payload is over `record_bytes`, LogFull if no segment is left;
        then nothing was appended. OSError of the medium means: open the log anew.
        """
        n = len(payload)
        if n > self.record_bytes:
            raise LogError("record over %d bytes" % self.record_bytes)
        size = self._medium.segment_bytes
        self._check()
        if not self._first or self._out_at + self._out_len + n + _OVERHEAD > size:
            self._begin()
        segment, at = self._first[-1][1], self._out_at + self._out_len
        seq = self.seq + 1
        struct.pack_into(">HBH", self._head, 0, n, kind, seq & 0xFFFF)
        digest = hashlib.sha256(self.head)
        digest.update(self._head)
        digest.update(payload)
        h = digest.digest()
        crc = crc32(payload, crc32(self._head, self._seed))
        self._crc[:] = crc.to_bytes(4, "big")
        self._put(self._head)
        self._put(payload)
        self._put(self._crc)
        self.seq, self.head = seq, h
        self._mark(seq, segment, at)
        return seq

    def sync(self):
        """Make all that was appended safe."""
        if self.synced == self.seq:
            return
        self._check()
        n = _align(self._out_len, self.unit)
        self._out[self._out_len : n] = b"\xff" * (n - self._out_len)
        self._program(n)
        self._medium.sync()
        self.synced = self.seq

    def _put(self, data):
        data = memoryview(data)
        while data:
            n = min(len(data), len(self._out) - self._out_len)
            self._out[self._out_len : self._out_len + n] = data[:n]
            self._out_len += n
            data = data[n:]
            if self._out_len == len(self._out):
                self._program(self._out_len)

    def _program(self, n):
        segment = self._first[-1][1]
        self._out_len = 0
        if n:
            self._win = (-1, 0, 0)
            self._broken = True
            self._medium.program(segment, self._out_at, self._out[:n])
            self._broken = False
            self._out_at += n

    def _check(self):
        # what a failed program left behind is known only to whoever opens the log anew
        if self._broken:
            raise LogError("open the log again")

    def _begin(self):
        """Begin the next segment: all before it is safe first."""
        medium = self._medium
        self.sync()
        used = [number for _, number in self._first]
        segment = used[-1] + 1 if used else 0
        if segment >= medium.segments:
            raise LogFull("%d segments are full" % medium.segments)
        self._broken = True
        medium.erase(segment)
        head = bytearray(b"\xff" * _align(_HEADER, self.unit))
        struct.pack_into(">4sBBHI", head, 0, b"mote", _VERSION, self.unit - 1, 0, self.seq + 1)
        head[12:44] = self.head
        head[44:60] = self._sign(bytes(head[:44]))
        self._seed = crc32(bytes(head[:60]))
        struct.pack_into(">I", head, 60, self._seed)
        medium.program(segment, 0, head)
        medium.sync()
        self._first.append((self.seq + 1, segment))
        self._broken = False
        self._win = (-1, 0, 0)
        self._out_at = len(head)
        self._out_len = 0


def _refuse(segment, why):
    raise LogError("segment %d: %s" % (segment, why))
