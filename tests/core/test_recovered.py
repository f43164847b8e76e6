"""A log that lost its tail and took it back: nothing happens twice, no ask has two answers."""

from chip import Chip
from gateway import TEXT, deliver, drain, line, replica_is_whole
from helpers import Bench, kept, nothing
from mote import records as r
from mote import wire
from mote.state import key_of
from restored import POUR, connect, exchange, facts, reborn, restore, story, words

UNSURE = "the device lost the records of this turn; what it did is not known"


def pieces(made):
    """In how many messages the gateway can give back what it holds."""
    return sum([-(-len(payload) // 512) for _, payload in made.gateway.lost[1].values()])


def numbered(made, kind):
    """How many records of that kind the log holds."""
    return len([1 for known, _ in kept(made.bench.log) if known == kind])


def test_all_comes_back_and_is_not_done_again():
    made, backup = story()
    before = words(made)
    restore(made, backup)
    connect(made)
    assert made.bench.runs == []
    after = words(made)
    assert after.pop("mid") == (r.FAILED, UNSURE)
    assert "said" in after, "nobody acknowledged it"
    assert after == {name: before[name] for name in after}
    assert made.bench.agent.turns == []
    assert facts(made) == {"moss": "wet", "fern": "dry"}
    assert numbered(made, r.RECOVERED) == pieces(made)
    assert made.link.trouble is None
    assert made.link.rejected == 0
    assert replica_is_whole(made)


def test_an_ask_whose_id_was_taken_gets_the_same_words():
    made, backup = story()
    before = words(made)
    restore(made, backup)
    connect(made)
    asks = numbered(made, r.ASK)
    for name in ("old", "sent", "said", "mid"):
        made.bench.ask("once more", "other", name)
        made.until_quiet()
    after = words(made)
    assert after.pop("mid") == (r.FAILED, UNSURE)
    assert after == before
    assert numbered(made, r.ASK) == asks
    assert made.bench.runs == []


def test_an_ask_that_is_made_again_meanwhile_waits_for_its_words():
    made, backup = story()
    before = words(made)
    restore(made, backup)
    made.link.connected(made.bench.now_ms)
    most = 0
    while not made.bench.agent.sure:
        known = [entry[0] for entry in made.bench.agent.state.seen]
        again = [name for name in ("old", "mid", "sent", "said") if key_of(name) in known]
        for name in again:
            made.bench.ask("once more", "other", name)
        made.bench.settle()
        assert "mid" not in words(made)
        most = max(most, len(again))
        exchange(made)
    assert most == 4
    made.until_quiet()
    after = words(made)
    assert after.pop("mid") == (r.FAILED, UNSURE)
    assert after == before
    assert made.bench.runs == []


def test_nothing_goes_up_before_all_is_back():
    made, backup = story()
    restore(made, backup)
    made.link.connected(made.bench.now_ms)
    made.gateway.seen.clear()
    while not made.bench.agent.sure:
        exchange(made)
    assert made.gateway.seen == [wire.HELLO] + [wire.RECOVER] * pieces(made)
    assert made.bench.log.synced == made.bench.log.seq


# -- turns that were under way


def ready_to_pour():
    """A line whose device holds a whole reply; its ONCE call has not begun."""
    made = line([(POUR, 1, 1), (TEXT, 0, 1)])
    made.until_quiet()
    made.bench.ask("go", "s", "1")
    made.bench.settle()
    exchange(made)
    made.bench.log.sync()
    assert made.bench.runs == []
    return made, made.bench.chip.copy()


def test_a_once_call_of_an_interrupted_turn_waits_for_the_gateway():
    made, chip = ready_to_pour()
    reborn(made, chip)
    made.bench.settle()
    assert made.bench.runs == []
    connect(made)
    assert made.bench.runs == [("pour", 7)]
    assert words(made) == {"1": (r.DONE, "done " * 300)}


def test_a_once_call_that_was_begun_in_lost_records_does_not_begin_again():
    made, chip = ready_to_pour()
    made.until_quiet()
    assert made.bench.runs == [("pour", 7)]
    before = words(made)
    restore(made, chip)
    made.bench.settle()
    connect(made)
    assert made.bench.runs == []
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert words(made) == before


def test_other_calls_of_an_interrupted_turn_do_not_wait():
    made = line()
    made.bench.ask("go", "s", "1")
    made.bench.settle()
    made.bench.reply(made.bench.agent.turns[0], [("put", {"n": 1}), ("pour", {"n": 2})])
    made.bench.log.sync()
    reborn(made, made.bench.chip.copy())
    made.bench.settle()
    assert made.bench.runs == [("put", 1)]


def test_a_turn_of_this_life_pours_without_a_gateway():
    made = line()
    made.bench.agent.sure = None
    made.bench.ask("go", "s", "1")
    made.bench.settle()
    made.bench.reply(made.bench.agent.turns[0], [("pour", {"n": 2})])
    made.bench.settle()
    assert made.bench.runs == [("pour", 2)]


def test_no_once_call_at_all_begins_while_records_come_back():
    b = Bench(Chip(4, 8, 32768))
    seq = b.ask("go", "s", "1")
    b.settle()
    agent = b.agent
    assert agent.behind(90, 91) == 91
    b.reply(b.turn(seq), [("look", {"n": 1}), ("pour", {"n": 2})])
    b.settle()
    assert b.runs == [("look", 1)]
    assert agent.take_back(91, 90, r.SENT, 0, 2, b"\x91\x09")
    assert agent.behind(90, 91) == 91
    b.settle()
    assert b.runs == [("look", 1)]
    assert agent.take_back(91, 91, 0, 0, 0, b"")
    assert agent.behind(90, 91) == 0
    b.settle()
    assert b.runs == [("look", 1), ("pour", 2)]


def test_no_once_call_begins_while_the_gateway_finds_out_what_was_lost():
    made = line([(POUR, 1, 10), (TEXT, 0, 10)])
    made.until_quiet()
    made.gateway.lost = (0, {made.bench.log.seq + 9: None})  # it says up to where, not from where
    made.bench.ask("pour", "s", "")
    for _ in range(20):
        made.step()
        made.bench.now_ms += 1000
        made.gateway.tip()
    assert made.bench.runs == []
    assert made.bench.agent.turns
    made.gateway.lost = None
    made.gateway.tip()
    made.until_quiet()
    assert [name for name, _ in made.bench.runs] == ["pour"]


def test_a_turn_that_ran_when_the_tail_was_lost_says_that_it_is_not_known():
    made = line()
    made.until_quiet()
    b = made.bench
    seq = b.ask("go", "s", "1")
    b.settle()
    b.reply(b.turn(seq), [("put", {"n": 1}), ("look", {"n": 2})])
    b.hold = True
    b.settle()
    made.until_quiet()
    backup = b.chip.copy()
    b.agent.remember("moss", "wet")
    made.until_quiet()
    restore(made, backup)
    made.bench.hold = True  # what it may begin again is stopped
    connect(made)
    assert made.bench.stopped == [seq]
    assert words(made) == {"1": (r.FAILED, UNSURE)}


# -- what comes back, and how


def test_only_the_record_that_is_due_is_taken():
    b = Bench(Chip(4, 8, 32768))
    take = b.agent.take_back
    b.agent.behind(10, 20)
    before = b.log.seq
    for wrong in (
        (20, 9, 1, 0, 1, b"x"),  # before the first
        (20, 21, 1, 0, 1, b"x"),  # behind the last
        (20, 10, 1, 1, 2, b"x"),  # not from its beginning on
        (20, 10, 1, 0, 1, b"xx"),  # longer than it is
        (20, 10, 1, 0, 1, b""),  # nothing of something
    ):
        assert not take(*wrong), wrong
    assert b.log.seq == before
    assert take(20, 12, 1, 0, 4, b"xx")  # the gateway lacks 10 and 11
    assert b.agent.behind(10, 20) == 20
    for wrong in ((20, 12, 1, 0, 4, b"xx"), (20, 13, 1, 2, 4, b"xx"), (20, 12, 1, 2, 4, b"xxx")):
        assert not take(*wrong), wrong
    assert take(20, 12, 1, 2, 4, b"xx")
    assert b.agent.behind(10, 20) == 20
    assert b.agent.back == [20, 13, 0]
    assert b.log.seq == before + 2


def test_a_record_that_nobody_has_any_more_ends_it():
    made = line()
    made.until_quiet()
    made.gateway.lost = (2, {4: (r.FACT, b"\x92\xa4moss\xa3wet"), 9: (0, b"")})
    reborn(made, made.bench.chip)
    connect(made)
    assert facts(made) == {"moss": "wet"}
    assert made.bench.agent.sure
    assert made.gateway.seen.count(wire.RECOVER) == 2


def test_a_record_that_is_lost_on_the_way_is_asked_for_again():
    made, backup = story()
    restore(made, backup)
    made.link.connected(made.bench.now_ms)
    exchange(made)
    drain(made)
    made.gateway.out.clear()
    assert drain(made) == []
    made.bench.now_ms = made.link.deadline()
    assert drain(made) == [wire.RECOVER]
    deliver(made)
    made.gateway.send(wire.RECORD, max(made.gateway.lost[1]), 1, r.SENT, 0, 2, b"\x91\x01")
    before = made.bench.log.seq
    deliver(made)
    assert made.bench.log.seq == before, "it was not asked for"
    made.until_quiet()
    assert facts(made) == {"moss": "wet", "fern": "dry"}


def test_a_record_that_nobody_lost_is_not_taken():
    made = line()
    made.until_quiet()
    before = made.bench.log.seq
    for last in (0, 5):
        made.gateway.send(wire.RECORD, last, last, r.FACT, 0, 10, b"\x92\xa4moss\xa3wet")
    deliver(made)
    assert made.bench.log.seq == before
    assert made.bench.agent.state.facts == []


def test_an_answer_that_was_not_acknowledged_goes_out_until_it_is():
    made, backup = story()
    before = words(made)
    restore(made, backup)
    made.bench.agent.sent = nothing
    connect(made)
    made.bench.published.clear()
    made.bench.log.sync()
    reborn(made, made.bench.chip)
    made.bench.settle()
    assert words(made) == {"said": before["said"], "mid": (r.FAILED, UNSURE)}
    assert made.bench.agent.turns == [], "all was back: no word of the gateway was waited for"
