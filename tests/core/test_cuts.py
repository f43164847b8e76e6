# slow
"""The power goes in the middle of a busy life: a sample of what tests/torture tries in full."""

from chip import Chip, PowerCut
from cuts import second_cuts, shuffled, survive, watched_script
from helpers import Random, opened, raises, records_of
from life import Life, script
from mote import records as r
from mote.msgpack import Unpacker
from mote.turn import Turn
from outside import NOT_STATE, TURN_STATE, Broken, World

ROUNDS = 24
EVERY = 7  # moments of which one is kept, or they would not fit into MicroPython's heap
GEOMETRIES = ((1, 8, 1024), (4, 8, 1024), (16, 7, 1536), (256, 8, 4096))


def _survive_some(unit, segments, size, cuts):
    random = Random(unit)
    points = watched_script(Chip(unit, segments, size), ROUNDS, EVERY)
    for n, point in enumerate((shuffled(points, unit) * 2)[:cuts]):
        possible = point.cuts(random, 1)
        survive(point, possible[random.below(len(possible))], n)


def test_cuts_with_a_unit_of_1():
    _survive_some(*GEOMETRIES[0], 200)


def test_cuts_with_a_unit_of_4():
    _survive_some(*GEOMETRIES[1], 200)


def test_cuts_with_a_unit_of_16():
    _survive_some(*GEOMETRIES[2], 200)


def test_cuts_with_a_unit_of_256():
    _survive_some(*GEOMETRIES[3], 200)


def test_second_cuts_during_recovery():
    for geometry in GEOMETRIES:
        random = Random(geometry[0])
        points = shuffled(watched_script(Chip(*geometry), ROUNDS, 29), 7)
        for point in points[:2]:
            again = survive(point, point.cuts(random, 1)[-1], 0, 25)
            for second, cut in second_cuts(again, random, 1):
                survive(second, cut, 1)


def test_cuts_in_the_erases_of_segments_of_several_blocks():
    random = Random(9)
    erases = watched_script(Chip(4, 6, 2048, 512), 72, 2, "erase")
    assert len(erases) > 2
    for point in erases[:8]:
        for cut in shuffled(point.cuts(random, 1), 3)[:25]:
            survive(point, cut, 1)


def test_what_is_written_behind_a_torn_record_never_makes_it_whole():
    # a CRC that ends with 0, as the length begins of the record that follows
    for n in range(2000):
        chip = Chip(1, 4, 1024)
        log = opened(chip)
        log.append(1, b"first")
        log.sync()
        log.append(2, b"%d" % n)
        segments = log._segments
        if segments.out[segments.pending - 1] == 0:
            break
    chip.cut(chip.operations, segments.pending - 1)
    raises(PowerCut, log.sync)
    chip.power_on()
    log = opened(chip)
    assert log.seq == 1
    log.append(3, b"second")
    log.sync()
    assert records_of(chip) == [(1, b"first"), (3, b"second")]


def test_the_script_does_all_that_a_device_does():
    chip, world = Chip(4, 8, 1024), World()
    life = Life(chip, world)
    kinds, gaps = set(), set()
    append = life.log.append

    def noting(kind, payload):
        kinds.add(kind)
        if kind == r.GAP:
            gaps.add(Unpacker(bytearray(payload)).value()[4])
        return append(kind, payload)

    life.log.append = noting
    for n in range(ROUNDS):
        life.round(n)
    assert kinds | {r.BOOT, r.TRUST} == set(range(r.BOOT, r.FACT + 1)) | {r.REFUSED}
    assert gaps == {r.DROPPED}
    assert min(chip.erases) >= 1, "the ring goes round"
    assert life.log.oldest() > 100


def test_every_attribute_of_a_turn_is_compared():
    turn = Turn(1, "s", b"")
    assert sorted(turn.__dict__) == sorted(TURN_STATE + NOT_STATE)


def _lived():
    chip, world = Chip(4, 8, 1024), World()
    life = script(chip, world, 3)
    return chip, world.copy(), life.log._segments


def test_a_record_that_is_lost_is_noticed():
    chip, world, tail = _lived()
    cells = chip.cells[tail.tail]
    written = len(bytes(cells).rstrip(b"\xff"))
    cells[written - 12 : written] = b"\xff" * 12
    assert raises(Broken, Life, chip, world).what == "lost"


def test_a_record_that_differs_is_noticed():
    chip, world, _ = _lived()
    h, was = world.shadow[-1]
    world.shadow[-1] = (b"?" * 32, was)
    assert raises(Broken, Life, chip.copy(), world.copy()).what == "chain"
    world.shadow[-1] = (h, was[:-1])
    assert raises(Broken, Life, chip, world).what == "state"


def test_records_that_nobody_appended_are_noticed():
    chip, world, _ = _lived()
    world.shadow.pop()
    assert raises(Broken, Life, chip, world).what == "chain"


def test_damage_and_what_was_told_too_early_are_noticed():
    chip, world, tail = _lived()
    at = bytes(chip.cells[tail.tail]).find(b"stopped")
    assert at > 0
    chip.cells[tail.tail][at] ^= 1
    assert raises(Broken, Life, chip, world).what in ("chain", "notes")
    chip, world, _ = _lived()
    Life(chip, world)
    assert raises(Broken, world.depends, world.log.seq + 1).what == "early"


def test_a_call_that_runs_twice_and_a_second_answer_are_noticed():
    world = World()
    world.run("pour", 1)
    assert raises(Broken, world.run, "pour", 1).what == "once"
    world.hear(0, r.DONE, "answer 0")
    assert raises(Broken, world.hear, 0, r.DONE, "answer 1").what == "answer"
    assert raises(Broken, world.hear, 0, r.FAILED, "no model").what == "answer"
