"""Damage at rest: what is torn is not rotten, what is rotten is told, and nothing is made up.

Every bit of a small log is flipped in turn (on MicroPython a sample of them).
"""

import sys
from binascii import crc32

from chip import Chip
from helpers import HEADER, Bench, Random, answers, kept, make_log, raises, texts_of_results
from lives import few, state_of
from mote import records as r
from mote.log import HEAD, LogError, Lost, genesis
from mote.msgpack import Unpacker
from mote.segments import chain_gap
from mote.state import State
from mote.turn import CALLING, WAITING

STEP = 1 if sys.implementation.name == "cpython" else 37
DONE, UNDER_WAY, NEW = 6, 5, 9  # what was poured, is being poured, is poured later


def life(chip, runs=None):
    """The next life; the ring is too small for the limits, but the turns are small too."""
    b = Bench(chip, runs, limits=few(), record_bytes=256)
    b.log.room = lambda keep: 1 << 20
    return b


def small_log(used, size):
    """A chip with a call that runs, one that ran, a turn that waits, and a fact.

    Returns it and its records, in that many segments; the last one is not of these turns.
    """
    chip = Chip(4, used + 2, size)
    b = life(chip)
    one = b.ask("x", "a", "1")
    b.settle()
    b.reply(b.turn(one), [("pour", {"n": DONE})])
    b.settle()
    b.hold = True
    b.reply(b.turn(one), [("pour", {"n": UNDER_WAY})])
    b.settle()
    b.ask("y", "b", "2")
    b.settle()
    b.agent.remember("moss", "wet")
    while len(b.log.segments()) < used:
        b.agent.remember("moss", "wetter than %d" % b.log.seq)
    for n in range(3):
        b.agent.remember("fern", "dry %d" % n)
    assert ("pour", DONE) in b.runs
    assert len(b.log.segments()) == used
    return chip, kept(b.log)


def look(chip):
    """The state and the log as opening finds them."""
    state = State(few())
    log = make_log(chip, 256)
    log.checkpoint = state.pack
    log.open(state.restore, state.fold)
    return state, log


def check_records(log, records):
    """Each record is there as it was, or it is lost."""
    for seq in range(log.oldest(), log.seq + 1):
        try:
            frame = bytes(log.frame(seq))
        except Lost:
            continue
        assert (frame[2], frame[HEAD:]) == records[seq - 1], seq


def sweep(chip, records, bits):
    """Flip each of the `bits`, (segment, bit); returns what was told how often."""
    whole, log = look(chip.copy())
    wanted, seq, head = state_of(whole), log.seq, log.head
    hashes = [log.hash_at(n) for n in range(seq + 1)]
    told = {"nothing": 0, "torn": 0, "gap": 0, "note": 0}
    gaps = {}
    for segment, bit in bits:
        bad = chip.copy()
        bad.flip(segment, bit)
        same = bad.copy()
        try:
            state, log = look(bad)
            check_records(log, records)
            if log.owed:
                told["gap"] += 1
                assert log.notes
                check_gap(log.owed, hashes)
                gaps[tuple(log.owed[:2])] = same
            elif (state_of(state), log.seq, log.head) == (wanted, seq, head):
                told["note" if log.notes else "nothing"] += 1
            else:
                # only the last frame: with a right one behind it, it would be damage
                told["torn"] += 1
                assert log.seq == seq - 1
            check_next_lives(bad)
        except Exception as e:
            where = f"segment {segment}, byte {bit >> 3}, bit {bit & 7}"
            raise AssertionError(f"{where}: {type(e).__name__} {e}")
    return told, gaps


def check_gap(owed, hashes):
    """The fields of a GAP: the chain goes on from the rule for gaps, or from a header."""
    first, last, before, after, why = owed
    assert (before, why) == (hashes[first - 1], r.DAMAGED)
    assert after in (chain_gap(before, last), hashes[last])


def check_next_lives(bad):
    """Nothing is poured again, and what is appended is what the life after that finds."""
    b = life(bad, [])
    b.settle()
    assert [n for name, n in b.runs if name == "pour"] == []
    b.ask("more", "c", "3")
    b.log.sync()
    state, log = look(bad)
    assert state_of(state) == state_of(b.agent.state)
    assert (log.seq, log.head, log.owed) == (b.log.seq, b.log.head, None)


def bits_of(chip, segment, step=1):
    """Those of what is written (one in `step`), and some of the erased rest."""
    used = len(bytes(chip.cells[segment]).rstrip(b"\xff")) * 8
    bits = [(segment, bit) for bit in range(segment, used, step * STEP)]
    bits.extend([(segment, bit) for bit in range(used, chip.segment_bytes * 8, 29 * STEP)])
    return bits


def test_every_bit_of_one_segment():
    chip, records = small_log(1, 2048)
    told, gaps = sweep(chip, records, bits_of(chip, 0) + bits_of(chip, 1))
    assert min(told["nothing"], told["torn"], told["gap"]) > 0, told
    # in each record but the last: a frame is damaged, and only that one is lost
    assert sorted(gaps)[-1] == (len(records) - 1,) * 2 or STEP > 1
    for gap in gaps:
        check_doubt(gaps[gap], gap)


def test_bits_of_three_segments():
    chip, records = small_log(3, 1024)
    bits = bits_of(chip, 0, 31) + bits_of(chip, 1, 31) + bits_of(chip, 2, 3) + bits_of(chip, 3)
    told, gaps = sweep(chip, records, bits)
    assert min(told["nothing"], told["torn"], told["gap"], told["note"]) > 0, told
    for gap in gaps:
        check_doubt(gaps[gap], gap)


def check_doubt(chip, gap):
    """What a device may do with a log that lost the records `gap`, and when it is whole again."""
    b = life(chip, [])
    told = [seq for seq in range(b.log.oldest(), b.log.seq + 1) if is_gap(b.log, seq, gap)]
    assert len(told) == 1, gap
    assert b.agent.state.doubt == told[0]
    b.settle()
    seq = b.ask("look and pour", "c", "new")
    b.settle()
    calls = [("pour", {"n": NEW}), ("look", {"n": 1})]
    b.reply(b.turn(seq), calls)
    b.settle()
    assert b.runs == [("look", 1)], gap
    b.agent.confirmed(told[0] - 1)
    b.reply(b.turn(seq), calls)
    b.settle()
    assert b.runs == [("look", 1)] * 2, "the replica does not reach the gap"
    b.agent.confirmed(told[0])
    b.reply(b.turn(seq), calls)
    b.settle()
    assert b.runs[2:] == [("pour", NEW), ("look", 1)]
    b.reply(b.turn(seq), [], "whole again")
    b.settle()
    assert answers(b)[-1] == (r.DONE, "whole again")
    assert b.agent.state.doubt == look(chip)[0].doubt == 0


def is_gap(log, seq, gap):
    try:
        frame = log.frame(seq)
    except Lost:
        return False
    return frame[2] == r.GAP and tuple(Unpacker(frame[HEAD:]).value()[:2]) == gap


def frame_bit(chip, kind, nth=-1):
    """(segment, bit) in the payload of the nth record of a kind."""
    log = look(chip.copy())[1]
    frames = [bytes(log.frame(seq)) for seq in range(1, log.seq + 1)]
    wanted = [frame for frame in frames if frame[2] == kind][nth]
    for segment in range(chip.segments):
        at = bytes(chip.cells[segment]).find(wanted)
        if at >= 0:
            return segment, (at + HEAD) * 8
    raise AssertionError("no such record")


def calling_chip(calls=(("pour", {"n": 1}), ("look", {"n": 2}))):
    """A turn whose reply is there, none of its calls begun, and a record behind it."""
    chip = Chip(4, 6, 4096)
    b = life(chip)
    seq = b.ask("x", "a", "1")
    b.settle()
    b.reply(b.turn(seq), list(calls))
    b.agent.remember("moss", "wet")
    return chip, seq


def test_a_once_call_of_a_turn_that_lost_records_never_starts():
    chip, seq = calling_chip()
    chip.flip(*frame_bit(chip, r.BOOT))
    b = life(chip)
    assert b.turn(seq).lost
    assert b.turn(seq).state == CALLING
    b.agent.confirmed(b.log.seq)  # whatever the gateway says: was it called already?
    b.settle()
    assert b.runs == [("look", 2)]
    results = texts_of_results(b)
    assert results == [
        (r.UNKNOWN, "records of this turn are lost; outcome unknown"),
        (r.OK, "2"),
    ]
    # the model has seen that; what it orders now is new
    b.reply(b.turn(seq), [("pour", {"n": 3})])
    b.settle()
    assert b.runs == [("look", 2), ("pour", 3)]


def test_a_request_whose_number_may_be_lost_is_made_anew():
    chip = Chip(4, 6, 4096)
    b = life(chip)
    seq = b.ask("x", "a", "1")
    b.settle()
    b.agent.remember("moss", "wet")
    before = b.turn(seq).id
    chip.flip(*frame_bit(chip, r.REQ))
    b = life(chip)
    b.settle()
    assert b.turn(seq).state == WAITING
    assert b.turn(seq).id != before


def test_a_reply_with_a_hole_ends_the_turn_with_a_clear_answer():
    chip, seq = calling_chip()
    chip.flip(*frame_bit(chip, r.PART))
    b = life(chip)
    b.settle()
    assert b.runs == []
    assert answers(b) == [(r.FAILED, "the records that it needs are no longer in the log")]
    assert b.turn(seq) is None


def test_the_ask_may_be_what_is_lost():
    chip, _ = calling_chip()
    chip.flip(*frame_bit(chip, r.ASK))
    b = life(chip)
    assert b.agent.turns == []
    b.settle()
    assert b.runs == b.published == []


# -- whole segments


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
