"""The raw medium: segments of the log are erase blocks of a flash chip, without a file system.

The chip is a block device with MicroPython's extended protocol (`vfs.AbstractBlockDev`): a
partition of an ESP32, `rp2.Flash`, or a driver of one's own. Devices tell of failures in three
ways: they raise OSError, return a number that is not 0, or (reads and writes) return False. A
failure that is overlooked is data lost without a word, so each becomes LogError.
"""

from mote.const import const
from mote.log import LogError

_INIT = const(1)
_SYNC = const(3)
_COUNT = const(4)
_SIZE = const(5)
_ERASE = const(6)

_EXTENDED = const(1)  # with _INIT: some ports answer with their chip's own block size only then
_DEFAULT_SIZE = const(512)  # of a device that does not know its block size
_LARGEST_UNIT = const(256)


class BlockMedium:
    """A log medium on the blocks of `device` from `first_block` on.

    It takes `segments` times `segment_bytes`, which is a whole number of the device's blocks.
    `unit` is what the chip programs at once (bytes, a power of two up to 256). Raises LogError if
    the region does not fit the device.
    """

    def __init__(self, device, segments, segment_bytes, unit, first_block=0):
        self.unit = unit
        self.segments = segments
        self.segment_bytes = segment_bytes
        self._first_block = first_block
        self._ioctl = device.ioctl
        # kept: taking a method of an object allocates
        self._readblocks = device.readblocks
        self._writeblocks = device.writeblocks
        self._command(_INIT, _EXTENDED, "init")
        self._block_bytes = self._command(_SIZE, 0, "block size") or _DEFAULT_SIZE
        self._check_geometry(self._command(_COUNT, 0, "block count"))

    def read(self, segment, offset, buf):
        """Fill `buf` from there; erased bytes read as 0xFF."""
        self._check(segment, offset, len(buf))
        self._transfer(self._readblocks, "read", segment, offset, buf)

    def program(self, segment, offset, data):
        """Program erased units. `data` lies in RAM: few chips can be read while they program."""
        n = len(data)
        self._check(segment, offset, n)
        if offset % self.unit or n % self.unit:
            raise LogError(
                "segment %d: %d bytes at %d, the unit is %d" % (segment, n, offset, self.unit)
            )
        self._transfer(self._writeblocks, "program", segment, offset, data)

    def erase(self, segment):
        """Erase a segment, the block with its header first: half erased, it has no header."""
        self._check(segment, 0, 0)
        n = self.segment_bytes // self._block_bytes
        first = self._first_block + segment * n
        for block in range(first, first + n):
            if self._command(_ERASE, block, "erase") is None:
                raise LogError("block %d: the device can't erase" % block)

    def sync(self):
        """Make durable what was programmed and erased."""
        self._command(_SYNC, 0, "sync")

    def _check_geometry(self, blocks):
        size, unit, first = self._block_bytes, self.unit, self._first_block
        if not 0 < unit <= _LARGEST_UNIT or unit & (unit - 1) or size % unit:
            raise LogError("unit of %d bytes, blocks have %d" % (unit, size))
        if self.segment_bytes <= 0 or self.segment_bytes % size:
            raise LogError("segments of %d bytes, blocks have %d" % (self.segment_bytes, size))
        end = first + self.segments * (self.segment_bytes // size)
        if blocks is None or first < 0 or end > blocks:
            raise LogError("blocks %d to %d, the device has %s" % (first, end - 1, blocks))

    def _check(self, segment, offset, n):
        # what lies beside the region belongs to others
        if not 0 <= segment < self.segments:
            raise LogError("segment %d, there are %d" % (segment, self.segments))
        if not 0 <= offset <= self.segment_bytes - n:
            raise LogError(
                "segment %d: %d bytes at %d, it has %d" % (segment, n, offset, self.segment_bytes)
            )

    def _transfer(self, move, what, segment, offset, data):
        """Read or write piece by piece: not every device can cross a border of blocks."""
        size = self._block_bytes
        offset += segment * self.segment_bytes
        block, at = self._first_block + offset // size, offset % size
        n = len(data)
        if at + n <= size:
            _move(move, what, block, data, at)
            return
        view = memoryview(data)
        done = 0
        while done < n:
            step = min(size - at, n - done)
            _move(move, what, block, view[done : done + step], at)
            done += step
            block += 1
            at = 0

    def _command(self, op, arg, what):
        """What the device answers to an `ioctl`: of a question the answer, else 0 or None."""
        try:
            answer = self._ioctl(op, arg)
        except OSError as e:
            raise LogError("block device, %s(%d): %s" % (what, arg, e))
        if answer and op not in (_SIZE, _COUNT):
            raise LogError("block device, %s(%d): error %s" % (what, arg, answer))
        return answer


def _move(move, what, block, data, at):
    try:
        result = move(block, data, at)
    except OSError as e:
        raise LogError("block %d, %s at %d: %s" % (block, what, at, e))
    # None, 0 and True mean success; False, which equals 0, does not
    if result is None or result is True or (result is not False and result == 0):
        return
    raise LogError("block %d, %s at %d: error %s" % (block, what, at, result))
