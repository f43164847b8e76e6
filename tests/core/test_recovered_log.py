"""What came back from the gateway, in the log: in pieces, through power cuts, and malformed."""

from chip import Chip
from gateway import TEXT, line, replica_is_whole
from helpers import make_log, said
from lives import state_of
from mote import records as r
from mote import wire
from mote.state import State
from mote.turn import Limits
from restored import POUR, connect, exchange, facts, reborn, restore, story, words

UNSURE = "the device lost the records of this turn; what it did is not known"


# -- power cuts


def test_after_each_reboot_it_goes_on_where_it_stopped():
    made, backup = story(Chip(4, 40, 6144))
    before = words(made)
    restore(made, backup)
    made.gateway.seen.clear()
    segments = len(made.bench.log.segments())
    records = 0
    while not made.bench.agent.sure:
        made.link.connected(made.bench.now_ms)
        exchange(made)
        exchange(made)
        records += 1
        made.bench.settle()
        assert "mid" not in words(made) or made.bench.agent.sure
        assert made.bench.runs == []
        if made.bench.agent.sure:
            break
        made.bench.log.sync()
        reborn(made, made.bench.chip, records)
    assert records > 20
    assert made.gateway.seen == [wire.HELLO, wire.RECOVER] * records
    assert len(made.bench.log.segments()) > segments, "a checkpoint was written meanwhile"
    made.until_quiet()
    for name in ("old", "sent", "said", "mid"):
        made.bench.ask("once more", "other", name)
    made.until_quiet()
    after = words(made)
    assert after.pop("mid") == (r.FAILED, UNSURE)
    assert after == before
    assert facts(made) == {"moss": "wet", "fern": "dry"}
    assert replica_is_whole(made)


def test_at_every_power_cut_the_log_folds_to_the_same_state():
    made, backup = story(Chip(4, 40, 6144))
    restore(made, backup)
    made.link.connected(made.bench.now_ms)
    while not made.bench.agent.sure:
        exchange(made)
        made.bench.log.sync()
        folded = State(Limits())
        log = make_log(made.bench.chip.copy(), 1024)
        log.checkpoint = folded.pack
        log.open(folded.restore, folded.fold)
        folded.seq = log.seq
        assert state_of(folded) == state_of(made.bench.agent.state)


def test_what_was_not_safe_at_a_power_cut_is_asked_for_again():
    for stop in range(1, 24, 4):
        made, backup = story()
        before = words(made)
        restore(made, backup)
        made.link.connected(made.bench.now_ms)
        for _ in range(stop):
            exchange(made)
        assert not made.bench.agent.sure
        reborn(made, made.bench.chip)  # nothing was synced
        connect(made)
        for name in ("old", "sent", "said"):
            made.bench.ask("once more", "other", name)
        made.until_quiet()
        after = words(made)
        assert after.pop("mid") == (r.FAILED, UNSURE), stop
        assert after == before, stop
        assert made.bench.runs == [], stop


# -- records in pieces


def test_records_come_back_in_pieces():
    for part in (40, 64, 100):
        made, backup = story(part=part)
        before = words(made)
        restore(made, backup)
        connect(made)
        made.bench.ask("once more", "other", "sent")
        made.bench.ask("once more", "other", "old")
        made.until_quiet()
        after = words(made)
        assert after.pop("mid") == (r.FAILED, UNSURE)
        assert after == before, part
        assert facts(made) == {"moss": "wet", "fern": "dry"}
        assert replica_is_whole(made)


def test_a_text_that_is_longer_than_a_piece_keeps_its_words():
    made = line([("fail", "the provider said no " * 12)], part=64)
    made.until_quiet()
    backup = made.bench.chip.copy()
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    before = words(made)
    restore(made, backup)
    connect(made)
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert words(made) == before


def test_a_body_that_came_back_is_read_in_any_portions():
    made, backup = story(part=40)
    before = words(made)
    restore(made, backup)
    connect(made)
    state = made.bench.agent.state
    _, seq, answer = state.seen[-1]
    assert said(made.bench.agent, seq, answer)[1:] == ("said",) + before["said"]
    for n in (1, 7, 39, 512):
        _, _, _, text = made.bench.agent.answer(seq, answer)
        body, buf, data = text(), bytearray(n), b""
        got = body.fill(buf)
        while got:
            data += bytes(buf[:got])
            got = body.fill(buf)
        assert data.decode() == before["said"][1], n


# -- numbers of two chains


def next_life_answers(made):
    """What the next life, on the same chip, says to ask "1": it is its first one."""
    reborn(made, made.bench.chip)
    made.link.connected(made.bench.now_ms)
    seq = made.bench.ask("go", "s", "1")
    made.until_quiet()
    return seq, words(made)["1"]


def with_the_same_number():
    """A restored device whose ask "2" has the number of the lost ask "1"; that; its answer."""
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    backup = made.bench.chip.copy()
    seq, answer = next_life_answers(made)
    restore(made, backup)
    assert made.bench.ask("other", "s", "2") == seq
    return made, seq, answer


def test_a_reply_of_this_life_is_not_one_to_the_same_number_that_was_lost():
    made, seq, answer = with_the_same_number()
    made.bench.settle()
    made.bench.reply(made.bench.turn(seq), [], "mine " * 300, part=512)
    made.bench.settle(acknowledge=False)
    connect(made)
    for name in ("1", "2"):
        made.bench.ask("go", "s", name)
    made.until_quiet()
    assert words(made) == {"1": answer, "2": (r.DONE, "mine " * 300)}


def test_an_ask_that_was_asked_again_before_it_came_back_is_the_same_one():
    for script, runs in (([(TEXT, 0, 1)], []), ([(POUR, 1, 1), (TEXT, 0, 1)], [("pour", 7)])):
        made = line(script)
        made.until_quiet()
        backup = made.bench.chip.copy()
        _, answer = next_life_answers(made)
        assert made.bench.runs == runs
        restore(made, backup)
        made.bench.agent.remember("moss", "wet")  # so that its number is another one
        made.bench.ask("go", "s", "1")
        made.bench.settle()
        connect(made)
        made.bench.ask("go", "s", "1")
        made.until_quiet()
        assert words(made) == {"1": answer}
        assert made.bench.runs == []
        assert made.bench.agent.turns == []


def test_an_ask_of_this_life_goes_on_where_the_gateway_lacks_its_number():
    made = line()
    made.until_quiet()
    made.gateway.lost = (
        2,
        {90: (r.ANSWER, b"\x94\x03\x02\x00\xa4lost"), 91: (r.SENT, b"\x91\x03")},
    )
    reborn(made, made.bench.chip)
    assert made.bench.ask("go", "s", "1") == 3
    made.bench.settle()
    made.gateway.script = [(TEXT, 0, 1)]
    connect(made)
    assert words(made) == {"1": (r.DONE, "done " * 300)}


def test_a_reply_is_found_behind_records_that_the_gateway_lacks():
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    backup = made.bench.chip.copy()
    for n in range(20):
        made.bench.agent.remember("moss", str(n))
    made.until_quiet()
    _, answer = next_life_answers(made)
    restore(made, backup)
    for number, (kind, _) in list(made.gateway.lost[1].items()):
        if kind == r.FACT:
            del made.gateway.lost[1][number]
    connect(made)
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert words(made) == {"1": answer}


def test_an_ask_of_the_life_before_is_not_one_of_the_same_number_that_was_lost():
    made, _, answer = with_the_same_number()
    made.bench.log.sync()
    reborn(made, made.bench.chip)  # the gateway hears of that life only now
    made.gateway.script = [(b"another text", 0, 1)]
    connect(made)
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert words(made) == {"1": answer, "2": (r.DONE, "another text")}


def test_a_request_of_this_life_is_not_one_of_the_same_number_that_was_lost():
    made, _, answer = with_the_same_number()
    made.bench.settle()
    made.gateway.script = [(b"another text", 0, 1)]
    connect(made)
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert words(made) == {"1": answer, "2": (r.DONE, "another text")}
    assert made.gateway.script == []
