"""Records are appended and folded in one place: the log and the state that follows from it.

Whatever raises in the middle of that (no memory, the flash) leaves the log sound and the state
perhaps behind it: then every method raises LogError, and the log is to be opened anew.
"""

from . import records as r
from .log import LogError
from .lookup import FACT_KEY, FACT_VALUE
from .msgpack import Packer
from .state import State


class Recorder:
    """An unopened `log`, the `state` folded from it, and `turn.Limits`."""

    def __init__(self, log, limits):
        self.log = log
        self.limits = limits
        self.state = State(limits)
        self.turns = self.state.turns  # open ones, oldest first
        self.before_boot = (0, log.head)  # (b, h[b]): the last record before this BOOT,
        self.boot = b""  # and the id of that
        self.sure = None  # the gateway has no more of this log than is here; None: it did not say
        self.back = None  # of what it has more: the last record, and what is due next of which
        self._carried = 0  # the newest record that takes a fact out of a dropped segment
        self._packer = Packer(bytearray(log.record_bytes))

    def open(self, now_ms, nonce, outputs, version):
        """Fold the log and append BOOT. `outputs` names what the reset switched off."""
        log, state = self.log, self.state
        log.checkpoint = state.pack
        log.open(state.restore, state.fold)
        state.seq = log.seq
        self._carry()
        self.before_boot = (log.seq, log.head)
        p = self._start(5).int(state.epoch + 1).bin(nonce)
        p.value(outputs).str(version).value(self.limits.values())
        seq = self._append(r.BOOT)
        log.sync()
        self.boot = log.hash_at(seq)[:16]
        for turn in self.turns:
            turn.until_ms = now_ms + self.limits.turn_ms

    @property
    def epoch(self):
        """How often this log was opened for writing."""
        return self.state.epoch

    # -- appending

    def _check(self):
        if self.state.seq != self.log.seq:
            raise LogError("the state is behind the log: open it again")

    def _start(self, fields):
        self._check()
        return self._packer.reset(0).array(fields)

    def _append(self, kind):
        """Append what `_packer` holds, and fold it; then what a new segment makes necessary."""
        seq = self._record(kind)
        self._carry()
        return seq

    def _record(self, kind):
        log = self.log
        payload = self._packer.taken()
        seq = log.append(kind, payload)
        self.state.fold(seq, log.head, kind, payload)
        return seq

    def _note(self, kind, number):
        """Append a record of one field."""
        self._start(1).int(number)
        self._append(kind)

    def _carry(self):
        """Record what a dropped segment leaves behind: a gap, and facts to take along."""
        log = self.log
        gap = log.owed
        if gap:
            self._start(5)
            for field in gap:
                self._packer.value(field)
            self._record(r.GAP)
            if log.owed is gap:  # else this very record has begun another segment: the next time
                log.owed = None
        for key, seq in self.state.facts[:]:
            if seq < log.at_risk():
                from .lookup import fact_at

                self._start(2).str(key).value(fact_at(log, seq))
                self._carried = self._record(r.FACT)

    def tidy(self):
        """Erase what was dropped. It may take a while, so only when nothing else is due."""
        self._check()
        if self.log.dropped():
            self._carry()
            if self._carried > self.log.synced:
                self.log.sync()
            self.log.tidy()

    # -- what happens to the log

    def confirmed(self, seq):
        """The gateway's replica has the same hash at record `seq`: what is before it may go."""
        self.log.acked = seq
        if 0 < self.state.doubt <= seq:
            self._note(r.TRUST, seq)

    def behind(self, first, last):
        """The gateway has records `first`..`last` that this log lost (0: it has none).

        Returns `last`, 0 if they have all been taken back. Until then no ONCE call starts. Without
        `first` it does not know yet which: 0 as well.
        """
        if last and not first:
            self.sure = False
            return 0
        taken = self.state.taken
        self.back = taken if taken[0] == last else [last, first, 0]
        self.sure = not last or self.back[1] > last
        return 0 if self.sure else last

    def take_back(self, last, number, kind, offset, length, data):
        """Take bytes of a lost record's payload; False if others are due."""
        _, due, at = self.back
        ahead = number >= due if at == 0 else number == due
        if offset != at or not ahead or number > last or offset + len(data) > length:
            return False
        if not len(data) and length:
            return False
        p = self._start(6).int(last).int(number).int(kind).int(offset).int(length)
        p.bin(data)
        self._append(r.RECOVERED)
        if self.state.taken[1] > last:
            self.log.sync()
        return True

    def remember(self, key, value):
        """Keep a fact; None forgets it. Raises ValueError over the limits."""
        if not 0 < len(key.encode()) <= FACT_KEY:
            raise ValueError("a key has 1 to %d bytes" % FACT_KEY)
        known = [fact[0] for fact in self.state.facts]
        if value is not None:
            if len(value.encode()) > FACT_VALUE:
                raise ValueError("a fact has at most %d bytes" % FACT_VALUE)
            if key not in known and len(known) >= self.limits.facts:
                raise ValueError("%d facts are remembered: forget one first" % len(known))
        elif key not in known:
            return
        self._start(2).str(key).value(value)
        self._append(r.FACT)
        self.log.sync()
