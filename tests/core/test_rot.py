# slow
"""Damage at rest: what is torn is not rotten, what is rotten is told, and nothing is made up.

Every bit of a small log is flipped in turn (on MicroPython a sample of them).
"""

import sys

from chip import Chip
from helpers import answers, digest16, kept, pack_reply, texts_of_results
from lives import life, look, small_log, state_of
from mote import records as r
from mote.log import HEAD, Lost, chain
from mote.msgpack import Unpacker
from mote.segments import chain_gap
from mote.turn import CALLING, WAITING

STEP = 1 if sys.implementation.name == "cpython" else 37
NEW = 9  # what is poured later


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
                assert log.notes or log.owed[4] == r.DROPPED
                check_gap(log, hashes)
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


def check_gap(log, hashes):
    """The fields of a GAP: the chain goes on from the rule for gaps, or from a header."""
    first, last, before, after, why = log.owed
    # the header of the oldest segment was damaged: the state behind it is whole
    assert why == r.DAMAGED or first == 1
    assert before == hashes[first - 1]
    assert after in (chain_gap(before, last), hashes[last])
    assert log.hash_at(last) == after
    if last < log.seq:
        assert chain(log.hash_at(log.seq - 1), log.frame(log.seq)) == log.head


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
        if gap[0] > 1:  # else the header of the oldest segment: no doubt about the state
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


def test_several_holes_are_one_gap():
    chip, records = small_log(1, 2048)
    hashes = [look(chip)[1].hash_at(n) for n in range(len(records) + 1)]
    bad = chip.copy()
    holes = []
    for kind in (r.REPLY_END, r.REQ):
        bad.flip(*frame_bit(chip, kind))
        holes.append(max([n + 1 for n in range(len(records)) if records[n][0] == kind]))
    first, last = holes
    assert first + 1 < last < len(records)
    log = look(bad)[1]
    there = [n for n in range(1, len(records) + 1) if log.next(n) == n]
    gone = [n for n in range(1, len(records) + 1) if n not in there]
    # the damaged ones, and what was synced together with them and behind them
    assert (gone[0], set(gone) >= set(holes)) == (first, True)
    assert log.owed[:3] == [first, gone[-1], hashes[first - 1]]
    assert log.owed[3] == log.hash_at(gone[-1])
    assert len(log.notes) == 2
    assert kept(log) == [records[n - 1] for n in there]
    check_doubt(bad, (first, gone[-1]))


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
    chip = Chip(4, 6, 4096)
    b = life(chip)
    seq = b.ask("x", "a", "1")
    b.settle()
    data = pack_reply([("pour", {"n": 1}), ("look", {"n": 2})])
    assert b.agent.part(b.turn(seq), 0, data)
    b.log.sync()  # or the end of the reply would be lost with it
    assert b.agent.reply_end(b.turn(seq), len(data), digest16(data), 2, 10)
    b.agent.remember("moss", "wet")
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
