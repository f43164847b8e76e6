"""A NOR flash chip in memory: refuses what a real one can't do, and fails on purpose. Portable.

`Chip` is a medium of the log. Each program, each erase of one block and each sync is an
*operation*; they are numbered from 0, and `operations` is the number of the next one. Of each an
accident can be planned: the power goes (`cut`), or the chip fails (`fail`). A breach of the rules
of NOR flash is an AssertionError, so that no code under test can take it for an error of the chip.
"""

import hashlib

from mote.log import LogError

# What `fail` can plan.
REFUSE = "refuse"  # nothing is done, LogError
PART = "part"  # some of it is done, LogError
WRONG = "wrong"  # no error, but one bit is not as it should be

BACKWARDS = 2  # a way to smear: the last bytes are done, not the first

_CUT = "cut"


class PowerCut(Exception):
    """The power went; everything on the chip raises it until `power_on`."""


class Chip:
    """A chip of `segments`, each of `segment_bytes` in erase blocks of `block_bytes`.

    `cells` has a bytearray for each segment, `blocks` is the number of blocks in one. Counters:
    `operations`, `reads`, `programs` (calls), `programmed` (bytes), `syncs`, and `erases`, one for
    each block (that of block b in segment s is at s * blocks + b). With `record` set, `ops` gets
    (kind, segment, offset, bytes) of each operation; kinds: program, erase, sync (segment -1).
    `bad_blocks` and `unreadable` are sets of (segment, block) which can't be changed or read.
    """

    def __init__(self, unit, segments, segment_bytes, block_bytes=None, seed=1, record=False):
        self.unit = unit
        self.segments = segments
        self.segment_bytes = segment_bytes
        self.block_bytes = block_bytes or segment_bytes
        assert segment_bytes % self.block_bytes == 0, "a segment is a whole number of blocks"
        assert self.block_bytes % unit == 0, "a block is a whole number of units"
        self.blocks = segment_bytes // self.block_bytes
        self._erased = b"\xff" * segment_bytes
        self.cells = [bytearray(self._erased) for _ in range(segments)]
        self.operations = self.reads = self.programs = self.programmed = self.syncs = 0
        self.erases = [0] * (segments * self.blocks)
        self.record = record
        self.ops = []
        self.bad_blocks = set()
        self.unreadable = set()
        self._seed = seed
        self._drawn = 0
        self._off = False
        self._cut = None  # (operation, bytes done, smear)
        self._failures = {}  # (kind, bytes done) by operation
        self._failing = None  # (operation, kind, bytes done): from that operation on
        self._failing_reads = set()

    def copy(self):
        """An equal chip, with the same bad blocks; its power is on, nothing counted or planned."""
        other = Chip(self.unit, self.segments, self.segment_bytes, self.block_bytes, self._seed)
        other.cells = [bytearray(cells) for cells in self.cells]
        other.bad_blocks = set(self.bad_blocks)
        other.unreadable = set(self.unreadable)
        return other

    # -- the medium

    def read(self, segment, offset, buf):
        """Fill `buf` from there."""
        n = len(buf)
        self._check(segment, offset, n)
        if self._off:
            raise PowerCut("off")
        self.reads += 1
        if self._failing_reads and self.reads - 1 in self._failing_reads:
            raise LogError("segment %d, offset %d: the read failed" % (segment, offset))
        if self.unreadable and self._touches(self.unreadable, segment, offset, n):
            raise LogError("segment %d, offset %d: unreadable" % (segment, offset))
        buf[:] = self.cells[segment][offset : offset + n]

    def program(self, segment, offset, data):
        """Program erased units, from the first byte to the last."""
        n = len(data)
        self._check(segment, offset, n)
        assert n, "nothing to program"
        assert offset % self.unit == n % self.unit == 0, "not aligned to the unit"
        cells = self.cells[segment]
        end = offset + n
        fault = self._begin("program", segment, offset, n)
        assert cells[offset:end] == self._erased[:n], "programmed twice"
        self.programs += 1
        if fault is None:
            cells[offset:end] = data
            self.programmed += n
        elif fault[0] == WRONG:
            cells[offset:end] = data
            self.programmed += n
            self.flip(segment, offset * 8 + self._below(n * 8))
        else:
            self._program_part(segment, offset, data, fault[1], fault[2])
            self._end(fault, "segment %d, offset %d: the program failed" % (segment, offset))

    def erase(self, segment):
        """Erase a segment, block after block from its first on."""
        self._check(segment, 0, 0)
        size = self.block_bytes
        cells = self.cells[segment]
        for block in range(self.blocks):
            at = block * size
            fault = self._begin("erase", segment, at, size)
            if fault is None or fault[0] == WRONG:
                cells[at : at + size] = self._erased[:size]
                self.erases[segment * self.blocks + block] += 1
                if fault:
                    self.flip(segment, at * 8 + self._below(size * 8))
            else:
                self._erase_part(segment, block, fault[1], fault[2])
                self._end(fault, "segment %d, block %d: the erase failed" % (segment, block))

    def sync(self):
        """Count it; all is on the chip already."""
        fault = self._begin("sync", -1, 0, 0)
        if fault is None or fault[0] == WRONG:
            self.syncs += 1
        else:
            self._end(fault, "the sync failed")

    # -- accidents

    def cut(self, operation, byte=None, smear=False):
        """Let the power go at that operation: before it, or when `byte` bytes of it are done.

        With `smear` the byte of a program at the cut gets only some of its 0 bits, and the bytes
        that an erase did not reach have some bits set. With BACKWARDS the bytes that are done are
        the last ones, of the block that is erased or of the unit that is programmed at the cut.
        """
        assert operation >= self.operations, "that operation is over"
        self._cut = (operation, byte, smear)

    def power_on(self):
        """Begin the next life after a cut. What else is planned stays so."""
        self._off = False

    def fail(self, operation, kind, byte=None, forever=False):
        """Let that operation fail: REFUSE, PART (`byte` bytes are done, else half), or WRONG.

        With `forever` all behind it fail too.
        """
        assert kind in (REFUSE, PART, WRONG)
        assert operation >= self.operations, "that operation is over"
        if forever:
            self._failing = (operation, kind, byte)
        else:
            self._failures[operation] = (kind, byte)

    def fail_read(self, number):
        """Let a read fail; reads have numbers of their own, `reads` is that of the next one."""
        assert number >= self.reads, "that read is over"
        self._failing_reads.add(number)

    def flip(self, segment, bit):
        """Change one bit at rest; bit 0 is the lowest of the segment's first byte."""
        self.cells[segment][bit >> 3] ^= 1 << (bit & 7)

    def zero(self, segment, block):
        """Leave a block all zero, as an erase does that is cut before it raises any bit."""
        at = block * self.block_bytes
        self.cells[segment][at : at + self.block_bytes] = bytes(self.block_bytes)

    # -- inside

    def _check(self, segment, offset, n):
        assert 0 <= segment < self.segments, "no such segment"
        assert 0 <= offset <= self.segment_bytes - n, "over the end of the segment"

    def _begin(self, kind, segment, offset, n):
        """Count an operation; None, or (what goes wrong, bytes done, smear). Raises PowerCut."""
        if self._off:
            raise PowerCut("off")
        number = self.operations
        cut = self._cut
        if cut is not None and cut[0] == number:
            self._cut, self._off = None, True
            if cut[1] is None:
                raise PowerCut("before operation %d" % number)
        else:
            cut = None
        self.operations = number + 1
        if self.record:
            self.ops.append((kind, segment, offset, n))
        if cut:
            assert 0 <= cut[1] <= n, "the operation has fewer bytes"
            return (_CUT, cut[1], cut[2])
        if self.bad_blocks and self._touches(self.bad_blocks, segment, offset, n):
            return (REFUSE, 0, False)
        if self._failures or self._failing:
            return self._failure(number, n)
        return None

    def _failure(self, number, n):
        planned = self._failures.get(number)
        if planned is None and self._failing and self._failing[0] <= number:
            planned = self._failing[1:]
        if planned is None:
            return None
        kind, byte = planned
        done = n // 2 if byte is None else min(byte, n)
        return (kind, done if kind == PART else 0, False)

    def _end(self, fault, text):
        if fault[0] == _CUT:
            raise PowerCut("in operation %d" % (self.operations - 1))
        raise LogError(text)

    def _touches(self, blocks, segment, offset, n):
        first = offset // self.block_bytes
        last = (offset + n - 1) // self.block_bytes
        return any((segment, block) in blocks for block in range(first, last + 1))

    def _program_part(self, segment, offset, data, done, smear):
        cells = self.cells[segment]
        self.programmed += done
        if smear != BACKWARDS:
            cells[offset : offset + done] = data[:done]
            if smear and done < len(data):
                cells[offset + done] = data[done] | self._noise(1)[0]
            return
        whole = done - done % self.unit
        cells[offset : offset + whole] = data[:whole]
        if done > whole:
            end = whole + self.unit
            start = end - (done - whole)
            cells[offset + start : offset + end] = data[start:end]

    def _erase_part(self, segment, block, done, smear):
        cells = self.cells[segment]
        start = block * self.block_bytes
        end = start + self.block_bytes
        if done or smear:
            self.erases[segment * self.blocks + block] += 1
        if smear == BACKWARDS:
            cells[end - done : end] = self._erased[:done]
            return
        start += done
        cells[start - done : start] = self._erased[:done]
        if smear and start < end:
            # as one number: a loop over the bytes would take most of a test's time
            old = int.from_bytes(cells[start:end], "big")
            noise = int.from_bytes(self._noise(end - start), "big")
            cells[start:end] = (old | noise).to_bytes(end - start, "big")

    def _noise(self, n):
        """`n` random bytes, the same on every runtime."""
        found = b""
        while len(found) < n:
            self._drawn += 1
            found += hashlib.sha256(b"%d.%d" % (self._seed, self._drawn)).digest()
        return found[:n]

    def _below(self, n):
        return int.from_bytes(self._noise(3), "big") % n
