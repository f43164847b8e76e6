"""Damage that needs two things to go wrong: it is told, and nothing is lost without a word."""

# slow on boards: test_records_behind_a_flipped_header_of_an_old_segment_are_a_gap

from binascii import crc32

from chip import Chip
from helpers import DEVICE, Bench, bench, make_log, nothing, raises, texts_of_results
from mote import records as r
from mote.facts import Facts
from mote.lookup import newest_ask
from mote.msgpack import FormatError, Unpacker
from mote.segments import HEAD, LogError, genesis
from mote.tools import Tool, Toolset
from mote.turn import Limits


class Nobody:
    """Stands for a turn that is not there: a FAIL of it is a record of some bytes."""

    req = 1 << 30
    seq = 0


def filled(segments):
    """A device whose log has so many segments."""
    b = Bench(Chip(1, 6, 4096), record_bytes=512)
    while len(b.log.segments()) < segments:
        b.agent.fail(Nobody, "y" * 60)
    b.log.sync()
    return b


def gaps(b):
    """The fields of all GAP records."""
    found = []
    for seq in range(b.log.oldest(), b.log.seq + 1):
        frame = b.log.frame(seq)
        if frame[2] == r.GAP:
            found.append(Unpacker(bytes(frame[HEAD:])).value())
    return found


def test_records_that_went_before_a_checkpoint_said_so_become_a_gap():
    b = filled(3)
    (first, segment, _), (second, _, before) = b.log.segments()[:2]
    assert first == 1
    b.chip.erase(segment)  # all others failed to be erased, and then the power went
    b = Bench(b.chip, record_bytes=512)
    assert gaps(b) == [[1, second - 1, genesis(DEVICE), before, r.DROPPED]]
    assert not b.agent.state.doubt


def test_what_the_gateway_had_of_them_is_no_gap():
    b = filled(2)
    second = b.log.segments()[1][0]
    b.agent.confirmed(second - 1)
    while len(b.log.segments()) < 3:
        b.agent.fail(Nobody, "y" * 60)
    b.log.sync()
    b.chip.erase(b.log.segments()[0][1])
    b = Bench(b.chip, record_bytes=512)
    assert gaps(b) == []


def test_records_behind_a_flipped_header_of_an_old_segment_are_a_gap():
    b = filled(3)
    (_, segment, _), (second, _, before) = b.log.segments()[:2]
    b.chip.flip(segment, 20 * 8)
    b = Bench(b.chip, record_bytes=512)
    assert gaps(b) == [[1, second - 1, genesis(DEVICE), before, r.DROPPED]]


def test_a_stray_segment_of_another_life_is_not_adopted():
    b = Bench(Chip(1, 4, 4096))
    b.log.sync()
    seq = b.log.seq
    head = bytearray(64)
    head[:4] = b"mote"
    head[8:12] = seq.to_bytes(4, "big")
    head[60:] = b"SEED"
    out = bytearray(head)
    for number in (seq + 30000, seq + 60000):
        frame = b"\0\3\x94" + (number & 0xFFFF).to_bytes(2, "big") + b"\x91\x01\x01"
        out += frame + crc32(frame, int.from_bytes(b"SEED", "big")).to_bytes(4, "big")
    b.chip.cells[2][: len(out)] = out
    log = make_log(b.chip, 1024)
    log.open(nothing, nothing)
    assert log.seq == seq


def test_a_search_for_a_forgotten_session_is_bounded():
    b = bench(sessions=1, asks_burst=2)
    first = b.ask(session="s")
    for _ in range(300):
        b.agent.fail(Nobody, "y")
    assert newest_ask(b.log, "s") == 0
    second = b.ask(session="s", name="a2")
    assert newest_ask(b.log, "s") == second > first


def test_a_call_that_became_once_meanwhile_is_not_run_again():
    runs = []

    def tools(effect):
        tool = Tool(lambda: runs.append(1) or "ok", "dose", "Pour.", effect, (), 5, ())
        return lambda b: setattr(b.agent, "tools", Toolset([tool], 512))

    b = Bench(Chip(1, 6, 16384), prepare=tools(r.IDEMPOTENT))
    b.hold = True
    seq = b.ask()
    b.settle()
    b.reply(b.turn(seq), [("dose", {})])
    b.settle()
    b.log.sync()
    b = Bench(b.chip, prepare=tools(r.ONCE))
    b.settle()
    assert runs == []
    assert texts_of_results(b)[-1] == (r.UNKNOWN, "restarted meanwhile; outcome unknown")


def test_a_fact_whose_record_is_damaged_is_told_as_lost():
    b = Bench(Chip(1, 10, 16384))
    b.agent.remember("moss", "wet")
    end = b.log._segments.at
    while len(b.log.segments()) < 2:
        b.agent.fail(Nobody, "y" * 100)
    b.log.sync()
    b.chip.flip(0, (end - 6) * 8)
    b = Bench(b.chip)
    facts = Facts()
    facts.agent = b.agent
    assert facts._recall("moss") == "moss: (lost: its record is damaged)"


def test_limits_that_are_no_list_of_numbers_are_refused():
    raises(FormatError, Limits.of, "many")
    raises(FormatError, Limits.of, [4, "many"])
    assert Limits.of([3]).open_turns == 3
    assert Limits.of(None).open_turns == Limits.open_turns


def test_a_checkpoint_with_items_of_another_shape_is_an_error_with_its_place():
    def odd(item):
        item().array(2).int(2).int(5)  # a turn has 19 fields

    b = Bench(Chip(1, 6, 4096), record_bytes=512)
    b.log.checkpoint = odd
    while len(b.log.segments()) < 2:
        b.agent.fail(Nobody, "y" * 60)
    b.log.sync()
    said = raises(LogError, Bench, b.chip, None, 0, None, 512)
    assert "segment 1: malformed checkpoint" in str(said)
