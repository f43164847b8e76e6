"""What is around a device and outlives its lives, and holds each of them against the ones before.

Portable. `World` notes whatever leaves the device, with the record on which that depends, and has
a shadow: each record's hash and the state behind it, as they were when it was appended. When a
life was cut off, the next one on the same medium is held against all that: `Broken` says what
does not fit.
"""

from helpers import DEVICE
from mote import records as r
from mote.log import genesis
from mote.turn import Limits

# Fields of a turn: those that follow from the log, and those of one life. That a call was
# interrupted counts only behind a BOOT, which says it anew.
TURN_STATE = "seq session key state req id got ncalls index running effect steps calls tokens"
TURN_STATE = tuple((TURN_STATE + " restarts ending ended answer lost origin").split())
NOT_STATE = ("interrupted", "issued", "until_ms", "ask_at_ms")

# (session, what the model replies in each step: calls and text, what happens besides)
PLANS = (
    ("a", (("pour", "look", "put"), ("pour",), ()), ""),
    ("b", (("keep", "none"), ()), "lost"),
    ("a", (("look",), ()), "cancel"),
    ("c", (("pour", "keep"), ()), "twice"),
    ("b", (("pour",), ()), "stop"),
    ("a", ((),), "refused"),
    ("c", (("put",), ()), "fail"),
    ("d", (("keep", "pour"), ()), "late"),
    ("a", (("pour", "pour"), ()), "end"),
    ("b", (("put", "look"), ()), ""),
)
ENDS = {"cancel": r.CANCELLED, "stop": r.CANCELLED, "fail": r.FAILED, "end": r.FAILED}
ENDS["late"] = r.LIMITED
OUT = "out of memory"


class Broken(AssertionError):
    """A promise that was not kept; `what` is one word: lost, once, state, answer ..."""

    def __init__(self, what, text):
        super().__init__(what, text)  # as given: it goes from one process to another
        self.what = what


def hold(what, kept, text):
    """Raise Broken unless `kept`."""
    if not kept:
        raise Broken(what, str(text))


def dump(state):
    """What the state says, to be compared."""
    turns = [tuple([getattr(turn, name) for name in TURN_STATE]) for turn in state.turns]
    rows = [tuple(row) for rows in (state.seen, state.sessions, state.facts) for row in rows]
    mine = (state.seq, state.epoch, state.unix_s, state.doubt, state.forgot)
    # no method of the product: what is raised in one on purpose must not be raised in here
    return mine, turns, rows, [getattr(state.limits, name) for name in Limits._NAMES]


class World:
    """All that is not on the device. `copy` is the world at that moment."""

    def __init__(self):
        self.asked = []  # numbers of the asks, in order
        self.took = []  # those that the device acknowledged
        self.heard = {}  # number: (how, text) of the answer
        self.once = []  # things that happen once: (what, number)
        self.runs = []  # (tool, n), n is a number of its own for each call of each reply
        self.facts = {}  # key: [value that is remembered, value that may be]
        self.left = 0  # the newest record on which anything outside depends
        self.safe = 0  # the newest that the log called safe
        self.shadow = [(genesis(DEVICE), None)]  # (hash, state behind it) by record
        self.now_ms = 0
        self.out = False  # memory may be short: a turn may end because of that
        self.opening = False  # records are read, not appended
        self.log = None  # of the present life
        self.watch = None  # called when something leaves the device

    def copy(self):
        """An equal world, nobody watching."""
        other = World()
        other.asked, other.took, other.once = self.asked[:], self.took[:], self.once[:]
        other.runs, other.shadow = self.runs[:], self.shadow[:]
        other.heard = dict(self.heard)
        for key in self.facts:
            other.facts[key] = self.facts[key][:]
        other.left, other.now_ms, other.out = self.left, self.now_ms, self.out
        other.safe = self.known_safe()
        return other

    def known_safe(self):
        """The newest record that any life called safe."""
        return max(self.safe, self.log.synced) if self.log else self.safe

    def happens(self, what, number):
        """True the first time."""
        first = (what, number) not in self.once
        if first:
            self.once.append((what, number))
        return first

    def depends(self, seq):
        """Something leaves the device that could not be without record `seq`."""
        hold("early", self.log.synced >= seq, "record %d is not safe and is told" % seq)
        self.left = max(self.left, seq)
        if self.watch:
            self.watch()

    def folded(self, seq, h, state):
        """A record was appended, or read when the log was opened."""
        if seq < len(self.shadow):
            hold("chain", self.shadow[seq][0] == h, "record %d is another one" % seq)
        else:
            hold("chain", not self.opening, "nobody appended record %d" % seq)
            hold("chain", seq == len(self.shadow), "record %d comes too soon" % seq)
            self.shadow.append((h, dump(state)))

    def catch_up(self):
        """Note what was appended when there was no memory to note it."""
        for seq in range(len(self.shadow), self.log.seq + 1):
            self.shadow.append((self.log.hash_at(seq), None))

    def opened(self, log, state, sound=True):
        """The log was opened, nothing has been appended yet. `sound`: no bit may be lost."""
        least = max(self.left, self.safe)
        hold("lost", log.seq >= least, "%d records of %d" % (log.seq, least))
        hold("chain", log.seq < len(self.shadow), "%d records, too many" % log.seq)
        h, was = self.shadow[log.seq]
        hold("chain", log.head == h, "record %d has another hash" % log.seq)
        state.seq = log.seq
        now = dump(state)
        hold("state", was is None or now == was, (now, was))
        hold("notes", not sound or not log.notes, log.notes)
        hold("notes", not log.owed or log.owed[4] == r.DROPPED, log.owed)
        self.shadow = self.shadow[: log.seq + 1]
        self.log, self.safe = log, least

    def run(self, name, n):
        """A tool runs."""
        if self.watch:
            self.watch()
        hold("once", name != "pour" or (name, n) not in self.runs, "call %d ran twice" % n)
        self.runs.append((name, n))
        if self.watch:
            self.watch()

    def hear(self, number, how, text):
        """An answer arrives."""
        plan = PLANS[number % len(PLANS)]
        if how == r.DONE:
            right = text == "answer %d" % number
        else:
            right = how == ENDS.get(plan[2]) or (self.out and (how, text) == (r.FAILED, OUT))
        hold("answer", right, "ask %d: %d %s" % (number, how, text))
        before = self.heard.get(number, (how, text))
        hold("answer", before == (how, text), "ask %d: %s and %s" % (number, before, text))
        self.heard[number] = (how, text)
