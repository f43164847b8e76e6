"""What the agent refuses, what ends a turn, and which words say so."""

from chip import Chip
from helpers import (
    HEADER,
    OVERHEAD,
    Bench,
    answers,
    bench,
    digest16,
    kinds,
    pack_reply,
    raises,
    records_of,
    texts_of_results,
)
from mote import records as r
from mote.agent import Refused
from mote.turn import (
    WAITING,
    Limits,
)


def test_refusals_say_why_and_leave_nothing():
    b = bench(asks_burst=3, open_turns=2, ask_bytes=20)
    before = b.log.seq
    assert "empty" in str(raises(Refused, b.ask, ""))
    assert "over 20 bytes" in str(raises(Refused, b.ask, "\u00e9" * 11))
    assert b.log.seq == before
    b.ask("\u00e9" * 10, "s", "1")
    assert [kind for kind in kinds(b) if kind == r.REFUSED] == [r.REFUSED]
    b.ask(name="2")
    assert "busy with 2 turns" in str(raises(Refused, b.ask, "x", "s", "3"))
    b.agent.cancel(None)
    b.settle()
    b.ask(name="4")
    b.agent.cancel(None)
    b.settle()
    assert "over 600 asks an hour" in str(raises(Refused, b.ask, "x", "s", "5"))
    b.now_ms += 6000
    b.ask(name="6")


def test_refused_asks_are_counted_in_one_record():
    b = bench(asks_burst=1)
    b.ask(name="1")
    for _ in range(50):
        raises(Refused, b.ask, "x", "s", "2")
    b.now_ms += 10000
    b.ask(name="3")
    b.log.sync()
    counters = [data for kind, data in records_of(b.chip, 1024) if kind == r.REFUSED]
    assert counters == [b"\x91\x32"]


# of a segment of 4096 bytes: without its header, and the end that a record may not fit
USABLE = 4096 - HEADER - 1024 - OVERHEAD


def test_an_ask_that_the_log_could_not_end_is_refused():
    limits = Limits()
    b = Bench(Chip(4, 2 * limits.worst_turn(4) // USABLE, 4096))
    b.ask(name="1")
    assert "log is full" in str(raises(Refused, b.ask, "x", "s", "2"))
    b.settle()
    assert [kind for kind in kinds(b) if kind == r.ASK] == [r.ASK]


def use_all(b, seq):
    """Reply with all that the limits allow until the turn is over."""
    most = b.agent.limits.reply_bytes
    while b.turn(seq):
        turn = b.turn(seq)
        data = pack_reply([("pour", {"n": 1})] * 2)
        data += b"z" * (most - len(data))
        for at in range(0, most, 512):
            assert b.agent.part(turn, at, data[at : at + 512])
        assert b.agent.reply_end(turn, most, digest16(data), 2, 0)
        b.settle()


def fill_up(unit):
    """Turns that use all they may, until no more is accepted; how many there were."""
    limits = Limits()
    limits.steps, limits.calls, limits.reply_bytes = 3, 6, 2048
    b = Bench(Chip(unit, 3 * limits.worst_turn(unit) // USABLE, 4096), limits=limits)
    b.told = "y" * 600
    for n in range(10):
        try:
            seq = b.ask("x" * 768, "s", "")
        except Refused:
            assert b.log.oldest() == 1, "nothing went that nobody has"
            assert r.GAP not in kinds(b)
            return n
        b.settle()
        use_all(b, seq)
        b.now_ms += 100000
    raise AssertionError("the log never filled up")


def test_what_was_accepted_can_be_ended_before_the_log_is_full():
    for unit in (1, 16, 256):
        assert fill_up(unit) >= 2, unit


def limited(b, calls, tokens=1):
    """Ask and reply with the same calls until the turn is over; what it said."""
    seq = b.ask()
    b.settle()
    for _ in range(40):
        turn = b.turn(seq)
        if turn is None:
            break
        b.reply(turn, calls, tokens=tokens)
        b.settle()
    return answers(b)[-1]


def test_limits_end_the_turn_and_say_which():
    call = ("look", {"n": 1})
    assert limited(bench(steps=3), [call]) == (r.LIMITED, "limit of 3 steps")
    b = bench(calls=3)
    assert limited(b, [call, call]) == (r.LIMITED, "limit of 3 tool calls")
    assert len(b.runs) == 3
    assert limited(bench(tokens=100), [call], 60) == (r.LIMITED, "limit of 100 tokens")
    b = bench(tokens=100)
    assert limited(b, [call], 101) == (r.LIMITED, "limit of 100 tokens")
    assert b.runs == []


def test_time_ends_a_turn():
    b = bench(turn_ms=5000)
    b.now_ms = 1000
    b.ask()
    b.settle()
    assert b.agent.deadline() == 6000
    b.agent.tick(5999)
    b.settle()
    assert b.published == []
    b.agent.tick(6000)
    assert b.agent.deadline() is None
    b.settle()
    assert answers(b) == [(r.LIMITED, "out of time")]


def test_restarts_end_a_turn():
    b = bench()
    seq = b.ask()
    b.settle()
    for n in range(6):
        b = Bench(b.chip)
        b.settle()
        assert (b.turn(seq) is None) == (n == 5)
    assert answers(b) == [(r.LIMITED, "limit of 5 restarts")]


def test_cancel_while_waiting():
    b = bench()
    first, other = b.ask(name="1"), b.ask("x", "other", "2")
    b.settle()
    assert b.agent.cancel("other") == 1
    assert b.agent.cancel("other") == 0
    b.settle()
    assert answers(b) == [(r.CANCELLED, "cancelled")]
    assert b.turn(other) is None
    assert b.turn(first).state == WAITING
    assert b.agent.cancel(None) == 1
    b.settle()
    assert b.agent.turns == []


def test_cancel_while_a_tool_runs():
    b = bench()
    seq = b.ask()
    b.settle()
    b.hold = True
    b.reply(b.turn(seq), [("pour", {"n": 1}), ("pour", {"n": 2})])
    b.settle()
    assert b.agent.cancel("s") == 1
    b.settle()
    assert b.stopped == [seq]
    assert answers(b) == [(r.CANCELLED, "cancelled")]
    assert texts_of_results(b) == [(r.STOPPED, "stopped")]
    assert kinds(b).count(r.START) == 1


def test_a_failed_request_ends_the_turn():
    b = bench()
    seq = b.ask()
    b.settle()
    b.agent.fail(b.turn(seq), "no such model")
    b.settle()
    assert answers(b) == [(r.FAILED, "no such model")]


def test_parts_out_of_order_or_over_the_limit_are_not_taken():
    b = bench(reply_bytes=10)
    seq = b.ask()
    b.settle()
    turn = b.turn(seq)
    before = b.log.seq
    assert not b.agent.part(turn, 1, b"x")
    assert not b.agent.part(turn, 0, b"x" * 11)
    assert b.log.seq == before
    assert b.agent.part(turn, 0, b"x" * 10)
    assert not b.agent.part(turn, 0, b"x")
    assert not b.agent.part(turn, 10, b"x")
    assert turn.got == 10
    assert not b.agent.reply_end(turn, 11, digest16(b"x" * 10), 0, 1)


def test_long_results_are_cut_and_marked():
    b = bench(result_bytes=64)
    seq = b.ask()
    b.settle()
    b.hold = True
    for size in (32, 33, 500):
        b.reply(b.turn(seq), [("look", {"n": 1})])
        b.settle()
        b.agent.result(b.turn(seq), r.OK, "\u00e9" * size)
        b.settle()
    results = [text for _, text in texts_of_results(b)]
    assert results[0] == "\u00e9" * 32
    for text, size in ((results[1], 66), (results[2], 1000)):
        assert text == "\u00e9" * 20 + f" [cut, was {size} bytes]"
        assert len(text.encode()) <= 64


def test_only_so_many_ids_are_remembered():
    b = bench(seen_asks=3, asks_burst=20)
    seqs = []
    for n in range(4):
        seqs.append(b.ask(name=f"n{n}"))
        b.settle()
        b.reply(b.turn(seqs[-1]), [], "ok")
        b.settle()
    assert b.ask(name="n3") == seqs[3]
    assert b.ask(name="n1") == seqs[1]
    assert b.ask(name="n0") not in seqs


def test_a_reply_full_of_rejected_calls_ends_by_the_limit_of_calls():
    b = bench(calls=16)
    seq = b.ask()
    b.settle()
    data = pack_reply([("absent", {})] * 150)
    for at in range(0, len(data), 512):
        assert b.agent.part(b.turn(seq), at, data[at : at + 512])
    assert b.agent.reply_end(b.turn(seq), len(data), digest16(data), 150, 0)
    b.settle()
    assert answers(b)[-1] == (r.LIMITED, "limit of 16 tool calls")
