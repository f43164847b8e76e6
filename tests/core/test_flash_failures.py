# slow
"""A flash chip that fails at any operation: the log stays usable and keeps what was synced."""

from chip import PART, REFUSE, WRONG, Chip
from helpers import Random
from life import Life, script
from mote import records as r
from mote.log import LogError
from outside import World

GEOMETRY = (4, 8, 1024)
BEFORE = 18  # rounds that fill the ring
ROUNDS = 3  # of the life in which the chip fails
REOPENINGS = 8  # until the log must be usable


def _prepared():
    chip, world = Chip(*GEOMETRY), World()
    script(chip, world, BEFORE)
    return chip, world.copy()


def _live(chip, world):
    """A life in which something may fail; True if the log was never opened anew."""
    for life in range(REOPENINGS):
        try:
            device = Life(chip, world)
            if life == 0:
                for n in range(BEFORE, BEFORE + ROUNDS):
                    device.round(n)
            device.recover(more=2)
            return life == 0
        except LogError:
            pass
    raise AssertionError("the log can't be used")


def _survives(chip, world):
    """Live with the failure, and then once more without one."""
    same = _live(chip, world)
    healthy = chip.copy()
    healthy.bad_blocks = set()
    Life(healthy, world.copy()).recover()
    return same


def _counted():
    """(chip, world, operations, reads) of the life without a failure."""
    chip, world = _prepared()
    whole = chip.copy()
    whole.record = True
    assert _live(whole, world.copy())
    return chip, world, whole.ops, whole.reads


def _fails_everywhere(kind, what):
    """Let each operation of that name fail once; how many the log got over by itself."""
    chip, world, operations, _ = _counted()
    tried = alone = 0
    for number, operation in enumerate(operations):
        if operation[0] == what:
            failing = chip.copy()
            failing.fail(number, kind)
            tried += 1
            alone += _survives(failing, world.copy())
    assert tried > 2
    return tried, alone


def test_a_program_is_refused():
    tried, alone = _fails_everywhere(REFUSE, "program")
    assert alone == tried, "another segment takes it"


def test_a_program_ends_in_its_middle():
    tried, alone = _fails_everywhere(PART, "program")
    assert alone == tried


def test_a_program_is_silently_wrong():
    tried, alone = _fails_everywhere(WRONG, "program")
    assert alone == tried, "what was programmed is read back"


def test_an_erase_is_refused():
    tried, alone = _fails_everywhere(REFUSE, "erase")
    assert alone == tried


def test_an_erase_ends_in_its_middle():
    tried, alone = _fails_everywhere(PART, "erase")
    assert alone == tried


def test_a_sync_fails():
    tried, alone = _fails_everywhere(REFUSE, "sync")
    assert alone > tried // 2  # not the one that opening the log makes


def test_a_read_fails():
    chip, world, _, reads = _counted()
    for number in range(0, reads, 7):
        failing = chip.copy()
        failing.fail_read(number)
        _survives(failing, world.copy())


def test_two_failures_at_any_distance():
    chip, world, operations, _ = _counted()
    random = Random(11)
    for _ in range(60):
        failing = chip.copy()
        for _ in range(2):
            failing.fail(random.below(len(operations)), (REFUSE, PART)[random.below(2)])
        _survives(failing, world.copy())


def test_a_segment_that_can_not_be_changed_any_more():
    chip, world = _prepared()
    for segment in range(chip.segments):
        failing = chip.copy()
        failing.bad_blocks.add((segment, 0))
        _survives(failing, world.copy())


def test_a_segment_that_goes_bad_when_it_is_programmed():
    chip, world, operations, _ = _counted()
    for number, operation in enumerate(operations):
        if operation[0] == "program":
            failing = chip.copy()
            _go_bad(failing, number)
            _survives(failing, world.copy())


def _go_bad(chip, number):
    """From that operation on the block that it is about fails."""
    begin = chip._begin

    def failing(kind, segment, offset, n):
        if chip.operations == number:
            chip.bad_blocks.add((segment, 0))
        return begin(kind, segment, offset, n)

    chip._begin = failing


def test_nothing_can_be_programmed_any_more():
    chip, world, operations, _ = _counted()
    for number in range(0, len(operations), 5):
        failing = chip.copy()
        failing.fail(number, REFUSE, forever=True)
        seen = world.copy()
        device = None
        try:
            device = Life(failing, seen)
            for n in range(BEFORE, BEFORE + ROUNDS):
                device.round(n)
            device.recover(more=2)
            raise ValueError("nobody noticed")
        except LogError:
            pass
        Life(failing.copy(), seen.copy()).recover()


def test_failures_leave_no_gap_that_is_called_damage():
    chip, world, operations, _ = _counted()
    numbers = [n for n, operation in enumerate(operations) if operation[0] == "program"]
    failing = chip.copy()
    for number in numbers[::25]:
        failing.fail(number, PART)
    device = Life(failing, world)
    why = set()
    append = device.log.append

    def noting(kind, payload):
        if kind == r.GAP:
            why.add(bytes(payload)[-1])
        return append(kind, payload)

    device.log.append = noting
    for n in range(BEFORE, BEFORE + 15):
        device.round(n)
    assert why == {r.DROPPED}
    assert device.log.notes == []


def test_an_erase_leaves_a_bit():
    _fails_everywhere(WRONG, "erase")
