"""The agent's state: the fold of all records so far, and its form in a checkpoint.

`fold` is the only place where it changes, and all that it sees is records. `pack` writes it as
items into a checkpoint, `restore` takes them back (FORMAT.md, "Checkpoint"): the fold of the
records behind a checkpoint on the state in it is the fold of all. Every list is bounded by a
limit, so that the largest state is known in advance.
"""

import hashlib

from . import records as r
from .const import const
from .msgpack import FormatError, Unpacker
from .turn import Limits, Turn

_KNOWN = const(17)  # the highest kind that this core knows
_TURN_KINDS = (r.REQ, r.ANSWER, r.SENT, r.CANCEL, r.TIMEOUT, r.END)  # others name the REQ

# tags of items
_STATE = const(1)
_TURN = const(2)
_SEEN = const(3)
_SESSION = const(4)
_FACT = const(5)


class UnknownRecord(Exception):
    """The log holds a record that this core must understand and doesn't."""


class State:
    """What follows from the log. `limits` are those of the newest BOOT."""

    def __init__(self, limits):
        self.limits = limits
        self.seq = 0  # the newest record that was folded
        self.epoch = 0
        self.unix_s = 0  # the newest time that a record told
        self.doubt = 0  # the GAP behind which nothing is confirmed yet
        self.forgot = 0  # 1 if a session had to go for another one
        # of the records that the gateway gives back: the last, and what is due next of which
        self.taken = [0, 0, 0]
        self.turns = []  # open ones, oldest first
        self.seen = []  # [key, seq of the ASK, seq of the ANSWER or 0], oldest first
        self.sessions = []  # [name, seq of its newest ASK], least recently used first
        self.facts = []  # [key, seq of its FACT]

    # -- in a checkpoint

    def pack(self, item):
        """Pack all into Packers that `item()` gives, one for each item."""
        p = item().array(9).int(_STATE).int(self.epoch).int(self.unix_s)
        p.int(self.doubt).int(self.forgot).value(self.limits.values())
        for number in self.taken:
            p.int(number)
        for turn in self.turns:
            turn.pack(item().array(20).int(_TURN))
        for key, ask, answer in self.seen:
            item().array(4).int(_SEEN).bin(key).int(ask).int(answer)
        for tag, rows in ((_SESSION, self.sessions), (_FACT, self.facts)):
            for name, seq in rows:
                item().array(3).int(tag).str(name).int(seq)

    def restore(self, item):
        """Take back one item, a list. What this core does not know is skipped."""
        if not isinstance(item, list):
            raise TypeError
        tag = item[0]
        if tag == _STATE:
            self.epoch, self.unix_s, self.doubt, self.forgot = item[1:5]
            self.limits = Limits.of(item[5])
            self.taken = item[6:9] or self.taken
        elif tag == _TURN:
            self.turns.append(Turn.unpack(item))
        elif tag == _SEEN:
            self.seen.append(item[1:4])
        elif tag == _SESSION:
            self.sessions.append(item[1:3])
        elif tag == _FACT:
            self.facts.append(item[1:3])

    # -- the fold

    def fold(self, seq, h, kind, payload):
        """Fold one record in. Raises UnknownRecord."""
        u = Unpacker(payload)
        try:
            n = u.array(1)
            if kind == r.BOOT:
                self._boot(u, n)
            elif kind == r.ASK:
                self._ask(seq, h, u, n)
            elif kind in (r.GAP, r.TRUST):
                self._trust(seq, kind, u)
            elif kind == r.FACT:
                self.know(seq, u.str(), u.value())
            elif kind == r.RECOVERED:
                self._recover(seq, u)
            elif kind <= _KNOWN:
                self._of_turn(seq, h, kind, u)
            elif not kind & r.IGNORABLE:
                raise UnknownRecord("record %d: unknown kind %d" % (seq, kind))
        except FormatError as e:
            raise UnknownRecord("record %d: %s" % (seq, e))
        self.seq = seq

    def _boot(self, u, n):
        self.epoch = u.int()
        if n > 4:
            u.bin()
            u.value()
            u.value()
            self.limits = Limits.of(u.value())
        for turn in self.turns:
            turn.boot()

    def _ask(self, seq, h, u, n):
        session, name = u.str(), u.str()
        u.value()
        if n > 3:
            self.unix_s = max(self.unix_s, u.int())
        key = key_of(name) if name else h[:8]
        self.turns.append(Turn(seq, session, key))
        if name:
            self.saw(key, seq)
        self._use(session, seq)

    def saw(self, key, seq):
        """An ask with the id of that key was taken, in record `seq`."""
        self.seen.append([key, seq, 0])
        while len(self.seen) > self.limits.seen_asks:
            self.seen.pop(0)

    def answered(self, ask, seq):
        """Record `seq` is the answer to ask `ask`."""
        for entry in self.seen:
            if entry[1] == ask:
                entry[2] = seq

    def _recover(self, seq, u):
        from . import recovered  # few logs ever lose anything

        number, kind, data = recovered.fold(self, seq, u)
        if kind in (r.ASK, r.ANSWER, r.SENT, r.FACT):
            try:
                u = Unpacker(data)
                u.array(1)
                recovered.take(self, seq, number, kind, u, key_of)
            except FormatError:
                pass  # what can't be read says nothing; it must not make this log unreadable

    def _use(self, session, seq):
        rows = self.sessions
        for row in rows:
            if row[0] == session:
                rows.remove(row)
                break
        rows.append([session, seq])
        while len(rows) > self.limits.sessions:
            rows.pop(0)
            self.forgot = 1

    def _trust(self, seq, kind, u):
        number = u.int()
        if kind == r.TRUST:
            if number >= self.doubt:
                self.doubt = 0
            return
        for _ in range(3):
            u.value()
        if u.int() == r.DAMAGED:
            self.doubt = seq
            for turn in self.turns:
                turn.gap()

    def know(self, seq, key, value):
        """Record `seq` holds a fact, or says that it is forgotten."""
        rows = self.facts
        for row in rows:
            if row[0] == key:
                rows.remove(row)
                break
        if value is not None:
            rows.append([key, seq])

    def _of_turn(self, seq, h, kind, u):
        number = u.int()
        turn = None
        for turn in self.turns:
            if number == (turn.seq if kind in _TURN_KINDS else turn.req):
                break
        else:
            return  # it came after the turn's end
        if kind == r.SENT:
            self.turns.remove(turn)
            return
        turn.apply(kind, seq, h, u)
        if kind == r.ANSWER:
            self.answered(number, seq)

    # -- what it says

    def turn(self, seq):
        """The open turn of that ASK, or None."""
        for turn in self.turns:
            if turn.seq == seq:
                return turn
        return None

    def previous(self, session):
        """The newest ASK of a session; 0 if it has none that is remembered."""
        for name, seq in self.sessions:
            if name == session:
                return seq
        return 0


def key_of(name):
    """What is kept of an ask's id: 8 bytes."""
    return hashlib.sha256(name.encode()).digest()[:8]
