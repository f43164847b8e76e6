"""What the storage benchmarks store: turns with two tool calls, as a greenhouse has them.

The agent itself decides which records there are and where they are synced; a log that takes notes
says so. References store the same turns with the same commit points. All turns are of about the
same size: numbers vary, their widths do not.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mote import records as r
from mote.agent import Agent
from mote.log import Log
from mote.msgpack import Packer
from mote.turn import CALL, PUBLISH, Turn
from mote_host.errors import MoteError

from tests.bench import rig

TURNS = 1000
A_DAY = 1000  # turns, for times and for years of life
WINDOW_TURNS = 40  # what a JSON file keeps of the conversation
FRAMING = 9  # bytes of a frame around its payload (FORMAT.md)

_MS = 86_400_000 // A_DAY  # between two turns
_EPOCH_S = 1_760_000_000
_SPOKEN = (r.ASK, r.REPLY_END, r.RESULT, r.RESULT, r.ANSWER)
"""The records of a turn, in order, that a message history has as messages."""

Message = dict[str, object]


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was handed to the log."""

    seq: int
    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """What one sync made safe: records, and the messages among them."""

    records: list[Record]
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Stored:
    """One turn as it was stored."""

    commits: list[Commit]

    def payload(self) -> int:
        """Bytes of the records' payloads."""
        return sum(len(record.payload) for commit in self.commits for record in commit.records)

    def framed(self, unit: int) -> int:
        """Bytes with frames around them, each sync padded to `unit`."""
        total = 0
        for commit in self.commits:
            run = sum(len(record.payload) + FRAMING for record in commit.records)
            total += -(-run // unit) * unit
        return total

    def messages(self) -> list[Message]:
        """All messages of the turn."""
        return [message for commit in self.commits for message in commit.messages]


class NotingLog(Log):
    """A log that notes what is appended, what each sync makes safe, and the time of both."""

    def __init__(self, medium: object, start: bytes, sign: object, record_bytes: int) -> None:
        Log.__init__(self, medium, start, sign, record_bytes)
        self.seconds = 0.0
        self._timing = False
        self._waiting: list[Record] = []
        self._commits: list[list[Record]] = []

    def append(self, kind: int, payload: memoryview) -> int:
        """Append, and note it."""
        with self._timed():
            seq: int = Log.append(self, kind, payload)
        self._waiting.append(Record(seq, kind, bytes(payload)))
        return seq

    def sync(self) -> None:
        """Sync, and note what became safe."""
        with self._timed():
            Log.sync(self)
        if self._waiting:
            self._commits.append(self._waiting)
            self._waiting = []

    def tidy(self) -> bool:
        """Tidy; its time counts as well."""
        with self._timed():
            return bool(Log.tidy(self))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        if self._timing:  # one of these methods in another
            yield
            return
        self._timing = True
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
            self._timing = False

    def take(self) -> list[list[Record]]:
        """The commits since this was called last; everything must be synced."""
        assert not self._waiting
        commits, self._commits = self._commits, []
        return commits


@dataclass(slots=True)
class Device:
    """The rig on a medium: runs turn after turn."""

    log: NotingLog
    agent: Agent
    turns: int = field(default=0)

    @classmethod
    def on(cls, medium: object) -> "Device":
        """A device whose log is opened on `medium`."""
        log = rig.make_log(medium, NotingLog)
        assert isinstance(log, NotingLog)
        device = cls(log, rig.make_agent(log, 0))
        log.take()
        return device

    def turn(self) -> Stored:
        """One turn, from the ask until its last record is acknowledged. Raises MoteError."""
        self.turns += 1
        words = _Words(self.turns)
        seq = self.agent.ask(
            words.ask, "main", words.name, self.turns * _MS, _EPOCH_S + self.turns * _MS // 1000
        )
        self._settle()
        turn = self._waiting(seq)
        calls = [("read_moisture", words.look), ("run_pump", words.pour)]
        self._reply(turn, _packed(calls, ""), len(calls))
        self._settle()
        self._reply(turn, _packed([], words.answer), 0)
        self._settle()
        # The link uploads what is left, which makes it safe first; then the gateway has it.
        self.log.sync()
        self.agent.confirmed(self.log.seq)
        self.agent.tidy()
        return Stored(_spoken(self.log.take(), words.messages()))

    def _waiting(self, seq: int) -> Turn:
        for turn in self.agent.turns:
            if turn.seq == seq:
                assert isinstance(turn, Turn)
                return turn
        raise MoteError(f"workload: ask {seq} has no turn")

    def _reply(self, turn: Turn, data: bytes, calls: int) -> None:
        digest = hashlib.sha256(data).digest()[:16]
        taken = self.agent.part(turn, 0, data)
        if not (taken and self.agent.reply_end(turn, len(data), digest, calls, 350)):
            raise MoteError("workload: a reply was not taken")

    def _settle(self) -> None:
        effect = self.agent.next_effect()
        while effect:
            if effect[0] == CALL:
                _, turn, tool, args = effect
                self.agent.result(turn, r.OK, tool.run(**args))
            elif effect[0] == PUBLISH:
                self.agent.answer(effect[1], effect[2])
                self.agent.sent(effect[1])
            else:
                raise MoteError(f"workload: unexpected effect {effect[0]}")
            effect = self.agent.next_effect()


class _Words:
    """What is said in turn `n`."""

    def __init__(self, n: int) -> None:
        self.bed = n % 8 + 1
        self.seconds = 1.5 + n % 7
        self.name = hashlib.sha256(b"%d" % n).hexdigest()[:16]
        self.look: Message = {"bed": self.bed}
        self.pour: Message = {"bed": self.bed, "seconds": self.seconds}
        plant = rig.PLANTS[self.bed - 1]
        self.ask = (
            f"How moist is the soil of the {plant}? If it is under 30 %, water them for some "
            "seconds, then tell me."
        )
        self.answer = (
            f"The soil of the {plant} had {20 + self.bed} % moisture, under your limit of 30 %, "
            f"so I ran the pump of bed {self.bed} for {self.seconds:.1f} s. You may want to look "
            "again tomorrow."
        )

    def messages(self) -> list[Message]:
        """The turn as messages of Chat Completions, in the order of `_SPOKEN`."""
        look, pour = f"call_{self.name}_0", f"call_{self.name}_1"
        calls = [_call(look, "read_moisture", self.look), _call(pour, "run_pump", self.pour)]
        moist, pumped = rig.read_moisture(self.bed), rig.run_pump(self.bed, self.seconds)
        return [
            {"role": "user", "content": self.ask},
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": look, "content": moist},
            {"role": "tool", "tool_call_id": pour, "content": pumped},
            {"role": "assistant", "content": self.answer},
        ]


def _call(call_id: str, name: str, arguments: Message) -> Message:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": call_id, "type": "function", "function": function}


def _packed(calls: list[tuple[str, Message]], text: str) -> bytes:
    """A reply as the gateway sends it."""
    p = Packer(bytearray(512))
    for name, arguments in calls:
        p.array(2).str(name).value(arguments)
    return bytes(p.raw(text.encode()).taken())


def _spoken(commits: list[list[Record]], messages: list[Message]) -> list[Commit]:
    """The commits with the messages that became known in each. Raises MoteError."""
    found: list[Commit] = []
    said = 0
    for records in commits:
        before = said
        for record in records:
            if said < len(_SPOKEN) and record.kind == _SPOKEN[said]:
                said += 1
        found.append(Commit(records, messages[before:said]))
    if said != len(_SPOKEN):
        raise MoteError("workload: a turn is not what it should be")
    return found
