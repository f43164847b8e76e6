"""Reading a model's reply back from the log, where it lies in PART records.

A reply is `ncalls` calls, each a MessagePack array [tool, arguments], and then text in UTF-8 up
to the end. Arguments are a map, or a string: what the model sent where a map was due.
"""

import hashlib

from . import records as r
from .msgpack import FormatError, Unpacker
from .segments import HEAD, Lost

_WINDOW = 512  # bytes in RAM at a time; no call may be larger


class Body:
    """The bytes of the reply to REQ `req`, in order."""

    def __init__(self, log, req, lost=None):
        """`lost`: what `came_back` says, if an ANSWER that came back names the reply."""
        self._log = log
        self._req = req
        # the record that is being read; the lost ones: numbers of this log are not theirs
        self._seq, self._first, self._last = lost or (req, 0, 0)
        self._at = self._end = 0  # in its data
        self._ours = False  # the lost record that is read in pieces is a part of this reply

    def fill(self, into):
        """Copy the next bytes into `into`; returns how many, 0 at the end. Raises Lost."""
        while self._at == self._end:
            self._seq += 1
            if self._seq > self._log.seq:
                return 0
            data = self._data()
            self._at, self._end = 0, len(data) if data else 0
            if data is None:
                return 0
        # read anew: a view of the log does not outlive the next read
        n = min(len(into), self._end - self._at)
        into[:n] = self._data()[self._at : self._at + n]
        self._at += n
        return n

    def _data(self):
        """The data of record `_seq` if it is a part of this reply; None where the reply ends."""
        try:
            return self._read(self._log.frame(self._seq))
        except FormatError:
            raise Lost("record %d can't be read" % self._seq)

    def _read(self, frame):
        if frame[2] == r.RECOVERED:
            return self._piece(frame)
        if frame[2] not in (r.PART, r.REPLY_END) or 0 < self._first <= self._seq:
            return b""
        u = Unpacker(frame[HEAD:])
        u.array(2)
        if u.int() != self._req:
            return b""
        return u.bin() if frame[2] == r.PART else None

    def _piece(self, frame):
        """The same, if the record came back from the gateway in one or more of ours."""
        last, _, kind, offset, _, data = recovered_fields(frame)
        if last != self._last or kind not in (r.PART, r.REPLY_END):
            return b""
        if offset:
            return data if self._ours else b""
        u = Unpacker(data)
        u.array(2)
        self._ours = u.int() == self._req
        if kind == r.REPLY_END:
            return None if self._ours else b""
        head = 2 if data[u.pos : u.pos + 1] == b"\xc4" else 3
        return data[u.pos + head :] if self._ours else b""

    def digest(self):
        """The first 16 bytes of the SHA-256 of all of it; None if some is no longer in the log."""
        sha = hashlib.sha256()
        buf = memoryview(bytearray(64))
        try:
            n = self.fill(buf)
            while n:
                sha.update(buf[:n])
                n = self.fill(buf)
        except Lost:
            return None
        return sha.digest()[:16]


def recovered_fields(frame):
    """[last, number, kind, offset, length, bytes] in a RECOVERED record."""
    u = Unpacker(frame[HEAD:])
    u.array(6)
    return [u.int() for _ in range(5)] + [u.bin()]


def came_back(log, seq, req):
    """(record behind which the reply to `req` begins, first and last record that was lost).

    Record `seq` is the ANSWER that names it, as it came back. Raises Lost, FormatError.
    """
    last = first = recovered_fields(log.frame(seq))[0]
    while seq > log.oldest() and first > req:
        seq -= 1
        frame = log.frame(seq)
        if frame[2] == r.RECOVERED:
            fields = recovered_fields(frame)
            if fields[0] != last:
                break
            first = fields[1]
    return min(seq, req), first, last


class Reply:
    """The reply to REQ `req`, once it is whole. Read it from the front, once."""

    def __init__(self, log, req):
        self._u = Unpacker(bytearray(_WINDOW), fill=Body(log, req).fill)

    def call(self, index):
        """(tool, arguments) of a call. Raises FormatError if it is malformed or too large."""
        for _ in range(index):
            self._u.value()
        self._u.array(2)
        return self._u.str(), self._u.value()
