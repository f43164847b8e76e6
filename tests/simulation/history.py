"""What is known of a device from outside of it: its true log, and what the world saw of it.

`History` notes each record as it is appended and whatever leaves the device with the record on
which that depends. Each life that begins on the chip is held against it. A log in which bits
flipped, or that was restored from a copy, is `damaged`: what was lost there may be lost.
"""

from typing import Any

from mote import records as r
from mote.log import genesis
from mote.lookup import GONE
from mote.msgpack import Unpacker
from mote.state import State
from mote.turn import Limits
from outside import dump

from tests.simulation.violation import hold


class History:
    """Of one device, over all its lives."""

    def __init__(self, device: str, limits: Any) -> None:
        self.device = device
        self.hashes: list[bytes | None] = [genesis(device)]  # by record; None: it was lost
        self.records: list[tuple[int, bytes]] = [(0, b"")]  # kind and payload
        self.known: set[bytes] = {self.hashes[0]}  # of any branch that ever was
        self.safe = 0  # the newest record that the log called safe, or on which anything depends
        self.damaged = False
        self.opening = False
        self.asks: dict[int, str] = {}  # ids by record
        self.accepted: set[int] = set()  # asks that the device acknowledged
        self.answers: dict[int, bytes] = {}  # by ask
        self._limits = limits
        self._log: Any = None
        self._mirror = State(limits)

    # -- one life

    def watch(self, log: Any, state: Any) -> None:
        """Note what is appended; hold what is read when the log is opened against it."""
        fold, open_ = state.fold, log.open

        def folding(seq: int, h: bytes, kind: int, payload: bytes) -> None:
            self._folded(seq, h, kind, bytes(payload))
            fold(seq, h, kind, payload)

        def opening(restore: Any, visit: Any) -> None:
            self.opening = True
            open_(restore, visit)
            self.opening = False
            self._opened(log, state)

        state.fold, log.open = folding, opening

    def _folded(self, seq: int, h: bytes, kind: int, payload: bytes) -> None:
        if seq < len(self.hashes):
            if self.hashes[seq] == h:
                return
            hold(self.damaged, self.device, f"record {seq} is another one")
            self._forget(seq)
        if seq > len(self.hashes) or self.opening:
            hold(self.damaged, self.device, f"nobody appended record {seq}")
            missing = seq - len(self.hashes)
            self.hashes += [None] * missing
            self.records += [(0, b"")] * missing
        if kind == r.ASK:
            self._asked(seq, payload)
        self.hashes.append(h)
        self.known.add(h)
        self.records.append((kind, payload))

    def _forget(self, seq: int) -> None:
        """Records from that one on are no longer in the log."""
        del self.hashes[seq:], self.records[seq:]
        if self._mirror.seq >= seq:
            self._mirror = State(self._limits)
        for ask in [ask for ask in self.asks if ask >= seq]:
            del self.asks[ask]
            self.accepted.discard(ask)
            self.answers.pop(ask, None)

    def _opened(self, log: Any, state: Any) -> None:
        """A log was opened; nothing is appended yet."""
        least = max(self.safe, self._log.synced if self._log and not self.damaged else 0)
        hold(self.damaged or log.seq >= least, self.device, f"{log.seq} records of {least}")
        hold(log.seq < len(self.hashes), self.device, f"{log.seq} records: too many")
        hold(log.head == self.hashes[log.seq], self.device, f"another hash at {log.seq}")
        if not self.damaged:
            hold(not log.owed or log.owed[4] == r.DROPPED, self.device, f"a gap: {log.owed}")
        self._forget(log.seq + 1)
        self._log, self.safe = log, log.seq
        if not self.damaged:
            self._compare(log, state)

    def _compare(self, log: Any, state: Any) -> None:
        mirror = self._mirror
        for seq in range(mirror.seq + 1, log.seq + 1):
            kind, payload = self.records[seq]
            mirror.fold(seq, self.hashes[seq], kind, payload)
        mirror.seq = state.seq = log.seq
        ours, theirs = dump(mirror), dump(state)
        hold(ours == theirs, self.device, f"the state is {theirs}, the log says {ours}")

    # -- what leaves the device

    def depends(self, seq: int) -> None:
        """Something becomes known outside that could not be without that record."""
        hold(self._log.synced >= seq, self.device, f"record {seq} is not safe and is told")
        self.safe = max(self.safe, seq)

    def accept(self, seq: int) -> None:
        """The device acknowledges an ask."""
        self.depends(seq)
        self.accepted.add(seq)

    def _asked(self, seq: int, payload: bytes) -> None:
        """An id that is among the last W may not be taken for a new one."""
        u = Unpacker(payload)
        u.array(2)
        u.str()
        name = u.str()
        names = [(n, s) for s, n in self.asks.items() if n]
        for other, before in names[-self._limits.seen_asks :] if name else ():
            text = f"ask {name} of record {before} is taken again as {seq}"
            hold(other != name or self.damaged, self.device, text)
        self.asks[seq] = name

    def answer(self, ask: int, answer: int, payload: bytes) -> None:
        """An answer is published."""
        self.depends(answer)
        before = self.answers.setdefault(ask, payload)
        if not self.damaged:
            # where flash that fails has left no room for all of a turn, that is what it is told
            gone = ask < self._log.oldest() and GONE.encode() in payload
            text = f"ask {ask}: {before!r} and {payload!r}"
            hold(before == payload or gone, self.device, text)
            hold(ask in self.asks, self.device, f"ask {ask}: nobody asked")

    # -- at rest

    def check_end(self, log: Any, agent: Any) -> None:
        """Everything that was accepted is answered, and the facts are what the log says."""
        if not self.damaged:
            unanswered = sorted(self.accepted - set(self.answers))
            hold(not unanswered, self.device, f"never answered: {unanswered[:5]}")
        for key, seq in agent.state.facts:
            kind, payload = self.records[seq]
            u = Unpacker(payload)
            u.array(2)
            hold(
                kind != r.FACT or u.str() == key,
                self.device,
                f"the fact {key} is not record {seq}",
            )


def few(random: Any) -> Any:
    """Limits for small chips; some of them by chance."""
    limits = Limits()
    limits.open_turns = random.choice((1, 2, 3))
    limits.steps, limits.calls, limits.tokens = 4, 6, 100000
    limits.restarts = random.choice((2, 5, 20))
    limits.turn_ms = random.choice((60000, 300000))
    limits.ask_bytes, limits.result_bytes = 96, 64
    limits.reply_bytes = random.choice((256, 512))
    limits.part_bytes = random.choice((64, 128, 384, 384))
    limits.asks_per_hour, limits.asks_burst = random.choice((600, 36000)), 10
    limits.seen_asks, limits.sessions, limits.facts = random.choice((3, 8)), 3, 3
    return limits
