"""What a log's segments say when it is opened (FORMAT.md, "Reading").

The newest whole checkpoint that has a state is where the fold begins. From there on every record
is visited; what is torn, damaged, dropped or foreign on the way becomes a note, and records that
are gone a gap. Nothing is changed on the medium.
"""

import hashlib
from binascii import crc32

from . import records as r
from .const import const
from .msgpack import FormatError, Unpacker
from .segments import (
    BAD,
    FOREIGN,
    HEAD,
    HEADER,
    ITEMS,
    LAST,
    OVERHEAD,
    VALID,
    VERSION,
    LogError,
    ahead,
    chain,
    chain_gap,
    refuse,
)

_NOTES = const(8)
_MALFORMED = (FormatError, ValueError, TypeError, IndexError)  # what no checkpoint of ours raises


class Checkpoint:
    """One segment's checkpoint: `whole`, where the records begin, and what LOG says."""

    def __init__(self, segments, segment):
        self.whole = False
        self.log = None
        self._sha = hashlib.sha256(segments.window(segment, 0, HEADER))
        self._n = 0
        self._segments = segments
        self._segment = segment
        self.records = segments.begin()
        seed = segments.seed(segment)
        self._end = self.records
        segments.walk(segment, self.records, seed, self._frame)
        if self.whole:
            self.records = self._end

    def _frame(self, at, n):
        """True when the checkpoint is over, whole or not."""
        segments = self._segments
        frame = segments.window(self._segment, at, n)
        if (frame[3] << 8 | frame[4]) != self._n or frame[2] not in (ITEMS, LAST):
            return True
        self._n += 1
        if frame[2] == ITEMS:
            if self.log is None:
                self.log = Unpacker(bytes(frame[HEAD:])).value()
            self._sha.update(frame)
            return False
        mac = Unpacker(bytes(frame[HEAD:])).value()[0]
        sign = segments.sign
        self.whole = self.log is not None and (not sign or sign(self._sha.digest()) == mac)
        self._end = at + n + 4
        return True


class Recovery:
    """Reads all segments and holds what was found, for `Log` to go on with."""

    def __init__(self, segments, start, record_bytes):
        self.live = []  # (first sequence, segment), oldest first
        self.kept = []  # segments that must not be touched
        self.base = -1  # the segment whose state counts
        self.seq = 0
        self.head = start
        self.oldest = 1
        self.acked = 0
        self.owed = None  # a GAP record's fields, which has yet to be appended
        self.end = 0  # where writing may go on in the newest segment
        self.notes = []
        self._start = start
        self._record_bytes = record_bytes
        self._segments = segments
        self._bad = []  # segments without a valid header
        self._whole = {}  # segment: its checkpoint, if it is whole
        self._limit = 0  # what the segment holds from this record on was written again elsewhere
        self._visit = None

    def note(self, segment, why):
        """Remember what is wrong, for a person."""
        text = "segment %d: %s" % (segment, why)
        if text not in self.notes and len(self.notes) < _NOTES:
            self.notes.append(text)

    def run(self, restore, visit):
        """`restore(item)` gets the state's items, `visit(seq, h, kind, payload)` the records."""
        self._visit = visit
        self._classify()
        at = self._newest_state()
        if not self.live:
            return
        first, segment = self.live[max(at, 0)]
        self.seq, self.head = first - 1, self._segments.origin(segment)[1]
        if first == 1 and self.head != self._start:
            refuse(segment, "the log of a device of another name")
        if at >= 0:
            self.base = segment
            self._restore(segment, restore)
            self._front()
        elif first > 1:
            self.note(
                segment, "no checkpoint is whole: the state before record %d is lost" % first
            )
            self._gap(1, first - 1, self._start, self.head)
        for n in range(max(at, 0), len(self.live)):
            self._fold(n)

    def _front(self):
        """Tell of records that went before a checkpoint could say so: all erases had failed."""
        first, segment = self.live[0]
        due, why = max(self.oldest, self.acked + 1), r.DROPPED
        before = self._start if due == 1 else b""
        if first > due:
            if self.owed:
                due, _, before, _, why = self.owed
            self.owed = [due, first - 1, before, self._segments.origin(segment)[1], why]

    # -- which segments count

    def _classify(self):
        segments = self._segments
        for segment in range(segments.medium.segments):
            found = segments.judge(segment)
            if found == VALID:
                unit = segments.window(segment, 5, 1)[0] + 1
                if unit != segments.unit:
                    raise LogError("this log was made with a program unit of %d bytes" % unit)
                self.live.append((segments.origin(segment)[0], segment))
            elif found == FOREIGN:
                version = segments.window(segment, 4, 1)[0]
                other = "of another device" if version == VERSION else "of version %d" % version
                self.note(segment, other)
                self.kept.append(segment)
            elif found == BAD:
                self._bad.append(segment)
        self.live.sort()
        self._settle()

    def _settle(self):
        """Order segments that begin at the same record: each but one of them failed early.

        The one with a state was begun first. If both have one, or none, the one with more records
        counts.
        """
        live, self.live = self.live, []
        ranked = []
        for n, (first, segment) in enumerate(live):
            later = 0
            if first in (live[n - 1][0], live[(n + 1) % len(live)][0]) and len(live) > 1:
                found = self._checkpoint(segment)
                if found is None:
                    continue
                later = 0 if found.whole and found.log[8] else 1
            ranked.append((first, later, segment))
        ranked.sort()
        before = None
        for first, later, segment in ranked:
            if before != (first, later):
                self.live.append((first, segment))
            elif self._more(segment, first) > self._more(self.live[-1][1], first):
                self.live[-1] = (first, segment)
            before = (first, later)

    def _newest_state(self):
        """The index of the newest segment with a state, -1 if there is none."""
        newest = True
        order = self.live[:]
        n = len(self.live)
        torn = only = None
        while n:
            n -= 1
            segment = self.live[n][1]
            found = self._checkpoint(segment)
            if found is None:
                self.live.pop(n)
            elif not found.whole:
                self.note(segment, "damaged checkpoint")
            else:
                if newest:
                    newest = False
                    self.oldest, self.acked, self.owed = found.log[5:8]
                    if self._torn(segment, found.records):
                        torn = self.live.pop(n)  # full; what it dropped is still to be carried on
                        only = found
                        continue
                self._whole[segment] = found
                if found.log[8]:
                    return n
        if torn and only.log[8]:  # there is no other state: it is better than none
            self.live = [entry for entry in order if entry == torn or entry in self.live]
            self._whole[torn[1]] = only
            return self.live.index(torn)
        return -1

    def _torn(self, segment, at):
        """True if no record stands from there on, and something else does."""
        segments = self._segments
        if segments.written(segment, at) == segments.size:
            return False
        return self._more(segment, segments.origin(segment)[0]) < 0

    def _more(self, segment, first):
        return self._newest(segment, self._segments.seed(segment), first)

    def _checkpoint(self, segment):
        """A segment's checkpoint; None if the power went while it was begun."""
        segments = self._segments
        try:
            found = Checkpoint(segments, segment)
            if found.whole:
                self._check(segment, found.log)
        except _MALFORMED:
            refuse(segment, "malformed checkpoint")
        if not found.whole and self._more(segment, segments.origin(segment)[0]) < 0:
            return None
        return found

    def _check(self, segment, log):
        """Raises LogError unless this reader may read a log of that LOG item."""
        segments = self._segments
        if not isinstance(log, list):
            raise TypeError
        numbers, owed = log[:7], log[7]
        numbers.append(log[8])
        if not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise TypeError
        if owed is not None and [type(field) for field in owed] != [int, int, bytes, bytes, int]:
            raise TypeError
        if log[1] > VERSION:
            refuse(segment, "needs a mote that reads version %d" % log[1])
        for good, made_with, what in (
            (log[2] == segments.size, log[2], "segments of %d bytes"),
            (log[3] <= segments.medium.segments, log[3], "%d segments"),
            (log[4] <= self._record_bytes, log[4], "records of up to %d bytes"),
        ):
            if not good:
                raise LogError("this log was made with " + what % made_with)

    def _newest(self, segment, seed, due):
        """How far the newest record in a segment is ahead of number `due`; -1 if none is."""
        segments = self._segments
        found = [-1]

        def visit(at, n):
            frame = segments.window(segment, at, n)
            if frame[2] not in (ITEMS, LAST):
                more = ahead(frame[3] << 8 | frame[4], due)
                if more <= segments.size // OVERHEAD:  # further on is another life of the segment
                    found[0] = max(found[0], more)

        segments.walk(segment, segments.begin(), seed, visit)
        return found[0]

    # -- the fold

    def _restore(self, segment, restore):
        segments = self._segments

        def visit(at, n):
            frame = segments.window(segment, at, n)
            if frame[2] == LAST:
                return True
            u = Unpacker(bytes(frame[HEAD:]))
            while u.more():
                restore(u.value())
            return False

        try:
            segments.walk(segment, segments.begin(), segments.seed(segment), visit)
        except _MALFORMED:
            refuse(segment, "malformed checkpoint")

    def _fold(self, n):
        """Visit the records of the nth segment."""
        segments = self._segments
        first, segment = self.live[n]
        h = segments.origin(segment)[1]
        if self.seq + 1 != first or self.head != h:
            since = min(self.seq + 1, first - 1)
            self.note(segment, "does not go on where the segment before it ends")
            self._gap(since, first - 1, self.head, h)
            self.seq, self.head = first - 1, h
        self._limit = self.live[n + 1][0] if n + 1 < len(self.live) else 0
        found = self._whole.get(segment)
        at = found.records if found else segments.begin()
        self.end = segments.walk(
            segment, at, segments.seed(segment), lambda at, n: self._record(segment, at, n)
        )

    def _record(self, segment, at, n):
        frame = self._segments.window(segment, at, n)
        if frame[2] in (ITEMS, LAST):
            return False
        more = ahead(frame[3] << 8 | frame[4], self.seq + 1)
        if more < 0:
            return False
        if self._limit and self.seq + 1 + more >= self._limit:
            return True
        if more:
            self.lose(segment, at, more)
            frame = self._segments.window(segment, at, n)
        self.seq += 1
        self.head = chain(self.head, frame)
        if frame[2] == r.GAP:
            self._told(frame)
        self._visit(self.seq, self.head, frame[2], frame[HEAD:])
        return False

    def lose(self, segment, at, count):
        """The next `count` records are not there."""
        first, last = self.seq + 1, self.seq + count
        self.note(segment, "damaged before offset %d: records %d to %d" % (at, first, last))
        h = chain_gap(self.head, last)
        self._gap(first, last, self.head, h)
        self.seq, self.head = last, h

    def _gap(self, first, last, before, after):
        if self.owed:  # one record tells of all
            first, before = self.owed[0], self.owed[2]
        self.owed = [first, last, before, after, r.DAMAGED]

    def _told(self, frame):
        u = Unpacker(frame[HEAD:])
        try:
            u.array(2)
            u.int()
            last = u.int()
        except FormatError:
            return  # who folds it says so
        if self.owed and last >= self.owed[1]:
            self.owed = None

    # -- a segment whose header is damaged

    def stray(self):
        """(segment, seed) of one whose frames follow the newest record, or None.

        A segment that was half erased has frames as well, but older ones.
        """
        for segment in self._bad:
            head = bytes(self._segments.window(segment, 0, HEADER))
            first = int.from_bytes(head[8:12], "big")
            behind = self.seq + 1 - first
            if head[12:44] == self.head or 0 <= behind <= self._segments.size // OVERHEAD:
                for seed in (int.from_bytes(head[60:], "big"), crc32(head[:60])):
                    if self._newest(segment, seed, self.seq + 1) >= 0:
                        self.note(segment, "damaged header")
                        self._bad.remove(segment)
                        return segment, seed
        return None
