"""Lives of a device to which everything happens, and its state to compare. Portable."""

from chip import Chip
from helpers import Bench, kept, make_log, raises
from mote import records as r
from mote.agent import Refused
from mote.msgpack import Packer
from mote.state import State
from mote.turn import Limits

TURN = ("seq", "session", "key", "state", "req", "id", "got", "ncalls", "index", "running")
TURN += ("interrupted", "effect", "steps", "calls", "tokens", "restarts", "ending", "ended")
TURN += ("answer", "lost", "origin")
STATE = ("seq", "epoch", "unix_s", "doubt", "forgot", "taken")


POURED, POURING = 6, 5  # what the pump of `small_log` did, and what it does


def few():
    """Limits under which a turn fits a small chip, and all that is bounded is soon full."""
    limits = Limits()
    limits.seen_asks, limits.steps, limits.calls, limits.reply_bytes = 3, 4, 8, 512
    limits.sessions, limits.facts, limits.ask_bytes, limits.result_bytes = 4, 3, 64, 64
    return limits


def small_ring(segments=64):
    """A chip whose segments are full after a few records of at most 256 bytes."""
    return Chip(4, segments, 1024)


def life(chip, runs=None):
    """The next life; the ring is too small for the limits, but the turns are small too."""
    b = Bench(chip, runs, limits=few(), record_bytes=256)
    b.log.room = lambda keep: 1 << 20
    return b


def small_log(used, size):
    """A chip with a call that runs, one that ran, a turn that waits, and a fact.

    Returns it and its records, in that many segments; the last one is not of these turns.
    """
    chip = Chip(4, used + 2, size)
    b = life(chip)
    one = b.ask("x", "a", "1")
    b.settle()
    b.reply(b.turn(one), [("pour", {"n": POURED})])
    b.settle()
    b.hold = True
    b.reply(b.turn(one), [("pour", {"n": POURING})])
    b.settle()
    b.ask("y", "b", "2")
    b.settle()
    b.agent.remember("moss", "wet")
    while len(b.log.segments()) < used:
        b.agent.remember("moss", "wetter than %d" % b.log.seq)
    for n in range(3):
        b.agent.remember("fern", "dry %d" % n)
    assert ("pour", POURED) in b.runs
    assert len(b.log.segments()) == used
    return chip, kept(b.log)


def look(chip):
    """The state and the log as opening finds them."""
    state = State(few())
    log = make_log(chip, 256)
    log.checkpoint = state.pack
    log.open(state.restore, state.fold)
    return state, log


def state_of(state):
    """All that is state, to compare."""
    turns = [tuple([getattr(turn, name) for name in TURN]) for turn in state.turns]
    lists = [[tuple(row) for row in rows] for rows in (state.seen, state.sessions, state.facts)]
    return [getattr(state, name) for name in STATE], state.limits.values(), turns, lists


def record(b, kind, *fields):
    """Append a record that only a damaged log or another core would have."""
    p = Packer(bytearray(256)).array(len(fields))
    for field in fields:
        p.value(field)
    payload = p.taken()
    seq = b.log.append(kind, payload)
    b.agent.state.fold(seq, b.log.head, kind, payload)
    return seq


def busy(chip, after, lives=4, record_bytes=1024):
    """Live `lives` lives; `after(b, seq, h, kind, payload)` is called behind each new record."""
    newest = [0]

    def listen(b):
        fold = b.agent.state.fold

        def listening(seq, h, kind, payload):
            payload = bytes(payload)
            fold(seq, h, kind, payload)
            if seq > newest[0]:
                newest[0] = seq
                after(b, seq, h, kind, payload)

        b.agent.state.fold = listening

    for life in range(lives):
        b = Bench(chip, limits=few(), record_bytes=record_bytes, prepare=listen)
        b.log.room = lambda keep: 1 << 20  # the ring is small, but so are the turns
        (_first, _second, _third, _more)[min(life, 3)](b, life)
        b.agent.confirmed(b.log.seq)
        b.log.sync()


def _first(b, _):
    one, two, three = b.ask("x", "a", "1"), b.ask("y", "b", ""), b.ask("z", "c", "3")
    b.settle()
    b.reply(b.turn(one), [("look", {"n": 1}), ("none", {}), ("put", {"n": 2})], part=8)
    b.settle()
    b.agent.cancel("b")
    b.settle(acknowledge=False)
    b.agent.fail(b.turn(three), "not today")
    b.settle()
    b.agent.remember("moss", "under the bench")
    b.agent.remember("fern", "window")
    b.hold = True
    b.reply(b.turn(one), [("pour", {"n": 1})])
    b.settle()
    assert b.turn(two).answer
    assert b.turn(one).running


def _second(b, _):
    one = b.turn(b.ask("x", "a", "1"))
    b.agent.part(one, 0, b"\x92\xa4look")
    b.settle()
    assert one.interrupted is False
    b.agent.part(one, 0, b"\x92")
    b.agent.remember("fern", None)
    four = b.ask("w", "d", "4")
    b.settle()
    gap = record(b, r.GAP, 1, 2, bytes(32), bytes(32), r.DAMAGED)
    assert b.turn(four).lost
    b.settle()
    b.agent.end(four, "nobody knows")
    b.settle()
    b.agent.confirmed(gap - 1)
    assert b.agent.state.doubt == gap


def _third(b, _):
    raises(Refused, b.ask, "", "a", "9")
    b.ask("more", "a", "4.2")
    b.agent.ask("more", "a", "5", b.now_ms, 1700000000)
    b.agent.tick(10**9)
    b.settle()
    b.hold = True
    six = b.ask("more", "f", "6")
    b.settle()
    b.reply(b.turn(six), [("look", {"n": 2}), ("pour", {"n": 3})], "", 5, 8)
    b.settle()


def _more(b, life):
    """A few turns, some of which stay open for the next life."""
    for turn in b.agent.turns[:]:
        if turn.restarts > 1:
            b.agent.end(turn.seq, "too old")
    b.settle()
    for n in range(3):
        b.now_ms += 20000
        seq = b.ask("go on", "s%d" % ((life + n) % 7), "%d.%d" % (life, n) if n else "")
        b.settle()
        turn = b.turn(seq)
        if turn.state == 1 and n < 2:
            b.reply(turn, [("put", {"n": n})], "", 1, 16)
            b.settle(acknowledge=False)
            if b.turn(seq).state == 1:
                b.reply(b.turn(seq), [], "done %d" % life)
                b.settle(acknowledge=n == 0)
    b.agent.remember("life", "%d" % life)
