"""The bounds that `Limits` states are bounds: of a checkpoint, and of what one turn writes."""

from chip import Chip
from helpers import Bench, digest16, make_log, nothing, pack_reply
from mote import records as r
from mote.state import State
from mote.tools import Toolset, text, tool
from mote.turn import ANSWERED, Limits, Turn

UNITS = (1, 4, 16, 256)
MOST = (1 << 32) - 1
CALL_TEXT = 490  # characters of an argument: a call of the reply has 512 bytes at most

# -- a checkpoint


def limits_of(open_turns, seen_asks, sessions, facts):
    """The largest numbers, but for the lists."""
    limits = Limits()
    for name in limits._NAMES:
        setattr(limits, name, MOST)
    limits.open_turns, limits.seen_asks = open_turns, seen_asks
    limits.sessions, limits.facts = sessions, facts
    return limits


def full_turn():
    """A turn that takes as many bytes as one can."""
    turn = Turn(MOST, "s" * 32, b"k" * 8)
    for name in turn.__dict__:
        if getattr(turn, name) == 0:
            setattr(turn, name, MOST)
    turn.id = b"i" * 16
    turn.state, turn.effect, turn.ending = ANSWERED, r.ONCE, r.END
    turn.running = turn.interrupted = turn.lost = True
    return turn


def full_state(limits):
    """The largest state within those limits."""
    state = State(limits)
    state.epoch = state.unix_s = state.doubt = MOST
    state.forgot = 1
    state.taken = [MOST] * 3
    state.turns = [full_turn() for _ in range(limits.open_turns)]
    state.seen = [[b"k" * 8, MOST, MOST] for _ in range(limits.seen_asks)]
    state.sessions = [["s" * 32, MOST] for _ in range(limits.sessions)]
    state.facts = [["f" * 32, MOST] for _ in range(limits.facts)]
    return state


def checkpoint_bytes(unit, limits):
    """What the first segment takes up before its first record, which is not programmed yet."""
    chip = Chip(unit, 3, 65536)
    log = make_log(chip, 1024)
    log.checkpoint = full_state(limits).pack
    log.open(nothing, nothing)
    log.acked = MOST
    log.owed = [MOST - 1, MOST, bytes(32), bytes(32), r.DAMAGED]
    log.append(r.SENT, b"")
    return chip.programmed


def test_no_checkpoint_is_over_the_bound_whatever_it_is_full_of():
    every = ((8, 32, 16, 16), (1, 1, 1, 0), (64, 256, 64, 64))
    one = ((200, 1, 1, 0), (1, 1024, 1, 0), (1, 1, 1024, 0), (1, 1, 1, 1024))
    for numbers in every + one:
        limits = limits_of(*numbers)
        for unit in UNITS:
            used = checkpoint_bytes(unit, limits)
            assert used <= limits.checkpoint_bytes(), (numbers, unit, used)


# -- a turn


class Busy(Bench):
    """A device whose one tool takes and returns as much as it may; each record is synced."""

    def __init__(self, unit, limits):
        super().__init__(Chip(unit, 3, 65536), limits=limits)
        say = tool("Say it.", r.ONCE, text("what", CALL_TEXT))(lambda what: what)
        say.name = "say"
        self.agent.tools = Toolset([say])
        self.told = "y" * (2 * limits.result_bytes)
        append = self.log.append

        def synced(kind, payload):
            seq = append(kind, payload)
            self.log.sync()
            return seq

        self.log.append = synced

    def reply_with(self, turn, calls):
        """A reply that is as long as it may be, in parts of `part_bytes`."""
        limits = self.agent.limits
        data = pack_reply([("say", {"what": "w" * CALL_TEXT})] * calls)
        data += b"z" * (limits.reply_bytes - len(data))
        assert len(data) == limits.reply_bytes
        for at in range(0, len(data), limits.part_bytes):
            assert self.agent.part(turn, at, data[at : at + limits.part_bytes])
        assert self.agent.reply_end(turn, len(data), digest16(data), calls, 1)


def turn_bytes(unit, limits):
    """Bytes that a turn programs that uses all it may."""
    b = Busy(unit, limits)
    before = b.chip.programmed
    seq = b.ask("x" * limits.ask_bytes, "s" * 32, "i" * 64)
    b.settle(acknowledge=False)
    while b.turn(seq).state != ANSWERED:
        b.reply_with(b.turn(seq), limits.calls // limits.steps)
        b.settle(acknowledge=False)
    b.agent.sent(seq)
    assert b.agent.turns == []
    assert len(b.log.segments()) == 1, "a checkpoint would count as well"
    return b.chip.programmed - before


def test_no_turn_writes_more_than_the_bound():
    # of steps, calls, bytes of a reply and of a part
    for numbers in ((3, 6, 2048, 512), (1, 1, 512, 512), (1, 8, 4096, 512), (3, 6, 2048, 96)):
        limits = Limits()
        limits.steps, limits.calls, limits.reply_bytes, limits.part_bytes = numbers
        for unit in UNITS:
            used = turn_bytes(unit, limits)
            assert used <= limits.worst_turn(unit), (numbers, unit, used)
            assert used > limits.worst_turn(unit) // 2, (numbers, unit, used)
