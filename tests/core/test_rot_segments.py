"""Whole segments that are damaged, foreign or noise: told, and the rest stays usable."""

# slow on boards: test_a_zeroed_block_anywhere_leaves_the_rest_usable

from binascii import crc32

from chip import Chip
from helpers import HEADER, Random, answers, make_log, raises
from lives import life, look, small_log, state_of
from mote import records as r
from mote.log import LogError, genesis


def filled():
    """A chip of several segments, and the segments in order."""
    chip, _ = small_log(4, 768)
    return chip, [segment for _, segment, _ in look(chip.copy())[1].segments()]


def usable(chip):
    """Open, check that asks and turns work all around the ring; returns the notes."""
    b = life(chip, [])
    notes = list(b.log.notes)
    b.agent.confirmed(b.log.seq)
    b.agent.cancel(None)
    b.settle()
    for n in range(40):
        b.now_ms += 10**6
        seq = b.ask("go %d" % n, "new", "")
        b.settle()
        b.reply(b.turn(seq), [("look", {"n": n})])
        b.settle()
        b.reply(b.turn(seq), [], "ok")
        b.settle()
        b.agent.confirmed(b.log.seq)
        b.agent.tidy()
    assert [n for _, n in b.runs if _ == "look"] == list(range(40))
    assert answers(b)[-1] == (r.DONE, "ok")
    b.log.sync()
    assert state_of(look(chip)[0]) == state_of(b.agent.state)
    return notes


def test_a_zeroed_block_anywhere_leaves_the_rest_usable():
    chip, ring = filled()
    wanted = state_of(look(chip.copy())[0])
    for segment in range(chip.segments):
        bad = chip.copy()
        bad.zero(segment, 0)
        state, _ = look(bad.copy())
        if segment != ring[-1]:  # the newest one has what nobody else has
            assert state_of(state) == wanted, segment
        usable(bad)


def test_zeroed_erase_blocks_inside_a_segment():
    chip = Chip(4, 8, 512, 128)
    b = life(chip)
    for n in range(12):
        b.agent.remember("moss", "wet %d" % n * 4)
    newest = b.log.segments()[-1][1]
    for block in range(4):
        bad = chip.copy()
        bad.zero(newest, block)
        usable(bad)


def other_segment(**changes):
    """A whole segment: of a device with another key, or with its header changed."""
    chip = Chip(4, 2, 768)
    log = make_log(chip, 256)
    if changes.get("key"):
        log._segments.sign = lambda data: b"\x07" * 16
    log.open(lambda *_: None, lambda *_: None)
    for _ in range(5):
        log.append(r.FACT, b"\x92\xa4moss\xa3bad")
    log.sync()
    cells = chip.cells[0]
    if "version" in changes:
        cells[4] = changes["version"]
        cells[60:HEADER] = crc32(bytes(cells[:60])).to_bytes(4, "big")
    return bytes(cells)


def test_foreign_segments_are_told_and_left_alone():
    chip, ring = filled()
    wanted = state_of(look(chip.copy())[0])
    spare = [n for n in range(chip.segments) if n not in ring]
    for data, why in (
        (other_segment(key=True), "of another device"),
        (other_segment(version=1), "of version 1"),
        (other_segment(version=3), "of version 3"),
    ):
        for segment in (spare[0], spare[-1], ring[0]):
            bad = chip.copy()
            bad.cells[segment][:] = data
            state, log = look(bad.copy())
            assert log.notes[0] == f"segment {segment}: {why}"
            assert state_of(state) == wanted
            assert usable(bad)[0] == log.notes[0]
            assert bytes(bad.cells[segment]) == data, "it was written to"


def test_a_whole_chip_of_another_device_is_no_place_to_write():
    chip = Chip(4, 3, 768)
    for cells in chip.cells:
        cells[:] = other_segment(key=True)
    before = [bytes(cells) for cells in chip.cells]
    assert "no segment can be written" in str(raises(LogError, life, chip))
    assert [bytes(cells) for cells in chip.cells] == before


def test_a_segment_of_random_bytes_is_used_again():
    chip, ring = filled()
    wanted = state_of(look(chip.copy())[0])
    random = Random(5)
    for segment in range(chip.segments):
        bad = chip.copy()
        noise = random.bytes(chip.segment_bytes)
        bad.cells[segment][:] = noise
        state, _ = look(bad.copy())
        if segment != ring[-1]:
            assert state_of(state) == wanted
        usable(bad)
        assert bytes(bad.cells[segment]) != noise


def test_a_chip_of_random_bytes_is_an_empty_log():
    random = Random(9)
    for _ in range(5):
        chip = Chip(4, 4, 768)
        for cells in chip.cells:
            cells[:] = random.bytes(768)
        log = look(chip)[1]
        assert (log.seq, log.head, log.owed) == (0, genesis("bench"), None)
        usable(chip)
