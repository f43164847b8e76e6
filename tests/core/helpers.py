"""What the portable tests share: randomness that repeats, and a device on a chip to drive."""

import hashlib

from chip import Chip, PowerCut  # noqa: F401 (the tests find it here)
from mote import records as r
from mote import wire
from mote.agent import Agent
from mote.log import HEAD, Log, Lost, chain, genesis
from mote.lookup import GONE
from mote.msgpack import Packer, Unpacker
from mote.tools import Toolset, integer, tool
from mote.turn import CALL, PUBLISH, STOP, Limits

KEY = bytes(range(32))
HEADER = 64  # bytes of a segment's header (FORMAT.md)
OVERHEAD = 9  # bytes of a frame around its payload
DEVICE = "bench"


def raises(exc, fn, *args):
    """The exception of class `exc` that the call raises; fails if it raises none."""
    try:
        fn(*args)
    except exc as error:
        return error
    raise AssertionError(f"{exc.__name__} was not raised")


class Random:
    """A linear congruential generator: the same numbers on every runtime."""

    def __init__(self, seed):
        self._state = seed

    def below(self, n):
        """0 <= result < n, n of at most 65536."""
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._state >> 15) % n

    def bytes(self, n):
        """`n` bytes."""
        return bytes([self.below(256) for _ in range(n)])


def make_log(chip, record_bytes=256, device=DEVICE):
    """An unopened log of the bench device."""
    return Log(chip, genesis(device), wire.subkey(KEY, "log").sign, record_bytes)


def nothing(*_):
    """Takes whatever it is given."""


def opened(chip, record_bytes=256, visit=nothing, device=DEVICE):
    """An open log of the bench device."""
    log = make_log(chip, record_bytes, device)
    log.open(nothing, visit)
    return log


def records_of(chip, record_bytes=256):
    """[(kind, payload)] of all records on the chip, which stays as it is."""
    return kept(opened(chip.copy(), record_bytes))


def kept(log):
    """[(kind, payload)] of all records that an open log has; those in a hole are left out."""
    found = []
    for seq in range(log.oldest(), log.seq + 1):
        try:
            frame = log.frame(seq)
        except Lost:
            continue
        found.append((frame[2], bytes(frame[HEAD:])))
    return found


def chain_holds(log):
    """True if the hashes of all records that are kept follow one another up to the head."""
    h = log.hash_at(log.oldest() - 1)
    for seq in range(log.oldest(), log.seq + 1):
        h = chain(h, log.frame(seq))
        if log.hash_at(seq) != h:
            return False
    return h == log.head


def pack_reply(calls, text=""):
    """A model's reply: `calls` is [(tool, arguments)], the text follows."""
    p = Packer(bytearray(4096 + 4 * len(text)))
    for name, args in calls:
        p.array(2).str(name).value(args)
    return bytes(p.raw(text.encode()).taken())


def bench_tools(runs):
    """Three tools, one of each effect class; `runs` gets (name, n) when one runs."""

    def note(name):
        def run(n):
            runs.append((name, n))
            return n

        return run

    declared = []
    for name, effect in (("look", r.READ), ("put", r.IDEMPOTENT), ("pour", r.ONCE)):
        made = tool("Bench tool.", effect, integer("n", 0, 100))(note(name))
        made.name = name
        declared.append(made)
    return Toolset(declared)


class Bench:
    """A device on a chip: opens its log, performs effects, keeps what was published.

    Every `Bench` on the same chip is the next life of the same device. `prepare(bench)` is called
    before the agent is opened.
    """

    def __init__(
        self, chip, runs=None, now_ms=0, limits=None, record_bytes=1024, prepare=lambda b: None
    ):
        self.chip = chip
        self.runs = [] if runs is None else runs
        self.published = []  # (seq of the ASK, seq of the ANSWER), (session, id, how, text)
        self.held = []  # turns whose tool runs, if `hold`
        self.hold = False
        self.eager = False  # sync before each call, as an upload would
        self.told = None  # what tools return, if not what they were given
        self.stopped = []
        self.now_ms = now_ms
        self.log = make_log(chip, record_bytes)
        self.agent = Agent(self.log, bench_tools(self.runs), limits or Limits())
        prepare(self)
        self.agent.open(now_ms, b"12345678", ["pump"], "test")
        self.agent.sure = True  # as if a gateway had said so

    def ask(self, text="do it", session="s", name="a1"):
        """Ask; returns the number of the ASK."""
        return self.agent.ask(text, session, name, self.now_ms, 0)

    def turn(self, seq):
        """The open turn of that ASK, or None."""
        for turn in self.agent.turns:
            if turn.seq == seq:
                return turn
        return None

    def settle(self, acknowledge=True):
        """Perform effects until none is due; answers are acknowledged at once if told so."""
        effect = self.agent.next_effect()
        while effect:
            if effect[0] == CALL:
                self._call(effect[1], effect[2], effect[3])
            elif effect[0] == STOP:
                self.stopped.append(effect[1].seq)
                self.agent.result(effect[1], r.STOPPED, "stopped")
            else:
                assert effect[0] == PUBLISH
                self.published.append((effect[1:], said(self.agent, effect[1], effect[2])))
                if acknowledge:
                    self.agent.sent(effect[1])
            effect = self.agent.next_effect()

    def _call(self, turn, tool_, args):
        if self.hold:
            self.held.append(turn)
            return
        if self.eager:
            self.log.sync()
        value = tool_.run(**args)
        self.agent.result(turn, r.OK, str(value) if self.told is None else self.told)

    def reply(self, turn, calls, text="", tokens=10, part=32):
        """Give the reply that `turn` waits for, whole."""
        data = pack_reply(calls, text)
        for at in range(turn.got, len(data), part):
            assert self.agent.part(turn, at, data[at : at + part])
        assert self.agent.reply_end(turn, len(data), digest16(data), len(calls), tokens)


def said(agent, seq, answer):
    """(session, id, how, text) of an answer, the text whole."""
    session, name, how, text = agent.answer(seq, answer)
    if not isinstance(text, str):
        try:
            body, data = text(), b""
            buf = memoryview(bytearray(64))
            n = body.fill(buf)
            while n:
                data += bytes(buf[:n])
                n = body.fill(buf)
            text = data.decode()
        except Lost:
            how, text = r.FAILED, GONE
    return session, name, how, text


def digest16(data):
    """The digest that travels with a reply."""
    return hashlib.sha256(data).digest()[:16]


def bench(**limits):
    """A `Bench` on a fresh chip, with these limits."""
    chosen = Limits()
    for name, value in limits.items():
        assert hasattr(Limits, name), name
        setattr(chosen, name, value)
    return Bench(Chip(4, 8, 32768), limits=chosen)


def kinds(b):
    """The kinds of all records."""
    b.log.sync()
    return [kind for kind, _ in records_of(b.chip, b.log.record_bytes)]


def answers(b):
    """[(how, text)] of what was published."""
    return [(how, text) for _, (_, _, how, text) in b.published]


def texts_of_results(b):
    """[(status, text)] of all RESULT records."""
    b.log.sync()
    found = []
    for kind, data in records_of(b.chip, b.log.record_bytes):
        if kind == r.RESULT:
            found.append(tuple(Unpacker(bytearray(data)).value()[2:4]))
    return found
