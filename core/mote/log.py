"""The log: records in frames, in a ring of segments; every record chained to the one before.

Theory of operation. What is appended waits in a buffer until `sync` (or lack of room) pads it to
the medium's program unit, programs it, reads it back and syncs the medium. So a frame is either
on the medium and safe, or in the buffer.

A segment opens with a checkpoint: the state after the record before it, which the agent writes
through `checkpoint`. At rotation the checkpoint goes into a segment that is erased already and
says which record is the oldest that is kept; when it is synced the new segment counts, and only
then, in `tidy`, is what was dropped erased.

A program, erase or sync that fails seals the segment: what waits in the buffer is written into
the next one, which begins where the failed one is no longer trusted and has no state of its own.
"""

import struct
from binascii import crc32

from . import records as r
from .index import Index
from .segments import (  # noqa: F401 (the log's users find them here)
    HEAD,
    HEADER,
    ITEMS,
    LAST,
    OVERHEAD,
    VERSION,
    LogError,
    Lost,
    Segments,
    ahead,
    align,
    chain,
    genesis,
)
from .writer import Writer

_LAST_SEQ = 0xFFFFFFFF


class Log:
    """One device's log. Create it, `open` it, then `append` and `sync`.

    `seq` is the newest record's number (the first is 1), `head` its chain hash (32 bytes),
    `synced` the newest record that is safe. Frames are handed out without their CRC; such a view
    is good until the next call. `notes` says what opening found wrong, with its place; `owed` has
    the fields of a GAP record that is due. Set `checkpoint(item)` before opening: it calls
    `item()` for a Packer to pack each item of the state into. Set `acked` to the newest record
    that the gateway holds.
    """

    def __init__(self, medium, start, sign, record_bytes=1024):
        """`start` is h[0]; `sign(bytes) -> MAC` binds segments to the device."""
        self.seq = self.synced = self.acked = 0
        self.head = self._start = start
        self.record_bytes = record_bytes
        self.unit = medium.unit
        self.notes = []
        self.owed = None
        self.checkpoint = None
        self._medium = medium
        self._segments = Segments(medium, sign, record_bytes)
        self._writer = Writer(self._segments)
        self._index = Index(self._segments)
        self._kept = []  # segments that are not ours to touch, or bad
        self._erased = -1  # a segment that is known to be erased
        self._oldest = 1
        self._base = -1  # the segment whose state counts
        self._torn = False  # where writing goes on, a program did not end well
        self._safe = start  # chain hash of the newest record that is safe
        self._seed = 0

    # -- opening

    def open(self, restore, visit):
        """Restore the newest state, then walk the records behind it.

        `restore(item)` is called with each item of the state, `visit(seq, hash, kind, payload)`
        for each record. Raises LogError if it has another geometry, a newer version, or is broken.
        """
        from .recovery import Recovery  # who has no RAM to spare drops it when the log is open

        found = Recovery(self._segments, self._start, self.record_bytes)
        found.run(restore, visit)
        self.seq, self.head = found.seq, found.head
        self._index.ring, self._kept, self._base = found.live, found.kept, found.base
        self._oldest, self.acked, self.owed = found.oldest, found.acked, found.owed
        self.notes = found.notes
        if self._index.ring:
            tail = self._segments
            tail.tail, tail.at = self._index.ring[-1][1], found.end
            self._seed = tail.seed(tail.tail)
            self._medium.sync()  # a process that was killed may have left it in a cache
        self._sealed()
        stray = found.stray()
        while stray:
            self._adopt(found, stray[0], stray[1], visit)
            found.seq, found.head = self.seq, self.head
            stray = found.stray()

    def _sealed(self):
        self.synced, self._safe = self.seq, self.head

    def _adopt(self, found, segment, seed, visit):
        """Append anew what stands in a segment whose header is damaged."""
        segments = self._segments
        self._kept.append(segment)

        def move(at, n):
            frame = bytes(segments.window(segment, at, n))
            more = ahead(frame[3] << 8 | frame[4], self.seq + 1)
            if frame[2] in (ITEMS, LAST) or not 0 <= more <= segments.size // OVERHEAD:
                return
            if more:
                self.sync()
                found.seq, found.head, found.owed = self.seq, self.head, self.owed
                found.lose(segment, at, more)
                self.seq, self.head, self.owed = found.seq, found.head, found.owed
                self._sealed()
            self.append(frame[2], frame[HEAD:])
            visit(self.seq, self.head, frame[2], frame[HEAD:])

        segments.walk(segment, segments.begin(), seed, move)
        self.sync()
        self._kept.remove(segment)

    # -- reading

    def frame(self, seq):
        """A view of record `seq`'s frame without the CRC: kind at [2], payload from [5] on.

        Raises Lost if there is no such record.
        """
        return self._index.frame(seq, self.seq)

    def hash_at(self, seq):
        """h[seq], computed from the header of its segment on. Raises Lost."""
        return self.head if seq == self.seq else self._index.hash_at(seq, self.seq)

    def oldest(self):
        """The number of the oldest record that is kept."""
        ring = self._index.ring
        return max(self._oldest, ring[0][0]) if ring else self.seq + 1

    def at_risk(self):
        """Records before this one go when the next segment begins, or have gone."""
        live = self._live()
        return live[1][0] if len(live) > 1 and self._spares(live) < 2 else self.oldest()

    def next(self, seq):
        """The first record from `seq` on that is there; the one behind the newest if none is."""
        return self._index.next(max(seq, self.oldest()), self.seq)

    def next_segment(self, seq):
        """The first record of the segment behind that of record `seq`, or the next record."""
        return self._index.next_segment(seq) or self.seq + 1

    def segments(self):
        """[(first sequence, segment, chain hash before it)] of all that is kept, oldest first."""
        return [(first, n, self._segments.origin(n)[1]) for first, n in self._live()]

    # -- room

    def room(self, keep):
        """Bytes that can be filled at the least, if records from `keep` on must stay."""
        tail = self._segments
        usable = tail.size - tail.size // 16 - HEADER
        waste = self.record_bytes + OVERHEAD  # what does not fit begins the next segment
        here = tail.size - tail.at - tail.pending - waste if self._index.ring else 0
        live = self._live()
        staying = len([e for e in live[:-1] if self.next_segment(e[0]) > keep])
        if live:
            staying += 1
        free = self._medium.segments - len(self._kept) - staying - 1  # one is the spare
        return max(0, here) + max(0, free) * max(0, usable - waste)

    def _live(self):
        """What of the ring is not dropped."""
        ring = self._index.ring
        n = 0
        while n + 1 < len(ring) and ring[n + 1][0] <= self._oldest and ring[n][1] != self._base:
            n += 1
        return ring[n:]

    # -- appending

    def append(self, kind, payload):
        """Append a record; returns its number. It is safe only after `sync`.

        Raises LogError if the payload is over `record_bytes`, or if nothing can be programmed any
        more: then open the log anew. Whatever is raised, the record was not appended.
        """
        n = len(payload)
        size = n + OVERHEAD
        if n > self.record_bytes:
            raise LogError("record over %d bytes" % self.record_bytes)
        if self.seq >= _LAST_SEQ:
            raise LogError("all numbers for records are used up: begin a new log")
        tail = self._segments
        if tail.pending + size > len(tail.out):
            self.sync()
        if self._over(size):
            self.sync()
            if self._over(size):
                self._begin(self.seq + 1, self.head, True)
                if tail.at + size > tail.size:
                    raise LogError("segments of %d bytes are too small" % tail.size)
        seq, at, out = self.seq + 1, tail.pending, tail.out
        end = at + HEAD + n
        struct.pack_into(">HBH", out, at, n, kind, seq & 0xFFFF)
        out[at + HEAD : end] = payload
        h = chain(self.head, out[at:end])
        self._close(at, end, int.from_bytes(out[at - 4 : at], "big") if at else self._seed)
        if not at:
            self._index.mark(seq, tail.tail, tail.at)
        # in one statement, as everywhere here: an exception leaves all of it undone
        self.seq, self.head, tail.pending = seq, h, at + size
        return seq

    def _over(self, size):
        """True if a frame of that size must begin a segment, one with a state."""
        tail = self._segments
        if not self._index.ring or tail.at + tail.pending + size > tail.size:
            return True
        if tail.tail == self._base or self._index.ring[-1][0] > self.seq:
            return False
        live = self._live()  # too many failed: only a newer state lets the oldest go
        return live[0][1] == self._base and self._spares(live) < 2

    def _spares(self, live):
        return self._medium.segments - len(self._kept) - len(live)

    def _close(self, at, end, seed):
        out = self._segments.out
        out[end : end + 4] = crc32(out[at:end], seed).to_bytes(4, "big")

    def sync(self):
        """Make all that was appended safe. Raises LogError if no segment takes it."""
        while self.synced < self.seq:
            if self._torn:
                self._move()
            try:
                self._flush()
            except LogError:
                pass  # it is torn now

    def _flush(self):
        tail = self._segments
        n = align(tail.pending, self.unit)
        tail.out[tail.pending : n] = b"\xff" * (n - tail.pending)
        self._torn = True
        tail.program(tail.tail, tail.at, tail.out[:n])
        self._medium.sync()
        tail.at, tail.pending, self.synced, self._safe, self._torn = (
            tail.at + n,
            0,
            self.seq,
            self.head,
            False,
        )

    def _move(self):
        """The segment that is written failed: take what waits to another one."""
        ring = self._index.ring
        if ring[-1] == (self.synced + 1, self._segments.tail) and ring[-1][1] != self._base:
            self._kept.append(ring[-1][1])  # there is nothing in it
            self._index.ring = ring[:-1]
        self._begin(self.synced + 1, self._safe, False)

    # -- the ring

    def _begin(self, first, h, state):
        """Begin a segment; `state` says whether the state at that record is written into it."""
        while True:
            segment = self._spare()
            oldest, owed = self._drop(first, state)
            self._erased = -1
            try:
                at = self._write(segment, first, h, state, oldest, owed)
                break
            except LogError:
                self._kept.append(segment)
        tail, seed = self._segments, self._writer.seed
        frame, run = 0, seed
        while frame < tail.pending:  # what was to be programmed elsewhere
            end = frame + HEAD + (tail.out[frame] << 8 | tail.out[frame + 1])
            self._close(frame, end, run)
            frame = end + 4
            run = int.from_bytes(tail.out[end:frame], "big")
        ring = self._index.ring[:]
        ring.append((first, segment))
        base = segment if state else self._base
        (
            self._index.ring,
            self._oldest,
            self.owed,
            self._base,
            self._seed,
            tail.tail,
            tail.at,
            self._torn,
        ) = (
            ring,
            oldest,
            owed,
            base,
            seed,
            segment,
            at,
            False,
        )

    def _write(self, segment, first, h, state, oldest, owed):
        writer, medium = self._writer, self._medium
        writer.open(segment, first, h)
        p = writer.item().array(9).int(0).int(VERSION).int(medium.segment_bytes)
        p.int(medium.segments).int(self.record_bytes).int(oldest).int(self.acked)
        p.value(owed).int(1 if state else 0)
        if state and self.checkpoint:
            self.checkpoint(writer.item)
        return writer.close()

    def _drop(self, first, state):
        """(oldest record to keep, GAP that is owed) once another segment has begun at `first`."""
        live = self._live()
        if not live or self._medium.segments - len(self._kept) - len(live) >= 2:
            return max(self._oldest, live[0][0]) if live else first, self.owed
        if not state and live[0][1] == self._base:
            return self._oldest, self.owed
        return self._without(live, first)

    def _without(self, live, first):
        """The same, if the oldest of the `live` segments goes."""
        old, segment = live[0]
        before = self._segments.origin(segment)[1]
        if len(live) == 1:
            next_first, after = first, self.head if first > self.seq else self._safe
        else:
            next_first = live[1][0]
            after = self._segments.origin(live[1][1])[1]
        if next_first - 1 <= self.acked or next_first == old:
            return next_first, self.owed
        last, why = next_first - 1, r.DROPPED
        if self.owed:  # one record tells of both
            why = self.owed[4]
            if self.owed[0] < old:
                old, before = self.owed[0], self.owed[2]
            if self.owed[1] > last:
                last, after = self.owed[1], self.owed[3]
        return next_first, [old, last, before, after, why]

    def _spare(self):
        """An erased segment, the next in the order of the ring. Raises LogError."""
        count = self._medium.segments
        used = [segment for _, segment in self._index.ring]
        for i in range(count):
            segment = (self._segments.tail + 1 + i) % count
            if segment not in used and segment not in self._kept and self._is_erased(segment):
                return segment
        if self.tidy():
            return self._spare()
        live = self._live()
        if len(live) < 2 or live[0][1] == self._base:
            raise LogError("no segment can be written")
        self._oldest, self.owed = self._without(live, 0)
        return self._spare()

    def _is_erased(self, segment):
        if segment == self._erased:
            return True
        try:
            if self._segments.written(segment, 0) < self._segments.size:
                self._erase(segment)
        except LogError:
            self._kept.append(segment)
            return False
        return True

    def _erase(self, segment):
        self._segments.forget()
        self._medium.erase(segment)
        if self._segments.written(segment, 0) < self._segments.size:
            raise LogError("segment %d: is not erased by an erase" % segment)
        self._erased = segment

    def dropped(self):
        """How many segments were dropped and are still to be erased."""
        return len(self._index.ring) - len(self._live())

    def tidy(self):
        """Erase a segment that was dropped; False if there is none. It may take a while."""
        ring = self._index.ring
        if not self.dropped():
            return False
        try:
            self._erase(ring[0][1])
        except LogError:
            self._kept.append(ring[0][1])
        self._index.ring = ring[1:]
        return True
