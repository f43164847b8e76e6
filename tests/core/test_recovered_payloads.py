"""Lost records that come back malformed: the log stays readable, the state bounded."""

from chip import Chip
from gateway import line, replica_is_whole
from helpers import KEY, Bench, nothing, opened
from mote import records as r
from mote import wire
from mote.log import Log, genesis
from mote.lookup import FACT_KEY
from mote.msgpack import Packer
from mote.turn import Limits
from restored import connect, exchange, facts, reborn, words

GARBAGE = (b"", b"\xc1", b"\x90", b"\x91", b"\x92\xc0\xc0", b"\xff" * 40, b"\xdd\xff\xff\xff\xff")


def packed(*fields):
    """A payload of these fields."""
    p = Packer(bytearray(2048)).array(len(fields))
    for field in fields:
        p.value(field)
    return bytes(p.taken())


def given(records, limits=None):
    """A device to which the gateway gave these records, [(kind, payload)], from 1001 on."""
    made = line()
    if limits:
        made.bench = Bench(Chip(4, 16, 16384), limits=limits, now_ms=1000)
    made.gateway.lost = (1001, {1001 + n: record for n, record in enumerate(records)})
    reborn(made, made.bench.chip)
    connect(made)
    assert made.bench.agent.sure
    assert made.link.rejected == 0
    assert replica_is_whole(made)
    return made


def checkpoint_bytes(state):
    """Bytes that a segment's checkpoint takes."""
    chip = Chip(1, 3, 65536)
    log = Log(chip, genesis("d"), wire.subkey(KEY, "log").sign, 1024)
    log.checkpoint = state.pack
    log.open(nothing, nothing)
    log.append(1, b"")
    return len(bytes(chip.cells[0]).rstrip(b"\xff"))


def readable(made):
    """True if the next life opens the log, and its checkpoint is within bounds."""
    made.bench.log.sync()
    b = Bench(made.bench.chip.copy())
    b.settle()
    state, limits = b.agent.state, b.agent.limits
    assert len(state.turns) <= limits.open_turns
    assert len(state.facts) <= limits.facts
    assert len(state.seen) <= limits.seen_asks
    assert checkpoint_bytes(state) <= limits.checkpoint_bytes()
    return b.log.notes == []


def test_garbage_of_every_kind_says_nothing():
    for kind in (r.ASK, r.PART, r.REPLY_END, r.ANSWER, r.SENT, r.FACT, r.RECOVERED, 99, 0xC0):
        made = given([(kind, payload) for payload in GARBAGE] + [(r.FACT, packed("moss", "wet"))])
        assert facts(made) == {"moss": "wet"}, kind
        assert made.bench.agent.turns == [], kind
        assert made.bench.published == [], kind
        assert readable(made), kind


def test_payloads_that_are_cut_leave_the_log_readable():
    whole = (
        (r.ASK, packed("s", "name", "go", 0, 0)),
        (r.ANSWER, packed(1001, r.DONE, 0, "text")),
        (r.FACT, packed("moss", "wet")),
        (r.PART, packed(1002, b"bytes")),
        (r.SENT, packed(1001)),
    )
    for kind, payload in whole:
        records = [(kind, payload[:n]) for n in range(len(payload))]
        assert readable(given([(r.ASK, whole[0][1])] + records)), kind


def test_a_later_piece_is_no_record_of_its_own():
    for kind in (r.FACT, r.ASK):
        first = packed("fern", "dry", "", 0, 0)
        made = given([(kind, first + bytes(512 - len(first)) + packed("moss", "bad", "", 0, 0))])
        assert facts(made) == ({"fern": "dry"} if kind == r.FACT else {}), kind
        assert list(words(made)) == ([] if kind == r.FACT else ["dry"]), kind


def test_a_reply_whose_parts_are_cut_is_answered_somehow():
    ask, answer = packed("s", "1", "go", 0, 0), packed(1001, r.DONE, 1002, None)
    part = packed(1002, b"bytes")
    for n in range(len(part)):
        made = given([(r.ASK, ask), (r.REQ, b""), (r.PART, part[:n]), (r.ANSWER, answer)])
        assert list(words(made)) == ["1"], n
        assert readable(made)


def test_fields_of_the_wrong_type_leave_the_log_readable():
    for value in (None, -1, 1 << 40, 1.5, "x", b"x", [1], {"a": 1}, True):
        made = given(
            [
                (r.ASK, packed(value, value)),
                (r.ASK, packed("s", "1", "go", 0, 0)),
                (r.ANSWER, packed(value, value, value, value)),
                (r.ANSWER, packed(1002, value, value, value)),
                (r.SENT, packed(value)),
                (r.FACT, packed(value, "x")),
                (r.FACT, packed("key", value)),
            ]
        )
        assert "1" in words(made), value
        assert readable(made), value


def test_keys_and_sessions_are_bounded():
    key = "\u00e9" * (FACT_KEY // 2)
    made = given(
        [
            (r.FACT, packed(key + "k", "too long")),
            (r.FACT, packed(key, "fits")),
            (r.ASK, packed("s" * 33, "1", "go", 0, 0)),
            (r.ASK, packed("s" * 32, "2", "go", 0, 0)),
        ]
    )
    assert facts(made) == {key: "fits"}
    assert list(words(made)) == ["2"]
    assert readable(made)


def test_no_more_facts_come_back_than_are_kept():
    most = Limits().facts
    told = [(r.FACT, packed("%032d" % n, "v" * 200)) for n in range(most + 3)]
    told += [(r.FACT, packed("%032d" % 0, None)), (r.FACT, packed("%032d" % 1, "newer"))]
    made = given(told + [(r.FACT, packed("last", "v"))])
    known = facts(made)
    assert len(known) == most
    assert "%032d" % 0 not in known
    assert known["%032d" % 1] == "newer"
    assert known["last"] == "v"
    assert readable(made)


def test_no_more_asks_come_back_than_are_kept():
    limits = Limits()
    limits.open_turns, limits.seen_asks = 3, 4
    asks = [(r.ASK, packed("%032d" % n, "%d" % n, "go", 0, 0)) for n in range(9)]
    made = line()
    made.bench = Bench(Chip(4, 16, 16384), limits=limits)
    made.gateway.lost = (1001, {1001 + n: ask for n, ask in enumerate(asks)})
    reborn(made, made.bench.chip)
    made.link.connected(made.bench.now_ms)
    while not made.bench.agent.sure:
        exchange(made)
        assert len(made.bench.agent.turns) <= 3
        assert checkpoint_bytes(made.bench.agent.state) <= limits.checkpoint_bytes()
    made.until_quiet()
    assert sorted(words(made)) == ["0", "1", "2"]
    assert len(made.bench.agent.state.seen) <= 4
    assert readable(made)


def test_the_largest_state_that_can_come_back_fits_a_checkpoint():
    limits = Limits()
    told = [(r.FACT, packed("%032d" % n, "v" * 200)) for n in range(limits.facts)]
    for n in range(40):
        told.append((r.ASK, packed("%032d" % n, "%064d" % n, "go" * 200, 0, 0)))
    made = line()
    made.gateway.lost = (4000000000, {4000000000 + n: one for n, one in enumerate(told)})
    reborn(made, made.bench.chip)
    made.link.connected(made.bench.now_ms)
    while not made.bench.agent.sure:
        exchange(made)
    assert len(made.bench.agent.turns) == limits.open_turns
    assert checkpoint_bytes(made.bench.agent.state) <= limits.checkpoint_bytes()


def test_facts_that_came_back_outlive_their_records():
    made = given([(r.FACT, packed("moss", "wet")), (r.FACT, packed("fern", "dry"))])
    agent = made.bench.agent
    first = agent.state.facts[0][1]
    n = 0
    while agent.log.oldest() <= first:
        n += 1
        agent.remember("other", "x" * 200 + "%d" % n)
        agent.confirmed(agent.log.seq)
        agent.tidy()
    known = facts(made)
    assert (known["moss"], known["fern"]) == ("wet", "dry")
    agent.log.sync()
    assert opened(made.bench.chip.copy(), 1024).notes == []
