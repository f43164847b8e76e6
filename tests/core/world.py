"""One device on a simulated chip, its gateway and its users, and the model that watches them.

Whatever happens goes through `act`, in which the power may go; each thing that happens checks at
once what the device makes of it, as far as that is known beforehand.
"""

import hashlib

import reader
from chip import Chip, PowerCut
from helpers import DEVICE, KEY, bench_tools, make_log, pack_reply, said
from model import Model, packed
from mote import records as r
from mote.agent import Agent, Refused
from mote.state import State
from mote.turn import CALL, PUBLISH, WAITING

RECORD_BYTES = 384
EFFECTS = {"look": r.READ, "put": r.IDEMPOTENT, "pour": r.ONCE}


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

    def __repr__(self):
        return f"Script({self.calls}, {self.text!r}, {self.tokens}, {self.noise})"

    def good(self, index):
        """(effect, tool, arguments) of a call as it must run; None if it must be refused."""
        name, given = self.calls[index]
        if self.noise or name not in EFFECTS or not isinstance(given, dict) or "n" not in given:
            return None
        n = int(given["n"])
        return (EFFECTS[name], name, {"n": n}) if n <= 100 else None


class World:
    """Begin with `create`. `eager`: what is due is done at once."""

    def create(self, chip, limits, eager):
        self.chip, self.limits, self.eager = chip, limits, eager
        self.scripts = {}  # request id: what the gateway says to it
        self.model = Model(limits, self.scripts)
        self.agent = None
        self.broken = False  # an assertion failed: nothing after it means anything
        self.now = 0
        self.unix = 0
        self.safe = 0  # the newest record that was ever safe
        self.boots = 0
        self.boot()

    # -- lives

    def act(self, what, *args):
        """Do it, and what is due then; a power cut on the way begins another life."""
        self.guard(self._act, what, args)

    def _act(self, what, args):
        try:
            what(*args)
            if self.eager:
                self.settle()
        except PowerCut:
            self.chip.power_on()
            self.boot()

    def guard(self, what, *args):
        """Do it, and remember if it failed."""
        try:
            what(*args)
        except BaseException:
            self.broken = True
            raise

    def boot(self):
        """Begin a life on what the chip holds."""
        self.model.bounded = False  # nobody foresaw the BOOT
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
        """Open the log on the chip; the model sees each record that is folded."""
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
        agent.sure = True  # as if a gateway had said so
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
                self.model.published(*effect[1:], said(self.agent, *effect[1:]))
                self.flying.append(effect[1])
                self.wanted.discard(effect[1])
            else:
                self.running[effect[1].seq][1] = True
            effect = self.agent.next_effect()
        assert not self.wanted, "an answer was asked for again and is not told"
        for turn, _ in self.running.values():
            assert turn.running, "a call runs and has a result"

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
        """An ask arrives: refused without a trace, known already, or safe."""
        log, model = self.agent.log, self.model
        before = (log.seq, self.chip.operations, self.chip.programmed)
        model.covered(log)
        known = model.known(name)
        why = self.why_not(text, session, name)
        try:
            seq = self.agent.ask(text, session, name, self.now, self.unix)
        except Refused as e:
            if known:
                assert before[0] == log.seq
                assert known.sent
                assert known.seq < log.oldest()
            else:
                assert before == (log.seq, self.chip.operations, self.chip.programmed)
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
        model.bounded = True
        assert (session, name, text) == (
            model.asks[seq].session,
            model.asks[seq].name,
            model.asks[seq].text,
        )
        model.accepted[seq] = (session, name, text)
        self.until[seq] = self.now + self.limits.turn_ms
        self.bucket -= 1000

    def pass_time(self, ms):
        """The clock goes on; turns that are out of time end, and no others."""
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
        """The end of a reply arrives."""
        return self.agent.reply_end(turn, len(script.data), digest, script.ncalls, script.tokens)

    def piece(self, turn, script, how):
        """One message of a reply, as it may come over a bad wire."""
        script = self.script(turn, script)
        got, seq = turn.got, self.agent.log.seq
        data = script.data[got : got + self.limits.part_bytes]
        if how == "next":
            fits = 0 < len(data) <= self.limits.reply_bytes - got
            assert self.agent.part(turn, got, data) == fits
        elif how == "spoilt":
            if data:
                self.model.spoilt.add(turn.id)
                self.agent.part(turn, got, bytes([data[0] ^ 1]) + data[1:])
        elif how in ("again", "ahead"):
            at = got + 1 if how == "ahead" else got // 2
            data = script.data[at : at + 5]
            assert self.agent.part(turn, at, data) == (at == got and len(data) > 0)
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

    def remember(self, key, value):
        """A fact that no call keeps, so there may be no room for it."""
        if len(self.model.facts) < self.limits.facts or key in self.model.facts:
            self.model.bounded = False
            self.model.remembered.pop(key, None)
            self.agent.remember(key, value)
            self.model.remembered[key] = value

    def cancel(self, session):
        """Somebody cancels a session, or all (None)."""
        due = [ask for ask in self.model.going() if session in (None, ask.session)]
        assert self.agent.cancel(session) == len(due)
        assert all(ask.verdict == (r.CANCELLED, "cancelled") for ask in due)

    def confirm(self, seq):
        """The gateway has the records up to `seq`; it may have lost some since the last time."""
        if seq < self.agent.log.acked:
            self.model.bounded = False
        self.model.confirmed = max(self.model.confirmed, seq)
        self.agent.confirmed(seq)

    # -- many things at once

    def live(self, turns, session, calls, confirm):
        """So many turns one after the other."""
        for _ in range(turns):
            self.act(self.pass_time, 1000)
            self.act(self.ask, "again", session, "%d" % self.agent.log.seq)
            self.go_on(calls)
            self.go_on()
            if confirm:
                self.act(self.confirm, self.agent.log.synced)

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

    def end(self):
        """All turns come to their end, and the device still takes asks."""
        self.chip.fuse = None
        for _ in range(200):
            if not self.agent.turns:
                break
            self.go_on()
        assert not self.agent.turns, "a turn does not end"
        assert set(self.model.asks) == set(self.model.told)
        assert all(ask.sent for ask in self.model.asks.values())
        self.act(self.agent.log.sync)
        self.act(self.boot)
        self.check()
        self.act(self.confirm, self.agent.log.seq)
        self.act(self.agent.tidy)
        self.agent.ask("still there?", "main", "last", self.now, 0)

    # -- what holds at any time

    def check(self):
        """The live state is that of the model, and no accepted ask is lost."""
        agent, log, model = self.agent, self.agent.log, self.model
        assert [turn.seq for turn in agent.turns] == [ask.seq for ask in model.open()]
        assert log.seq == len(model.records) == agent.state.seq
        assert all(turn.req <= log.synced for turn in agent.turns if turn.state == WAITING)
        assert agent.state.doubt == 0
        model.covered(log)
        for key, value in model.remembered.items():
            assert model.facts.get(key) == value, "a fact is lost"
        for seq, asked in model.accepted.items():
            ask = model.asks[seq]
            assert (ask.session, ask.name, ask.text) == asked, "an accepted ask is lost"
