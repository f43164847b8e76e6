"""Where records lie: the ring of segments, and places in it that are remembered."""

from array import array

from .const import const
from .segments import ITEMS, LAST, Lost, ahead, chain, chain_gap

_MARKS = const(32)  # places remembered, one for every eight records


class Index:
    """Finds frames by number. `ring` has (first sequence, segment), oldest first.

    Segments that were dropped stay in it until they are erased.
    """

    def __init__(self, segments):
        self.ring = []
        self._segments = segments
        self._marks = array("I", [0] * (3 * _MARKS))
        self._last = (0, 0, 0, -1)  # sequence, segment, offset, run of the frame read last
        self._found = 0  # the record at which the last search ended

    def mark(self, seq, segment, at):
        """Record `seq` lies there, the first one of a sync."""
        i = (seq >> 3) % _MARKS * 3
        marks = self._marks
        marks[i], marks[i + 1], marks[i + 2] = seq, segment, at

    def frame(self, seq, newest):
        """A view of record `seq`'s frame, `newest` being the last there is. Raises Lost."""
        n = self._find(seq) if self.ring and self.ring[0][0] <= seq <= newest else 0
        if not n:
            raise Lost("record %d is not in the log" % seq)
        _, segment, at, _ = self._last
        return self._segments.window(segment, at, n)

    def next(self, seq, newest):
        """The first record from `seq` on that is there; `newest` + 1 if none is."""
        while seq <= newest and self.ring:
            if self._find(seq):
                break
            seq = self._found if self._found > seq else self.next_segment(seq) or newest + 1
        return seq

    def _find(self, seq):
        """The length of record `seq`'s frame, its place in `_last`; 0 if it is not there."""
        segments = self._segments
        near, segment, at, run = self._near(seq)
        found = [near, 0]

        def visit(at, n):
            frame = segments.window(segment, at, n)
            if frame[2] in (ITEMS, LAST):
                return False
            found[0] += ahead(frame[3] << 8 | frame[4], found[0])
            if found[0] == seq:
                self._last = (seq, segment, at, segments.run)
                found[1] = n
            return found[0] >= seq

        segments.walk(segment, at, segments.seed(segment), visit, run)
        self._found = found[0]
        return found[1]

    def _near(self, seq):
        """(sequence, segment, offset, run) of a known record up to `seq`, in its segment."""
        first, segment = self._segment_of(seq)
        best = (first, segment, self._segments.begin(), -1)
        for mark in (self._last, self._marked(seq), self._marked(seq - 8)):
            if mark[1] == segment and best[0] <= mark[0] <= seq:
                best = mark
        return best

    def _marked(self, seq):
        i = (seq >> 3) % _MARKS * 3
        marks = self._marks
        return marks[i], marks[i + 1], marks[i + 2], -1

    def _segment_of(self, seq):
        best = self.ring[0]
        for entry in self.ring:
            if entry[0] <= seq:
                best = entry
        return best

    def hash_at(self, seq, newest):
        """h[seq], computed from the header of its segment on. Raises Lost."""
        if not self.ring or not self.ring[0][0] - 1 <= seq <= newest:
            raise Lost("record %d is not in the log" % seq)
        segments = self._segments
        first, segment = self._segment_of(seq + 1)
        found = [first - 1, segments.origin(segment)[1]]

        def visit(at, n):
            if found[0] >= seq:
                return True
            frame = segments.window(segment, at, n)
            more = ahead(frame[3] << 8 | frame[4], found[0] + 1)
            if frame[2] not in (ITEMS, LAST) and more >= 0:
                if more:
                    found[1] = chain_gap(found[1], found[0] + more)
                    if found[0] + more >= seq:
                        found[0] += more
                        return True
                found[0] += more + 1
                found[1] = chain(found[1], frame)
            return False

        if seq >= first:
            segments.walk(segment, segments.begin(), segments.seed(segment), visit)
        if found[0] != seq:
            raise Lost("record %d is not in the log" % seq)
        return found[1]

    def next_segment(self, seq):
        """The first record of the segment behind that of record `seq`, 0 if it is the newest."""
        for first, _ in self.ring:
            if first > seq:
                return first
        return 0
