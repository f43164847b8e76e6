"""Durable turns in every interleaving, against a simple model of what must hold (model.py).

Hypothesis drives the agent on a simulated chip: asks in several sessions, new and redelivered;
replies lost, repeated and wrong; calls that end, fail, are late or stopped; answers that nobody
acknowledges; clocks that jump; starts without warning, and power cuts at any byte of any
operation. At the end of each example all that was accepted is driven to its answer.

MOTE_TORTURE=N runs N examples, each longer, from random seeds; without it a fixed set is run.
"""

import hashlib
import os

import reader
from chip import BACKWARDS, Chip, PowerCut
from helpers import DEVICE, KEY, bench_tools, make_log, pack_reply
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model import Model, packed
from mote import records as r
from mote.agent import Agent, Refused
from mote.state import State
from mote.turn import CALL, PUBLISH, WAITING, Limits

TORTURE = int(os.environ.get("MOTE_TORTURE", "0"))
SETTINGS = settings(
    max_examples=TORTURE or 150,
    stateful_step_count=150 if TORTURE else 60,
    derandomize=not TORTURE,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

RECORD_BYTES = 384
SESSIONS = ("main", "plants", "\u00e9t\u00e9")
NAMES = ("", "", "a", "b", "c", "d", "e", "f")
EFFECTS = {"look": r.READ, "put": r.IDEMPOTENT, "pour": r.ONCE}
CALLS = tuple((name, {"n": n}) for name in EFFECTS for n in (1, "7")) + (
    ("pour", {"n": 101}),
    ("look", {}),
    ("put", "not JSON"),
    ("none", {"n": 1}),
)
TEXTS = ("done", "", "\u00e9" * 40)
SMALL = st.integers(0, 7)


class Mains(Chip):
    """A chip whose power can be cut in an operation to come, whatever that is."""

    fuse = None  # operations until then
    byte = None  # bytes of it that are done, None: the power goes before it
    smear = False
    again = None  # the fuse of the next life

    def program(self, segment, offset, data):
        self._due(len(data))
        super().program(segment, offset, data)

    def erase(self, segment):
        self._due(self.block_bytes)
        super().erase(segment)

    def sync(self):
        self._due(0)
        super().sync()

    def _due(self, n):
        if self.fuse == 0:
            done = None if self.byte is None else min(self.byte, n)
            self.cut(self.operations, done, self.smear)
            self.fuse, self.again = self.again, None
        elif self.fuse:
            self.fuse -= 1


class Script:
    """What the gateway says to one request."""

    def __init__(self, calls, text, tokens, noise=b""):
        self.calls = calls
        self.text = text
        self.ncalls = len(calls)
        self.tokens = tokens
        self.data = noise or pack_reply(calls, text)
        self.digest = hashlib.sha256(self.data).digest()[:16]
        self.noise = noise

    def good(self, index):
        """(effect, tool, arguments) of a call as it must run; None if it must be refused."""
        name, given = self.calls[index]
        if self.noise or name not in EFFECTS or not isinstance(given, dict) or "n" not in given:
            return None
        n = int(given["n"])
        return (EFFECTS[name], name, {"n": n}) if n <= 100 else None


scripts = st.builds(
    Script,
    st.lists(st.sampled_from(CALLS), max_size=3),
    st.sampled_from(TEXTS),
    st.sampled_from((0, 10, 60)),
    st.sampled_from((b"",) * 16 + (b"\xc1" * 9, b"z" * 90, b"z" * 300)),
).filter(lambda script: script.ncalls or not script.noise or len(script.noise) > 200)


@st.composite
def devices(draw):
    """(chip, limits): a small device whose log holds one turn at the least."""
    limits = Limits()
    limits.open_turns = draw(st.integers(1, 3))
    limits.steps = draw(st.integers(2, 3))
    limits.calls = draw(st.integers(1, 3))
    limits.tokens = 100
    limits.turn_ms = 10000
    limits.restarts = draw(st.integers(1, 6))
    limits.ask_bytes, limits.result_bytes, limits.reply_bytes = 40, 48, 200
    limits.asks_per_hour, limits.asks_burst = 3600, draw(st.integers(2, 5))
    limits.seen_asks = limits.open_turns + draw(st.integers(0, 2))
    limits.sessions = draw(st.integers(1, 3))
    limits.facts = draw(st.integers(0, 2))
    limits.part_bytes = 80
    limits.drop = draw(st.booleans())
    unit = draw(st.sampled_from((1, 4, 16, 64, 256)))
    size = draw(st.sampled_from((2048, 4096)))
    usable = size - size // 16 - 64 - RECORD_BYTES - 9
    turns = draw(st.integers(1, limits.open_turns))
    segments = 3 + turns * limits.worst_turn(unit) // usable
    return Mains(unit, segments, size), limits


class DurableTurns(RuleBasedStateMachine):
    """One device, its gateway and its users."""

    def __init__(self):
        super().__init__()
        self.agent = None
        self.broken = False  # an assertion failed: nothing after it means anything

    @initialize(
        device=devices(),
        eager=st.sampled_from((True, True, False)),
        age=st.integers(0, 30),
        unconfirmed=st.integers(0, 8),
    )
    def begin(self, device, eager, age, unconfirmed):
        self.chip, self.limits = device
        self.eager = eager  # what is due is done at once
        self.scripts = {}
        self.model = Model(self.limits, self.scripts)
        self.now = 0
        self.unix = 0
        self.safe = 0  # the newest record that was ever safe
        self.boots = 0
        self.boot()
        self.live(age, "main", CALLS[:2], True)
        self.live(unconfirmed, "main", CALLS[:2], False)

    # -- lives

    def act(self, what, *args):
        """Do it, and what is due then; a power cut on the way begins another life."""
        try:
            try:
                what(*args)
                if self.eager:
                    self.settle()
            except PowerCut:
                self.chip.power_on()
                self.boot()
        except BaseException:
            self.broken = True
            raise

    def boot(self):
        """Begin a life on what the chip holds."""
        started = False
        while not started:
            if self.agent:
                self.safe = max(self.safe, self.agent.log.synced)
            try:
                self.read_chip()
                self.start()
                started = True
            except PowerCut:
                self.chip.power_on()

    def read_chip(self):
        """Read the log as others would, and compare."""
        state = State(self.limits)
        log = make_log(self.chip.copy(), RECORD_BYTES)
        self.model.log = log
        log.open(state.restore, state.fold)
        self.model.reopened(log, state, self.safe)
        if log.seq:
            other = reader.read(self.chip.cells, DEVICE, KEY)
            assert (other.seq, other.head) == (log.seq, log.head)
            assert [record.seq for record in other.records] == list(
                range(log.oldest(), log.seq + 1)
            )

    def start(self):
        self.boots += 1
        self.running = {}  # number of an ask: [its turn, whether it must stop]
        self.flying = []  # numbers of asks whose answer is on its way
        self.wanted = set()  # asks whose answer is due once more
        self.bucket = self.limits.asks_burst * 1000
        self.until = {}
        model = self.model
        log = model.log = make_log(self.chip, RECORD_BYTES)
        agent = self.agent = Agent(log, bench_tools([]), self.limits)
        fold = agent.state.fold

        def watched(seq, h, kind, payload):
            fold(seq, h, kind, payload)
            model.fold(seq, bytes(h), kind, bytes(payload), packed(agent.state))

        agent.state.fold = watched
        agent.open(self.now, self.boots.to_bytes(8, "big"), ["pump"], "test")
        self.until = {ask.seq: self.now + self.limits.turn_ms for ask in model.open()}

    # -- what the driver does

    def settle(self):
        """Perform what is due."""
        effect = self.agent.next_effect()
        while effect:
            if effect[0] == CALL:
                _, turn, tool, args = effect
                assert turn.seq not in self.running
                self.model.started(turn, tool, args)
                self.running[turn.seq] = [turn, False]
            elif effect[0] == PUBLISH:
                self.model.published(*effect[1:], self.agent.answer(*effect[1:]))
                self.flying.append(effect[1])
                self.wanted.discard(effect[1])
            else:
                self.running[effect[1].seq][1] = True
            effect = self.agent.next_effect()
        assert not self.wanted, "an answer was asked for again and is not told"

    def why_not(self, text, session, name):
        """Which word the refusal of an ask must have; None if only a full log may refuse it."""
        if not text:
            return "empty"
        for value, most in ((text, self.limits.ask_bytes), (session, 32), (name, 64)):
            if len(value.encode()) > most:
                return "is over %d bytes" % most
        if self.bucket < 1000:
            return "asks an hour"
        return "busy" if len(self.model.open()) >= self.limits.open_turns else None

    def ask(self, text, session, name):
        log, model = self.agent.log, self.model
        before = (log.seq, self.chip.operations, self.chip.programmed)
        known = model.known(name)
        why = self.why_not(text, session, name)
        try:
            seq = self.agent.ask(text, session, name, self.now, self.unix)
        except Refused as e:
            assert before == (log.seq, self.chip.operations, self.chip.programmed)
            if known:
                assert known.sent
                assert known.seq < log.oldest()
            else:
                assert (why or "log is full") in str(e)
            return
        if known:
            assert seq == known.seq
            assert before[0] == log.seq
            if known.answer:
                self.wanted.add(seq)
            return
        assert why is None
        assert log.synced >= seq
        assert (session, name, text) == (
            model.asks[seq].session,
            model.asks[seq].name,
            model.asks[seq].text,
        )
        model.accepted[seq] = (session, name, text)
        self.until[seq] = self.now + self.limits.turn_ms
        self.bucket -= 1000

    def pass_time(self, ms):
        self.now += ms
        self.bucket = min(self.bucket + ms, self.limits.asks_burst * 1000)
        due = [ask for ask in self.model.going() if self.until[ask.seq] <= self.now]
        rest = [ask for ask in self.model.going() if ask not in due]
        self.agent.tick(self.now)
        assert all(ask.verdict == (r.LIMITED, "out of time") for ask in due)
        assert not any(ask.verdict for ask in rest)

    def waiting(self, n):
        """A turn that waits for a reply, as the link finds it; None if none does."""
        turns = [turn for turn in self.agent.turns if self.agent.waiting(turn.id)]
        return turns[n % len(turns)] if turns else None

    def script(self, turn, script):
        """What the gateway says to that request: always the same."""
        return self.scripts.setdefault(turn.id, script)

    def reply(self, turn, script):
        """All of the reply, in parts."""
        script = self.script(turn, script)
        fits = len(script.data) <= self.limits.reply_bytes
        step = self.limits.part_bytes
        for at in range(turn.got, len(script.data), step):
            if not self.agent.part(turn, at, script.data[at : at + step]):
                assert not fits
                break
        whole = turn.got >= len(script.data)
        assert self.reply_end(turn, script, script.digest) == whole

    def reply_end(self, turn, script, digest):
        return self.agent.reply_end(turn, len(script.data), digest, script.ncalls, script.tokens)

    def piece(self, turn, script, how):
        """One message of a reply, as it may come over a bad wire."""
        script = self.script(turn, script)
        got, seq = turn.got, self.agent.log.seq
        data = script.data[got : got + self.limits.part_bytes]
        if how == "next":
            if data:
                self.agent.part(turn, got, data)
        elif how == "spoilt":
            if data:
                self.model.spoilt.add(turn.id)
                self.agent.part(turn, got, bytes([data[0] ^ 1]) + data[1:])
        elif how in ("again", "ahead"):
            at = got + 1 if how == "ahead" else got // 2
            taken = self.agent.part(turn, at, script.data[at : at + 5])
            assert taken == (at == got)
        elif how == "end":
            self.reply_end(turn, script, script.digest)
        elif how == "wrong end":
            self.model.spoilt.add(turn.id)
            self.reply_end(turn, script, bytes(16))
        if how in ("end", "wrong end") and got < len(script.data):
            assert self.agent.log.seq == seq, "it was not whole"

    def finish(self, seq, status, text):
        """The tool of that turn ends."""
        turn, stopped = self.running.pop(seq)
        assert turn.running
        self.agent.result(turn, r.STOPPED if stopped else status, text)

    # -- rules

    @rule(
        text=st.sampled_from(TEXTS[:1] * 6 + TEXTS[1:]),
        session=st.sampled_from(SESSIONS),
        name=st.sampled_from(NAMES),
    )
    def somebody_asks(self, text, session, name):
        self.act(self.ask, text, session, name)

    @rule(n=st.integers(2, 5), session=st.sampled_from(SESSIONS))
    def somebody_floods(self, n, session):
        for _ in range(n):
            self.act(self.ask, "more", session, "")

    @rule(
        n=st.integers(1, 6),
        session=st.sampled_from(SESSIONS),
        calls=st.lists(st.sampled_from(CALLS[:6]), max_size=2),
        confirm=st.booleans(),
    )
    def all_goes_well(self, n, session, calls, confirm):
        self.live(n, session, calls, confirm)

    def live(self, turns, session, calls, confirm):
        """So many turns one after the other."""
        for _ in range(turns):
            self.act(self.pass_time, 1000)
            self.act(self.ask, "again", session, "%d" % self.agent.log.seq)
            self.go_on(calls)
            self.go_on()
            if confirm:
                self.the_gateway_confirms(8)

    @precondition(lambda self: self.model.asks)
    @rule(n=SMALL)
    def an_ask_comes_again(self, n):
        asks = list(self.model.asks.values())
        ask = asks[-1 - n % len(asks)]
        self.act(self.ask, ask.text, ask.session, ask.name)

    @rule(n=SMALL, script=scripts)
    def a_reply_comes(self, n, script):
        turn = self.waiting(n)
        if turn:
            self.act(self.reply, turn, script)

    @rule(
        n=SMALL,
        script=scripts,
        how=st.sampled_from(("next", "again", "ahead", "spoilt", "end", "wrong end")),
    )
    def a_piece_comes(self, n, script, how):
        turn = self.waiting(n)
        if turn:
            self.act(self.piece, turn, script, how)

    @rule(n=SMALL, how=st.sampled_from(("fail", "long fail", "end", "busy")))
    def a_turn_goes_wrong(self, n, how):
        turn = self.waiting(n)
        if turn and how == "busy":
            turn.ask_at_ms = self.now + 1000  # as the link does
        elif turn and how.endswith("fail"):
            self.act(self.agent.fail, turn, "no provider" if how == "fail" else "\u00e9" * 99)
        turns = [turn for turn in self.agent.turns if turn.seq not in self.model.told]
        if how == "end" and turns:  # who was given the answer may not get another one
            self.act(self.agent.end, turns[n % len(turns)].seq, "out of memory")

    @rule(
        n=SMALL,
        status=st.sampled_from((r.OK, r.ERROR, r.LATE)),
        text=st.sampled_from(("5 ml", "\u20ac" * 60)),
    )
    def a_tool_ends(self, n, status, text):
        if self.running:
            seq = sorted(self.running)[n % len(self.running)]
            self.act(self.finish, seq, status, text)

    @rule(n=SMALL, times=st.integers(1, 2))
    def an_answer_is_acknowledged(self, n, times):
        if self.flying:
            seq = self.flying.pop(n % len(self.flying))
            for _ in range(times):
                self.act(self.agent.sent, seq)

    @rule()
    def the_connection_breaks(self):
        self.flying.clear()
        self.agent.publish_again()
        self.wanted.update(ask.seq for ask in self.model.open() if ask.answer)
        self.act(self.settle)

    @rule(session=st.sampled_from(SESSIONS + (None,)))
    def somebody_cancels(self, session):
        self.act(self.cancel, session)

    def cancel(self, session):
        due = [ask for ask in self.model.going() if session in (None, ask.session)]
        assert self.agent.cancel(session) == len(due)
        assert all(ask.verdict == (r.CANCELLED, "cancelled") for ask in due)

    @rule(
        ms=st.sampled_from((1, 500, 1500, 9999, 10001, 86400000)),
        unix=st.sampled_from((0, 0, 1, 1700000000, 4000000000)),
    )
    def time_passes(self, ms, unix):
        self.unix = unix
        self.act(self.pass_time, ms)

    @precondition(lambda self: self.limits.facts)
    @rule(key=st.sampled_from("xy"), value=st.sampled_from((None, "dry", "w" * 60)))
    def a_fact_is_kept(self, key, value):
        if len(self.model.facts) < self.limits.facts or key in self.model.facts:
            self.act(self.agent.remember, key, value)

    @rule(share=st.integers(0, 8))
    def the_gateway_confirms(self, share):
        seq = self.agent.log.synced * share // 8
        self.model.confirmed = max(self.model.confirmed, seq)
        self.act(self.agent.confirmed, seq)

    @rule()
    def nothing_else_is_due(self):
        self.act(self.agent.tidy)

    @rule()
    def effects_are_performed(self):
        self.act(self.settle)

    @rule()
    def the_device_restarts(self):
        self.act(self.boot)

    @rule(
        after=st.integers(0, 12),
        byte=st.none() | st.integers(0, 300),
        smear=st.sampled_from((False, True, BACKWARDS)),
        again=st.none() | SMALL,
    )
    def the_power_will_go(self, after, byte, smear, again):
        chip = self.chip
        chip.fuse, chip.byte, chip.smear, chip.again = after, byte, smear, again

    # -- what holds at any time

    @invariant()
    def it_holds(self):
        if self.agent is None:
            return
        try:
            self.check()
        except BaseException:
            self.broken = True
            raise

    def check(self):
        agent, log, model = self.agent, self.agent.log, self.model
        assert [turn.seq for turn in agent.turns] == [ask.seq for ask in model.open()]
        assert log.seq == len(model.records) == agent.state.seq
        assert all(turn.req <= log.synced for turn in agent.turns if turn.state == WAITING)
        assert agent.state.doubt == 0
        model.covered(log)
        for seq, asked in model.accepted.items():
            ask = model.asks[seq]
            assert (ask.session, ask.name, ask.text) == asked, "an accepted ask is lost"

    # -- the end

    def teardown(self):
        """All turns come to their end, and the device still takes asks."""
        if self.agent is None or self.broken:
            return
        self.chip.fuse = None
        for _ in range(200):
            if not self.agent.turns:
                break
            self.go_on()
        assert not self.agent.turns, "a turn does not end"
        assert set(self.model.asks) == set(self.model.told)
        assert all(ask.sent for ask in self.model.asks.values())
        self.act(self.agent.log.sync)
        self.the_device_restarts()
        self.check()
        self.model.confirmed = self.agent.log.seq
        self.agent.confirmed(self.agent.log.seq)
        self.act(self.agent.tidy)
        self.agent.ask("still there?", "main", "last", self.now, 0)

    def go_on(self, calls=()):
        """Whatever is still missing happens; a request without a reply gets one with `calls`."""
        self.act(self.settle)
        for n in range(len(self.agent.turns)):
            turn = self.waiting(n)
            if turn:
                script = self.script(turn, Script(calls, "done", 1))
                self.act(self.reply, turn, script)
                if len(script.data) > self.limits.reply_bytes:
                    self.act(self.pass_time, self.limits.turn_ms)
            self.act(self.settle)
        while self.running:
            self.act(self.finish, min(self.running), r.OK, "5 ml")
            self.act(self.settle)
        while self.flying:
            self.act(self.agent.sent, self.flying.pop(0))


def test_durable_turns():
    run_state_machine_as_test(DurableTurns, settings=SETTINGS)
