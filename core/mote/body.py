"""Reading a model's reply back from the log, where it lies in PART records.

A reply is `ncalls` calls, each a MessagePack array [tool, arguments], and then text in UTF-8 up
to the end. Arguments are a map, or a string: what the model sent where a map was due.
"""

import hashlib

from . import records as r
from .msgpack import Unpacker
from .segments import HEAD, Lost

_WINDOW = 512  # bytes in RAM at a time; no call may be larger


class Body:
    """The bytes of the reply to REQ `req`, in order."""

    def __init__(self, log, req):
        self._log = log
        self._req = req
        self._seq = req  # the record that is being read
        self._at = self._end = 0  # in its data

    def fill(self, into):
        """Copy the next bytes into `into`; returns how many, 0 at the end."""
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
        frame = self._log.frame(self._seq)
        if frame[2] not in (r.PART, r.REPLY_END):
            return b""
        u = Unpacker(frame[HEAD:])
        u.array(2)
        if u.int() != self._req:
            return b""
        return u.bin() if frame[2] == r.PART else None

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

    def text(self):
        """The text of a reply without calls."""
        data = b""
        while self._u.more():
            data += bytes(self._u.rest())
        try:
            return str(data, "utf-8")
        except UnicodeError:
            return "(reply not UTF-8)"
