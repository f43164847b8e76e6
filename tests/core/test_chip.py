"""The chip of the tests: it keeps the rules of NOR flash, counts, and fails where it was told."""

from chip import BACKWARDS, PART, REFUSE, WRONG, Chip, PowerCut
from helpers import raises
from mote.log import LogError

DATA = bytes(range(16))
LOW = b"\x00" * 16  # all bits are to be made 0


def _read(chip, segment, offset, n):
    buf = memoryview(bytearray(n))
    chip.read(segment, offset, buf)
    return bytes(buf)


def _chip(**options):
    """Two segments of two blocks of 32 bytes, in units of 4; block 0 holds DATA."""
    chip = Chip(4, 2, 64, 32, **options)
    chip.program(0, 0, DATA)
    return chip


def _counts(chip):
    return (chip.programs, chip.programmed, chip.syncs, chip.erases)


def test_what_is_programmed_is_read_back_and_the_rest_is_erased():
    chip = _chip()
    chip.program(0, 16, memoryview(b"abcd"))
    assert _read(chip, 0, 12, 12) == b"\x0c\x0d\x0e\x0fabcd\xff\xff\xff\xff"
    assert _read(chip, 1, 0, 64) == b"\xff" * 64


def test_the_rules_of_nor_flash_are_enforced():
    chip = _chip()
    for segment, offset, data in (
        (0, 12, b"\xff" * 4),  # programmed already
        (0, 12, b"\x00" * 8),
        (0, 18, b"abcd"),
        (0, 16, b"abc"),
        (0, 16, b""),
        (0, 60, b"abcdefgh"),
        (0, -4, b"abcd"),
        (2, 0, b"abcd"),
        (-1, 0, b"abcd"),
    ):
        before = [bytes(cells) for cells in chip.cells]
        raises(AssertionError, chip.program, segment, offset, data)
        assert [bytes(cells) for cells in chip.cells] == before
    raises(AssertionError, _read, chip, 0, 60, 5)
    raises(AssertionError, chip.erase, 2)
    raises(AssertionError, Chip, 4, 2, 64, 48)
    raises(AssertionError, Chip, 64, 2, 64, 32)


def test_an_erased_segment_can_be_programmed_again():
    chip = _chip()
    chip.erase(0)
    assert _read(chip, 0, 0, 64) == b"\xff" * 64
    chip.program(0, 0, DATA)


def test_it_counts():
    chip = _chip()
    chip.erase(1)
    chip.erase(1)
    chip.program(1, 60, b"abcd")
    chip.sync()
    _read(chip, 0, 0, 1)
    assert _counts(chip) == (2, 20, 1, [0, 0, 2, 2])
    assert chip.operations == 7
    assert chip.reads == 1


def test_it_records_its_operations_by_number():
    chip = _chip(record=True)
    chip.erase(1)
    chip.sync()
    assert chip.ops == [
        ("program", 0, 0, 16),
        ("erase", 1, 0, 32),
        ("erase", 1, 32, 32),
        ("sync", -1, 0, 0),
    ]
    assert len(chip.ops) == chip.operations


def _use(chip):
    """Operations 1 to 5 of a `_chip`."""
    chip.program(0, 16, LOW)
    chip.sync()
    chip.erase(0)
    chip.program(0, 0, b"next")


def test_a_cut_before_an_operation_leaves_it_undone_and_the_chip_dead():
    states = []
    for operation in range(1, 6):
        chip = _chip()
        chip.cut(operation)
        raises(PowerCut, _use, chip)
        for act in (chip.sync, lambda c=chip: c.erase(1), lambda c=chip: c.program(1, 0, b"abcd")):
            raises(PowerCut, act)
        raises(PowerCut, _read, chip, 0, 0, 4)
        assert chip.operations == operation
        chip.power_on()
        states.append((_read(chip, 0, 0, 64), chip.syncs))
        chip.sync()  # the cut was the only one
    rest = b"\xff" * 32
    assert states == [
        (DATA + b"\xff" * 48, 0),
        (DATA + LOW + rest, 0),
        (DATA + LOW + rest, 1),
        (b"\xff" * 32 + rest, 1),
        (b"\xff" * 32 + rest, 1),
    ]


def test_a_cut_of_a_later_operation_does_nothing_yet():
    chip = _chip()
    chip.cut(6)
    _use(chip)
    assert chip.operations == 6
    raises(PowerCut, chip.sync)


def test_a_program_is_cut_at_every_byte():
    for byte in range(17):
        chip = _chip()
        chip.cut(1, byte)
        raises(PowerCut, chip.program, 0, 16, LOW)
        chip.power_on()
        assert _read(chip, 0, 0, 64) == DATA + LOW[:byte] + b"\xff" * (48 - byte)
        assert chip.programmed == 16 + byte
        assert chip.operations == 2


def test_a_smeared_program_makes_some_of_the_zeros_of_one_byte():
    seen = set()
    for seed in range(40):
        chip = _chip(seed=seed)
        chip.cut(1, 5, smear=True)
        raises(PowerCut, chip.program, 0, 16, b"\x0f" * 16)
        chip.power_on()
        found = _read(chip, 0, 16, 16)
        assert found[:5] == b"\x0f" * 5
        assert found[6:] == b"\xff" * 10
        assert found[5] & 0x0F == 0x0F
        seen.add(found[5])
    assert len(seen) > 8


def test_a_unit_is_programmed_backwards():
    for byte, found in (
        (0, b"\xff" * 16),
        (3, b"\xff" + bytes(3) + b"\xff" * 12),
        (5, bytes(4) + b"\xff" * 3 + b"\x00" + b"\xff" * 8),
        (16, LOW),
    ):
        chip = _chip()
        chip.cut(1, byte, smear=BACKWARDS)
        raises(PowerCut, chip.program, 0, 16, LOW)
        chip.power_on()
        assert _read(chip, 0, 16, 16) == found


def _full():
    chip = Chip(4, 1, 64, 32)
    chip.program(0, 0, b"\x11" * 64)
    return chip


def test_an_erase_is_cut_at_every_byte():
    for byte in range(33):
        chip = _full()
        chip.cut(2, byte)  # the second block
        raises(PowerCut, chip.erase, 0)
        chip.power_on()
        assert _read(chip, 0, 0, 64) == b"\xff" * (32 + byte) + b"\x11" * (32 - byte)
        assert chip.erases == [1, 1 if byte else 0]


def test_a_smeared_erase_raises_some_bits_of_what_it_did_not_reach():
    chip = _full()
    chip.cut(1, 4, smear=True)
    raises(PowerCut, chip.erase, 0)
    chip.power_on()
    found = _read(chip, 0, 0, 64)
    assert found[:4] == b"\xff" * 4
    assert found[32:] == b"\x11" * 32
    smeared = found[4:32]
    assert all(value & 0x11 == 0x11 for value in smeared)
    assert len(set(smeared)) > 8


def test_a_block_is_erased_backwards():
    chip = _full()
    chip.cut(1, 4, smear=BACKWARDS)
    raises(PowerCut, chip.erase, 0)
    chip.power_on()
    assert _read(chip, 0, 0, 64) == b"\x11" * 28 + b"\xff" * 4 + b"\x11" * 32


def test_a_sync_is_cut_before_and_behind():
    for byte in (None, 0):
        chip = _chip()
        chip.cut(1, byte)
        raises(PowerCut, chip.sync)
        assert chip.operations == (1 if byte is None else 2)


def test_a_cut_beyond_the_operation_or_in_the_past_is_a_mistake():
    chip = _chip()
    raises(AssertionError, chip.cut, 0)
    chip.cut(1, 5)
    raises(AssertionError, chip.program, 0, 16, b"abcd")


def test_the_same_seed_does_the_same():
    def smear(seed):
        chip = Chip(4, 1, 64, seed=seed)
        chip.program(0, 0, b"\x00" * 64)
        chip.cut(1, 0, smear=True)
        raises(PowerCut, chip.erase, 0)
        return bytes(chip.cells[0])

    assert smear(1) == smear(1)
    assert smear(1) != smear(2)


def test_a_refused_operation_does_nothing():
    chip = _chip()
    for act in (
        lambda: chip.program(0, 16, LOW),
        lambda: chip.erase(0),
        chip.sync,
    ):
        chip.fail(chip.operations, REFUSE)
        raises(LogError, act)
    assert _read(chip, 0, 0, 64) == DATA + b"\xff" * 48
    assert _counts(chip) == (2, 16, 0, [0, 0, 0, 0])
    _use(chip)  # each failed once


def test_a_failing_operation_does_a_part():
    chip = _chip()
    chip.fail(1, PART)
    raises(LogError, chip.program, 0, 16, LOW)
    assert _read(chip, 0, 0, 64) == DATA + LOW[:8] + b"\xff" * 40
    chip.fail(2, PART, 3)
    raises(LogError, chip.erase, 0)
    assert _read(chip, 0, 0, 64) == b"\xff" * 3 + DATA[3:] + LOW[:8] + b"\xff" * 40
    assert _counts(chip) == (2, 24, 0, [1, 0, 0, 0])


def _bits_that_differ(a, b):
    n = int.from_bytes(a, "big") ^ int.from_bytes(b, "big")
    return bin(n).count("1")


def test_a_wrong_operation_says_nothing_and_leaves_one_bit_wrong():
    places = set()
    for seed in range(20):
        chip = _chip(seed=seed)
        chip.fail(1, WRONG)
        chip.fail(2, WRONG)
        chip.program(1, 0, LOW)
        found = _read(chip, 1, 0, 64)
        assert _bits_that_differ(found, LOW + b"\xff" * 48) == 1
        assert found[16:] == b"\xff" * 48
        places.add(found)
        chip.erase(1)
        assert _bits_that_differ(_read(chip, 1, 0, 32), b"\xff" * 32) == 1
        assert _read(chip, 1, 32, 32) == b"\xff" * 32
    assert len(places) > 8


def test_a_chip_may_fail_for_ever():
    chip = _chip()
    chip.fail(2, REFUSE, forever=True)
    chip.sync()
    for _ in range(3):
        raises(LogError, chip.sync)
    raises(LogError, chip.program, 0, 16, LOW)
    raises(LogError, chip.erase, 0)
    assert _read(chip, 0, 0, 16) == DATA


def test_a_read_fails_once():
    chip = _chip()
    chip.fail_read(1)
    _read(chip, 0, 0, 1)
    raises(LogError, _read, chip, 0, 0, 1)
    assert _read(chip, 0, 0, 2) == DATA[:2]


def test_a_bad_block_can_only_be_read():
    chip = _chip()
    chip.program(0, 48, DATA)
    chip.bad_blocks.add((0, 1))
    for _ in range(2):
        raises(LogError, chip.program, 0, 32, LOW)
        raises(LogError, chip.program, 0, 28, LOW)  # the border is inside
    chip.program(0, 16, LOW)
    raises(LogError, chip.erase, 0)
    assert _read(chip, 0, 0, 64) == b"\xff" * 48 + DATA
    chip.erase(1)


def test_an_unreadable_block_fails_every_read_that_touches_it():
    chip = _chip()
    chip.unreadable.add((0, 1))
    assert _read(chip, 0, 0, 32) == DATA + b"\xff" * 16
    for _ in range(2):
        raises(LogError, _read, chip, 0, 31, 2)
    assert _read(chip, 1, 32, 4) == b"\xff" * 4


def test_bits_flip_and_blocks_become_zero():
    chip = _chip()
    chip.flip(0, 8)
    chip.flip(0, 23)
    assert _read(chip, 0, 0, 4) == b"\x00\x00\x82\x03"
    chip.zero(0, 1)
    assert _read(chip, 0, 16, 48) == b"\xff" * 16 + bytes(32)


def test_a_copy_is_equal_and_apart():
    chip = _chip()
    chip.bad_blocks.add((1, 0))
    chip.fail(5, REFUSE)
    chip.fail_read(0)
    chip.cut(1)
    raises(PowerCut, chip.sync)
    chip.cut(2)
    other = chip.copy()
    assert other.cells == chip.cells
    assert (other.operations, other.reads) == (0, 0)
    assert _counts(other) == (0, 0, 0, [0, 0, 0, 0])
    assert _read(other, 0, 0, 16) == DATA
    for _ in range(8):
        other.sync()
    raises(LogError, other.erase, 1)
    other.erase(0)
    chip.power_on()
    raises(LogError, _read, chip, 0, 0, 4)  # its own plans are still there
    assert _read(chip, 0, 0, 16) == DATA
