"""The raw medium: it keeps to its blocks and to NOR's rules, and overlooks no failure."""

from blockdev import COUNT, ERASE, INIT, SIZE, SYNC, BlockDevice
from helpers import raises
from mote.log import LogError
from mote_ports.blocks import BlockMedium

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # on CPython nothing can be measured

    def heap_lock():
        """Do nothing."""

    heap_unlock = heap_lock


def _medium(unit=4, first_block=2):
    """Two segments of three blocks of 32 bytes, with others' blocks before and behind."""
    device = BlockDevice(32, 9, unit)
    medium = BlockMedium(device, 2, 96, unit, first_block)
    device.calls = []
    return medium, device


def _read(medium, segment, offset, n):
    buf = bytearray(n)
    medium.read(segment, offset, buf)
    return bytes(buf)


def test_programmed_bytes_are_read_back_and_the_rest_is_erased():
    medium, _ = _medium()
    medium.program(0, 8, b"abcd")
    medium.program(1, 0, memoryview(b"efgh"))
    assert _read(medium, 0, 7, 6) == b"\xffabcd\xff"
    assert _read(medium, 1, 0, 96) == b"efgh" + b"\xff" * 92


def test_segments_lie_one_after_the_other_from_the_first_block_on():
    medium, device = _medium()
    medium.program(0, 0, b"abcd")
    medium.program(1, 92, b"efgh")
    assert device.cells == b"\xff" * 64 + b"abcd" + b"\xff" * 184 + b"efgh" + b"\xff" * 32


def test_a_program_over_borders_is_split_there():
    medium, device = _medium()
    data = bytes(range(80))
    medium.program(1, 12, data)
    assert device.calls == [("write", 5, 12, 20), ("write", 6, 0, 32), ("write", 7, 0, 28)]
    assert _read(medium, 1, 12, 80) == data


def test_a_read_over_borders_is_split_there():
    medium, device = _medium()
    medium.program(0, 0, bytes(range(96)))
    device.calls = []
    assert _read(medium, 0, 31, 34) == bytes(range(31, 65))
    assert device.calls == [("read", 2, 31, 1), ("read", 3, 0, 32), ("read", 4, 0, 1)]


def test_what_ends_at_a_border_is_one_call():
    medium, device = _medium()
    medium.program(0, 32, bytes(32))
    _read(medium, 0, 40, 24)
    assert device.calls == [("write", 3, 0, 32), ("read", 3, 8, 24)]


def test_pieces_are_whole_units():
    medium, device = _medium(unit=16)
    for data, offset in ((bytes(8), 0), (bytes(16), 8)):
        error = raises(LogError, medium.program, 0, offset, data)
        assert str(error) == "segment 0: %d bytes at %d, the unit is 16" % (len(data), offset)
    assert device.calls == []
    medium.program(0, 16, bytes(80))
    assert [call[3] for call in device.calls] == [16, 32, 32]


def test_nothing_outside_of_the_region_is_touched():
    medium, device = _medium()
    for segment, offset, n in ((0, 92, 8), (1, 96, 4), (0, -4, 4), (2, 0, 4), (-1, 0, 4)):
        raises(LogError, medium.program, segment, offset, bytes(n))
        raises(LogError, medium.read, segment, offset, bytearray(n))
    for segment in (-1, 2):
        raises(LogError, medium.erase, segment)
    assert device.calls == []


def test_erase_begins_with_the_header_and_stays_in_the_segment():
    medium, device = _medium()
    medium.program(0, 92, b"abcd")
    medium.program(1, 0, bytes(96))
    device.calls = []
    medium.erase(1)
    assert device.calls == [(ERASE, 5), (ERASE, 6), (ERASE, 7)]
    assert _read(medium, 1, 0, 96) == b"\xff" * 96
    assert _read(medium, 0, 92, 4) == b"abcd"


def test_sync_reaches_the_device():
    medium, device = _medium()
    medium.sync()
    assert device.calls == [(SYNC, 0)]


FAILURES = (5, -5, 1, -1, False, OSError(5, "EIO"))


def test_a_write_that_fails_is_an_error_whatever_the_device_says():
    for result in FAILURES:
        medium, device = _medium()
        device.fail("write", result, after=1)
        error = raises(LogError, medium.program, 0, 28, bytes(8))
        assert str(error).startswith("block 3, program at 0: ")
        assert str(result) in str(error) or "EIO" in str(error)


def test_a_read_that_fails_is_an_error_whatever_the_device_says():
    for result in FAILURES:
        medium, device = _medium()
        device.fail("read", result)
        error = raises(LogError, _read, medium, 1, 3, 1)
        assert str(error).startswith("block 5, read at 3: ")


def test_an_erase_that_fails_is_an_error_and_ends_there():
    for result in (5, -5, True, OSError(5, "EIO")):
        medium, device = _medium()
        device.fail(ERASE, result, after=1)
        error = raises(LogError, medium.erase, 1)
        assert str(error).startswith("block device, erase(6): ")
        assert device.calls == [(ERASE, 5), (ERASE, 6)]


def test_a_device_that_does_not_know_how_to_erase_is_an_error():
    medium, device = _medium()
    device.fail(ERASE, None)
    assert str(raises(LogError, medium.erase, 0)) == "block 2: the device can't erase"


def test_a_sync_that_fails_is_an_error():
    for result in (5, -5, OSError(5, "EIO")):
        medium, device = _medium()
        device.fail(SYNC, result)
        raises(LogError, medium.sync)


def test_what_devices_return_for_success_is_no_error():
    for result in (None, 0, True):
        medium, device = _medium()
        device.done = result
        medium.program(0, 28, b"abcdefgh")
        assert _read(medium, 0, 28, 8) == b"abcdefgh"
    for result in (None, 0):
        device.fail(SYNC, result)
        medium.sync()


def test_a_region_that_does_not_fit_is_refused_with_the_limit():
    for segments, segment_bytes, unit, first, text in (
        (2, 80, 4, 0, "segments of 80 bytes, blocks have 32"),
        (2, 0, 4, 0, "segments of 0 bytes, blocks have 32"),
        (3, 96, 4, 1, "blocks 1 to 9, the device has 9"),
        (1, 96, 4, -1, "blocks -1 to 1, the device has 9"),
        (2, 96, 3, 0, "unit of 3 bytes, blocks have 32"),
        (2, 96, 0, 0, "unit of 0 bytes, blocks have 32"),
        (2, 96, 64, 0, "unit of 64 bytes, blocks have 32"),
    ):
        device = BlockDevice(32, 9, 4)
        error = raises(LogError, BlockMedium, device, segments, segment_bytes, unit, first)
        assert str(error) == text
    for unit, size in ((512, 512), (12, 48)):  # too large, not a power of two
        error = raises(LogError, BlockMedium, BlockDevice(size, 9, 4), 1, size, unit)
        assert str(error) == "unit of %d bytes, blocks have %d" % (unit, size)
    BlockMedium(BlockDevice(32, 9, 4), 3, 96, 4)


def test_the_device_is_told_first_that_the_extended_protocol_is_used():
    device = BlockDevice(32, 9, 4)
    BlockMedium(device, 3, 96, 4)
    assert device.calls == [(INIT, 1), (SIZE, 0), (COUNT, 0)]
    device.fail(INIT, -1)
    raises(LogError, BlockMedium, device, 3, 96, 4)


def test_a_device_without_a_block_size_has_blocks_of_512_bytes():
    device = BlockDevice(512, 2, 4)
    device.fail(SIZE, None)
    medium = BlockMedium(device, 2, 512, 4)
    medium.program(0, 508, b"abcd")
    assert device.calls[-1] == ("write", 0, 508, 4)


def test_a_device_that_can_not_say_its_size_is_refused():
    for result in (None, OSError(5, "EIO")):
        device = BlockDevice(32, 9, 4)
        device.fail(COUNT, result)
        raises(LogError, BlockMedium, device, 3, 96, 4)


class _Still:
    """A device that allocates nothing itself."""

    def __init__(self):
        self.moved = 0

    def readblocks(self, block, buf, offset):
        """Count it."""
        self.moved += len(buf)

    writeblocks = readblocks

    def ioctl(self, op, arg):
        """Eight blocks of 64 bytes."""
        return {COUNT: 8, SIZE: 64}.get(op, 0)


def test_within_a_block_nothing_is_allocated():
    device = _Still()
    medium = BlockMedium(device, 2, 256, 4)
    buf = bytearray(32)
    heap_lock()
    try:
        medium.read(1, 96, buf)
        medium.program(1, 96, buf)
    finally:
        heap_unlock()
    assert device.moved == 64
