"""One turn: from an ask to the answer that somebody acknowledged.

    NEW ----REQ----> WAITING --REPLY_END--> CALLING <--START / RESULT--> (running)
     ^                  | FAIL                 |
     +-- results in ----|----------------------+  calls left: next call; none in the reply: done
                        v
     any state but ANSWERED --ANSWER--> ANSWERED --SENT--> closed, and forgotten

CANCEL, TIMEOUT, FAIL and END only note why the turn must end (`ending`): what runs is stopped and
recorded first. `Turn.apply` is the one place where a turn changes, and records are all that
changes it; `decide` says from the state alone what is due.
"""

from . import records as r
from .const import const
from .msgpack import FormatError
from .segments import ITEM, OVERHEAD

NEW = const(0)
WAITING = const(1)
CALLING = const(2)
ANSWERED = const(3)

# what `decide` may say is due
NOTHING = const(0)
REQUEST = const(1)  # record a model request
CALL = const(2)  # run the call at `index`
STOP = const(3)  # stop the call that runs
FORGET = const(4)  # record that the outcome of an interrupted call is not known
FINISH = const(5)  # record the answer
PUBLISH = const(6)  # send the answer


class Limits:
    """What a turn and the device may use. Every number is a bound, stated in `moted.toml`."""

    open_turns = 8
    steps = 8  # model requests a turn
    calls = 16  # tool calls a turn
    tokens = 50000  # a turn, as the provider counts them
    turn_ms = 300000
    restarts = 5  # of the device during one turn
    ask_bytes = 768
    result_bytes = 512
    reply_bytes = 4096
    asks_per_hour = 600
    asks_burst = 10
    seen_asks = 32  # ask ids that are remembered
    sessions = 16  # sessions whose newest ask is remembered
    facts = 16
    # not in the log: how it is used
    part_bytes = 512  # of a reply in one message and one record
    drop = False  # a full ring drops what the gateway does not have yet

    _NAMES = (
        "open_turns",
        "steps",
        "calls",
        "tokens",
        "turn_ms",
        "restarts",
        "ask_bytes",
        "result_bytes",
        "reply_bytes",
        "asks_per_hour",
        "asks_burst",
        "seen_asks",
        "sessions",
        "facts",
    )

    def values(self):
        """All that the fold depends on, in the order of FORMAT.md."""
        return [getattr(self, name) for name in self._NAMES]

    @classmethod
    def of(cls, values):
        """The limits of which `values` is the list; what it lacks is as by default.

        Raises FormatError if it is no list of numbers.
        """
        made = cls()
        if not isinstance(values or [], (list, tuple)):
            raise FormatError("limits are a list")
        for i in range(min(len(values or ()), len(cls._NAMES))):
            if not isinstance(values[i], int) or values[i] < 0:
                raise FormatError("%s is no number" % cls._NAMES[i])
            setattr(made, cls._NAMES[i], values[i])
        return made

    def checkpoint_bytes(self):
        """Bytes of the largest checkpoint, header, framing and padding included."""
        items = self.open_turns * 132 + self.seen_asks * 23 + 255
        items += self.sessions * 42 + self.facts * 42
        return items + items // ITEM * OVERHEAD + 128 + 256

    def worst_turn(self, unit):
        """Bytes of log that one turn can need at most, framing and padding included.

        The gateway is trusted to send parts of `part_bytes`.
        """
        parts = self.reply_bytes // self.part_bytes + 2
        step = self.reply_bytes + parts * (32 + unit) + 160 + 3 * unit
        call = self.result_bytes + 640 + 2 * unit
        return self.ask_bytes + self.steps * step + self.calls * call + 512 + 4 * unit


class Turn:
    """The state of one open turn."""

    def __init__(self, seq, session, key):
        self.seq = seq  # of its ASK
        self.session = session
        self.key = key  # hash of the ask's id, or None
        self.state = NEW
        self.req = 0  # of the newest REQ,
        self.id = b""  # and its chain hash, 16 bytes
        self.got = 0  # bytes of its reply in the log
        self.ncalls = 0  # calls in its reply
        self.index = 0  # of the call that is next or runs
        self.running = False
        self.interrupted = False  # the device stopped while it ran
        self.effect = 0
        self.steps = 0
        self.calls = 0
        self.tokens = 0
        self.restarts = 0
        self.ending = 0  # the kind of the record that says that it must end,
        self.ended = 0  # and its number
        self.answer = 0  # sequence number of the ANSWER
        self.lost = False  # records were lost since its REQ
        self.origin = 0  # the number that its ASK had, if the gateway gave that back
        # not state: what the driver was given and the timers that it runs
        self.issued = False
        self.until_ms = 0
        self.ask_at_ms = 0

    def pack(self, p):
        """Write it behind the tag of an item (FORMAT.md, "Checkpoint")."""
        p.int(self.seq).str(self.session).bin(self.key).int(self.state).int(self.req).bin(self.id)
        p.int(self.got).int(self.ncalls).int(self.index)
        p.int(self.running | self.interrupted << 1 | self.lost << 2).int(self.effect)
        p.int(self.steps).int(self.calls).int(self.tokens).int(self.restarts)
        p.int(self.ending).int(self.ended).int(self.answer).int(self.origin)

    @classmethod
    def unpack(cls, item):
        """The turn that `pack` wrote, from the item as a list."""
        turn = cls(item[1], item[2], item[3])
        turn.state, turn.req, turn.id, turn.got, turn.ncalls, turn.index = item[4:10]
        flags = item[10]
        turn.running, turn.interrupted = bool(flags & 1), bool(flags & 2)
        turn.lost = bool(flags & 4)
        turn.effect, turn.steps, turn.calls, turn.tokens, turn.restarts = item[11:16]
        turn.ending, turn.ended, turn.answer = item[16:19]
        turn.origin = item[19] if len(item) > 19 else 0
        return turn

    def apply(self, kind, seq, h, u):
        """Fold one record of this turn in; `u` stands behind the field that named the turn."""
        self.issued = False
        if kind == r.REQ:
            self.state, self.req, self.id = WAITING, seq, h[:16]
            self.got = self.ncalls = self.index = 0
            self.lost = False  # what the new reply orders was never begun
            self.steps += 1
            self.ask_at_ms = 0  # what the last request had to wait for is over
        elif kind == r.PART:
            self.got += len(u.bin())
        elif kind == r.REPLY_END:
            u.value()
            u.value()
            self.state, self.ncalls = CALLING, u.int()
            self.tokens += u.int()
        elif kind == r.START:
            u.value()
            self.effect = u.int()
            self.running = True
            self.calls += 1
        elif kind == r.RESULT:
            if not self.running:  # rejected: it counts as well
                self.calls += 1
            self.running = self.interrupted = False
            self.index += 1
        elif kind == r.ANSWER:
            self.state, self.answer = ANSWERED, seq
        elif not self.ending:  # FAIL, CANCEL, TIMEOUT, END
            self.ending, self.ended = kind, seq

    def boot(self):
        """The device started again."""
        self.issued = False
        self.restarts += 1
        self.interrupted = self.running

    def gap(self):
        """Records are lost, of this turn perhaps."""
        self.issued = False
        self.lost = True
        self.interrupted = self.running
        if self.state == WAITING:
            self.state = NEW  # nobody knows the id of its request any more


def over_limit(turn, limits):
    """Which limit keeps the turn from taking the next step, in words; None if none does."""
    most, what = limits.restarts, "restarts"
    if turn.restarts <= most:
        most, what = limits.tokens, "tokens"
        if turn.tokens <= most:
            used, most, what = turn.steps, limits.steps, "steps"
            if turn.state == CALLING and turn.index < turn.ncalls:
                used, most, what = turn.calls, limits.calls, "tool calls"
            if turn.state == WAITING or used < most:
                return None
    return "limit of %d %s" % (most, what)


def decide(turn, limits):
    """What is due for the turn: a function of its state and nothing else."""
    if turn.state == ANSWERED:
        return PUBLISH
    if turn.running:
        # what restarts the device whenever it runs must not run for ever
        worn = turn.ending or turn.restarts > limits.restarts
        if turn.interrupted and (worn or turn.effect == r.ONCE):
            return FORGET
        return STOP if turn.ending else CALL
    if turn.ending:
        return FINISH
    if turn.state == CALLING and turn.ncalls == 0:
        return FINISH
    if over_limit(turn, limits):
        return FINISH
    if turn.state == WAITING:
        return NOTHING
    return CALL if turn.state == CALLING and turn.index < turn.ncalls else REQUEST
