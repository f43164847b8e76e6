"""The agent: from an ask to the acknowledged answer, over what the log says."""

from chip import Chip
from helpers import (
    Bench,
    answers,
    bench,
    digest16,
    kinds,
    make_log,
    raises,
    records_of,
    texts_of_results,
)
from mote import records as r
from mote.agent import Agent, UnknownRecord
from mote.tools import Toolset
from mote.turn import (
    ANSWERED,
    CALL,
    CALLING,
    FINISH,
    FORGET,
    NEW,
    NOTHING,
    PUBLISH,
    REQUEST,
    STOP,
    WAITING,
    Limits,
    Turn,
    decide,
)


def test_decide_is_a_table():
    limits = Limits()
    table = (
        ({}, REQUEST),
        ({"ending": r.CANCEL}, FINISH),
        ({"steps": 8}, FINISH),
        ({"restarts": 5}, REQUEST),
        ({"restarts": 6}, FINISH),
        ({"state": WAITING, "steps": 1}, NOTHING),
        ({"state": WAITING, "steps": 8}, NOTHING),
        ({"state": WAITING, "ending": r.CANCEL}, FINISH),
        ({"state": WAITING, "restarts": 6}, FINISH),
        ({"state": CALLING}, FINISH),
        ({"state": CALLING, "ncalls": 2}, CALL),
        ({"state": CALLING, "ncalls": 2, "index": 1, "steps": 8}, CALL),
        ({"state": CALLING, "ncalls": 2, "index": 2}, REQUEST),
        ({"state": CALLING, "ncalls": 2, "index": 2, "steps": 8}, FINISH),
        ({"state": CALLING, "ncalls": 2, "calls": 16}, FINISH),
        ({"state": CALLING, "ncalls": 2, "tokens": 50001}, FINISH),
        ({"state": CALLING, "ncalls": 2, "ending": r.CANCEL}, FINISH),
        ({"state": CALLING, "ncalls": 1, "running": True}, CALL),
        ({"state": CALLING, "ncalls": 1, "running": True, "ending": r.CANCEL}, STOP),
        ({"state": ANSWERED}, PUBLISH),
        ({"state": ANSWERED, "ending": r.CANCEL}, PUBLISH),
    )
    for changes, due in table:
        turn = Turn(1, "s", None)
        for name in changes:
            assert hasattr(turn, name), name
            setattr(turn, name, changes[name])
        assert decide(turn, limits) == due, changes


def test_decide_after_a_restart_hangs_on_the_effect():
    limits = Limits()
    for effect, ending, restarts, due in (
        (r.READ, None, 1, CALL),
        (r.IDEMPOTENT, None, 1, CALL),
        (r.ONCE, None, 1, FORGET),
        (r.READ, "x", 1, FORGET),
        (r.ONCE, "x", 1, FORGET),
        # what restarts the device each time it runs must not run for ever
        (r.READ, None, 6, FORGET),
        (r.IDEMPOTENT, None, 6, FORGET),
    ):
        turn = Turn(1, "s", None)
        turn.state, turn.ncalls, turn.effect = CALLING, 1, effect
        turn.running = turn.interrupted = True
        turn.ending, turn.restarts = ending, restarts
        assert decide(turn, limits) == due, (effect, ending, restarts)


def test_a_whole_turn():
    b = bench()
    seq = b.ask("water them", "plants", "ask-1")
    assert b.log.synced == b.log.seq
    b.settle()
    turn = b.turn(seq)
    assert turn.state == WAITING
    assert turn.id == b.log.hash_at(turn.req)[:16]
    assert b.log.synced == b.log.seq
    b.reply(turn, [("look", {"n": 1}), ("pour", {"n": "2"})])
    b.settle()
    assert b.runs == [("look", 1), ("pour", 2)]
    assert turn.state == WAITING
    b.reply(turn, [], "All is wet. \u00e9")
    b.settle()
    assert b.published[0][1] == ("plants", "ask-1", r.DONE, "All is wet. \u00e9")
    assert b.published[0][0][0] == seq
    assert b.agent.turns == []
    wanted = [r.BOOT, r.ASK, r.REQ, r.PART, r.REPLY_END, r.START, r.RESULT, r.START, r.RESULT]
    wanted += [r.REQ, r.PART, r.REPLY_END, r.ANSWER, r.SENT]
    assert kinds(b) == wanted
    assert texts_of_results(b) == [(r.OK, "1"), (r.OK, "2")]


def test_a_once_call_is_safe_before_it_starts():
    b = bench()
    seq = b.ask()
    b.settle()
    b.reply(b.turn(seq), [("look", {"n": 1}), ("pour", {"n": 2})])
    b.hold = True
    b.settle()
    assert b.log.synced < b.log.seq  # the START of a READ call is batched
    b.agent.result(b.held[0], r.OK, "1")
    b.settle()
    assert b.log.synced == b.log.seq
    assert kinds(b)[-1] == r.START


def test_an_ask_without_an_id_gets_one():
    b = bench()
    seqs = [b.ask("a", "s", ""), b.ask("b", "t", "")]
    assert seqs[0] != seqs[1]
    b.settle()
    for seq in seqs:
        b.reply(b.turn(seq), [], "ok")
    b.settle()
    names = [told[1] for _, told in b.published]
    assert len(names[0]) == len(names[1]) == 16
    assert names[0] != names[1]


def test_sessions_go_in_order_and_side_by_side():
    b = bench()
    first, second, other = b.ask(name="1"), b.ask(name="2"), b.ask("x", "other", "3")
    b.settle()
    states = [b.turn(seq).state for seq in (first, second, other)]
    assert states == [WAITING, NEW, WAITING]
    b.reply(b.turn(other), [], "other")
    b.reply(b.turn(first), [], "first")
    b.settle()
    assert b.turn(second).state == WAITING
    b.reply(b.turn(second), [], "second")
    b.settle()
    assert sorted(text for _, text in answers(b)) == ["first", "other", "second"]
    assert answers(b)[-1][1] == "second"


def test_an_unacknowledged_answer_does_not_hold_the_session_up():
    b = bench()
    first, second = b.ask(name="1"), b.ask(name="2")
    b.settle()
    b.reply(b.turn(first), [], "first")
    b.settle(acknowledge=False)
    assert b.turn(first).state == ANSWERED
    assert b.turn(second).state == WAITING
    b.settle(acknowledge=False)
    assert len(b.published) == 1
    b.agent.publish_again()
    b.settle()
    assert len(b.published) == 2
    assert b.published[0] == b.published[1]
    assert b.turn(first) is None


def test_a_known_id_is_taken_once():
    b = bench()
    seq = b.ask(name="same")
    records = b.log.seq
    assert b.ask("anything", "s", "same") == seq
    assert b.log.seq == records
    b.settle()
    b.reply(b.turn(seq), [], "ok")
    b.settle(acknowledge=False)
    assert b.ask(name="same") == seq
    b.settle()
    assert b.ask(name="same") == seq
    b.settle()
    assert len(b.published) == 3
    assert b.published[0] == b.published[1] == b.published[2]


def test_a_known_id_is_known_in_the_next_life():
    b = bench()
    seq = b.ask(name="same")
    b.settle()
    b.reply(b.turn(seq), [], "ok")
    b.settle()
    b.log.sync()
    again = Bench(b.chip)
    assert again.ask(name="same") == seq
    again.settle()
    assert again.published == b.published


def test_a_reply_that_is_not_its_digest_is_asked_for_anew():
    b = bench(steps=2)
    seq = b.ask()
    b.settle()
    turn = b.turn(seq)
    first = turn.id
    assert b.agent.part(turn, 0, b"spoilt")
    assert b.agent.reply_end(turn, 6, digest16(b"whole!"), 0, 1)
    assert (turn.state, turn.got, turn.steps) == (WAITING, 0, 2)
    assert turn.id != first
    assert b.agent.part(turn, 0, b"spoilt")
    assert b.agent.reply_end(turn, 6, digest16(b"whole!"), 0, 1)
    b.settle()
    assert answers(b) == [(r.FAILED, "reply digest differs")]


def test_calls_that_can_not_start_are_results():
    b = bench()
    seq = b.ask()
    b.settle()
    turn = b.turn(seq)
    calls = [
        ("format", {}),
        ("look", {"n": 101}),
        ("look", {}),
        ("look", "n=1"),
        ("look", {"n": 5}),
    ]
    b.reply(turn, calls)
    b.settle()
    results = texts_of_results(b)
    assert [status for status, _ in results] == [r.REJECTED] * 4 + [r.OK]
    assert results[0][1] == "format: there is no such tool"
    assert results[1][1] == "look: n: 101 is not in 0..100 "
    assert results[2][1] == "look: n is missing"
    assert results[3][1] == "look: arguments are not a JSON object: n=1"
    assert b.runs == [("look", 5)]
    assert kinds(b).count(r.START) == 1


def test_a_malformed_call_is_a_result():
    b = bench()
    seq = b.ask()
    b.settle()
    turn = b.turn(seq)
    for data in (b"\xc1garbage", b"\x92\xa4look", b"\x92\xa4look\xc5\x40\x00"):
        assert b.agent.part(turn, 0, data)
        assert b.agent.reply_end(turn, len(data), digest16(data), 1, 1)
        b.settle()
        assert texts_of_results(b)[-1][0] == r.REJECTED
    assert turn.state == WAITING
    assert b.runs == []


def test_an_acknowledgement_that_nobody_waits_for_is_dropped():
    b = bench()
    seq = b.ask()
    b.settle()
    before = b.log.seq
    b.agent.sent(seq)
    b.agent.sent(12345)
    assert b.log.seq == before


def with_record(kind, payload):
    b = bench()
    b.ask()
    b.settle()
    b.log.append(kind, payload)
    b.log.sync()
    return b


def test_an_unknown_kind_is_skipped_or_refused_by_name():
    b = Bench(with_record(0xFE, b"\x91\x01").chip)
    assert len(b.agent.turns) == 1
    error = raises(UnknownRecord, Bench, with_record(0x40, b"\x91\x01").chip)
    assert str(error) == "record 4: unknown kind 64"


def test_a_record_that_is_malformed_is_refused_by_name():
    error = raises(UnknownRecord, Bench, with_record(r.ASK, b"\x92\x01\x02").chip)
    assert "record 4: " in str(error)
    raises(UnknownRecord, Bench, with_record(r.CANCEL, b"").chip)


def test_fields_at_the_end_are_a_newer_cores():
    b = bench()
    seq = b.ask()
    b.settle()
    b.log.append(r.CANCEL, b"\x92" + bytes([seq]) + b"\xa4more")
    b.log.sync()
    again = Bench(b.chip)
    again.settle()
    assert answers(again) == [(r.CANCELLED, "cancelled")]


def test_a_boot_is_recorded_with_what_it_reset():
    from mote.msgpack import Unpacker

    chip = Chip(4, 8, 32768)
    for life in range(1, 4):
        b = Bench(chip)
        kind, data = records_of(chip, 1024)[-1]
        assert kind == r.BOOT
        said = Unpacker(bytearray(data)).value()
        assert said == [life, b"12345678", ["pump"], "test", Limits().values()]
        assert b.agent.epoch == life
        assert b.agent.before_boot == (life - 1, b.log.hash_at(life - 1))


def test_a_tool_that_is_gone_in_the_next_life_is_a_result():
    b = bench()
    seq = b.ask()
    b.settle()
    b.hold = True
    b.reply(b.turn(seq), [("look", {"n": 1})])
    b.settle()
    b.log.sync()
    log = make_log(b.chip, 1024)
    agent = Agent(log, Toolset([]), Limits())
    agent.open(0, b"12345678", [], "test")
    assert agent.next_effect() is None
    assert agent.turns[0].state == WAITING
    log.sync()
    assert kinds(b)[-2:] == [r.RESULT, r.REQ]
