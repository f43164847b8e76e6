"""Replaying a recorded log: the core's own fold over it, and its decisions taken once more."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mote import records as r
from mote.segments import HEAD
from mote.state import State, UnknownRecord
from mote.turn import ANSWERED, NEW, WAITING, Limits

from mote_host.deciding import CannotTell, Past, Second, decision, told
from mote_host.declarations import toolset
from mote_host.device_log import read_log
from mote_host.errors import DeviceError
from mote_host.frames import Gap, Record
from mote_host.store import Store

_RECORD_BYTES = 1024  # of a device, unless its log says otherwise

Declarations = Callable[[bytes], list[bytes] | None]
"""The declarations of the tools with that hash, or None."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What is kept of a log: records, their frames, and states by the record behind them."""

    source: str
    records: list[Record]
    frames: dict[int, bytes]
    states: dict[int, list[list[Any]]]
    gaps: list[Gap]
    notes: list[str] = field(default_factory=list)
    record_bytes: int = _RECORD_BYTES


def from_folder(path: Path) -> Recording:
    """A device's own log. Raises DeviceError."""
    log = read_log(path)
    return Recording(
        str(path), log.records, log.frames, log.states, log.gaps, log.notes, log.record_bytes
    )


def from_replica(store: Store, device: str) -> Recording:
    """The gateway's replica of a device's log. Raises DeviceError if there is none."""
    if store.device(device) is None:
        raise DeviceError(f"{device}: no log here; mote devices lists what there is")
    frames = {seq: frame for seq, _, frame in store.frames(device)}
    largest = max((len(frame) for frame in frames.values()), default=0)
    return Recording(
        device,
        store.records(device),
        frames,
        {},
        store.gaps(device),
        record_bytes=max(_RECORD_BYTES, largest),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """The first record that the core of today would not have written."""

    record: int
    recorded: str
    today: str

    def __str__(self) -> str:
        return f"record {self.record}: recorded {self.recorded}, today: {self.today}"


@dataclass(frozen=True, slots=True)
class Moment:
    """One record, folded. `decided` says what became of the check: "same", "differs" or why not;
    empty for what is no decision, or was not checked."""

    record: Record
    state: Any
    decided: str = ""


class Replay:
    """Folds a recording. Iterate over `run`, then read what was counted.

    With `check` each decision is taken again, up to the first one that comes out differently.
    """

    def __init__(
        self, recording: Recording, declarations: Declarations, *, check: bool = False
    ) -> None:
        self.state: Any = State(Limits())
        self.folded = 0  # records
        self.decisions = 0
        self.compared = 0
        self.unchecked = 0  # calls whose arguments could not be checked
        self.differs: Difference | None = None
        self._recording = recording
        self._check = check
        self._past = Past(recording.frames, recording.record_bytes)
        self._second = Second(self._past)
        self._tools = _Tools(recording.records, declarations)
        self._boot = 0
        self._blind = 0  # up to this record decisions can't be compared
        self._unsure = False  # nor before the next BOOT

    def run(self) -> Iterator[Moment]:
        """Each record with the state behind it, which the next step changes."""
        states = self._recording.states
        expected = start = min(states, default=1)
        if states:
            self._restore(start)
        for record in self._recording.records:
            if record.seq < start:
                continue  # before the first checkpoint that is whole
            if record.seq != expected:
                self._jump(expected, record.seq - 1)
            elif record.seq in states and (self._blind or self._unsure):
                self._restore(record.seq)
            yield Moment(record, self.state, self._fold(record))
            expected = record.seq + 1

    def _jump(self, first: int, last: int) -> None:
        """Go on behind records that are missing."""
        known = [seq for seq in self._recording.states if first <= seq <= last + 1]
        if known:
            first = max(known)
            self._restore(first)
        if first > last:
            return
        teller = self._teller(first, last)
        if teller and teller.fields["why"] == r.DAMAGED:  # the device went on from there as we do
            self._past.lost.append((first, last))
            self._blind = teller.seq
        else:
            self.state.turns.clear()  # nobody knows what became of them
            self._unsure = True

    def _teller(self, first: int, last: int) -> Record | None:
        """The GAP record that tells of these records."""
        for record in self._recording.records:
            if record.kind == r.GAP and record.seq > last:
                f = record.fields
                if f["first"] <= first and last <= f["last"]:
                    return record
        return None

    def _restore(self, seq: int) -> None:
        self._blind, self._unsure = 0, False
        self.state = State(Limits())
        try:
            for item in self._recording.states[seq]:
                self.state.restore(item)
        except (ValueError, TypeError, IndexError) as exc:
            raise DeviceError(
                f"{self._recording.source}: the state before record {seq} can't be read: {exc}"
            ) from exc
        self.state.seq = seq - 1

    def _fold(self, record: Record) -> str:
        decided = ""
        if decision(record, self.state, self._boot):
            self.decisions += 1
            if self._check and self.differs is None:
                decided = self._compare(record)
        payload = memoryview(self._recording.frames[record.seq])[HEAD:]
        try:
            self.state.fold(record.seq, record.hash, record.kind, payload)
        except (UnknownRecord, ValueError, TypeError) as exc:
            raise DeviceError(f"{self._recording.source}: {exc}") from exc
        self.folded += 1
        if record.kind == r.BOOT:
            self._boot, self._unsure = record.seq, False
        if record.seq == self._blind:
            self._blind = 0
        return decided

    def _compare(self, record: Record) -> str:
        tools = self._tools.at(record.seq)
        try:
            if self._blind or self._unsure:
                raise CannotTell("records before it are missing")
            opinion = self._second.opinion(record, self.state, tools)
        except CannotTell as exc:
            return f"not comparable: {exc}"
        self.compared += 1
        self.unchecked += not opinion.checked
        frame = self._recording.frames[record.seq]
        if opinion.same(frame):
            return "same"
        recorded, today = told(frame[2], frame[HEAD:]), str(opinion)
        if recorded == today:
            recorded, today = (f"{recorded} ({x.hex()})" for x in (frame[HEAD:], opinion.payload))
        self.differs = Difference(record.seq, recorded, today)
        return "differs"


class _Tools:
    """Which tools a device had: they are those of the requests that it made in the same life."""

    def __init__(self, records: list[Record], declarations: Declarations) -> None:
        self._declarations = declarations
        self._sets: dict[bytes, Any] = {}
        self._lives = [0]
        self._hashes: list[bytes | None] = [None]
        before = 0
        for record in records:
            if record.kind == r.BOOT or record.seq != before + 1:
                self._lives.append(record.seq)
                self._hashes.append(None)
            before = record.seq
            if record.kind == r.REQ and self._hashes[-1] is None:
                self._hashes[-1] = record.fields["tools"]

    def at(self, seq: int) -> Any:
        """The Toolset, or None if it is not known."""
        tools = self._hashes[bisect_right(self._lives, seq) - 1]
        if tools is None:
            return None
        if tools not in self._sets:
            found = self._declarations(tools)
            try:
                made = toolset(found) if found is not None else None
            except (ValueError, TypeError):  # what it is not, a newer core may refuse to declare
                made = None
            self._sets[tools] = made if made is not None and made.hash == tools else None
        return self._sets[tools]


def plain_state(state: Any) -> dict[str, Any]:
    """A state for JSON."""
    return {
        "seq": state.seq,
        "epoch": state.epoch,
        "unix_s": state.unix_s,
        "doubt": state.doubt,
        "limits": dict(zip(Limits._NAMES, state.limits.values(), strict=True)),
        "turns": [_plain_turn(turn) for turn in state.turns],
        "seen": [
            {"id": key.hex(), "ask": ask, "answer": answer} for key, ask, answer in state.seen
        ],
        "sessions": dict(state.sessions),
        "facts": dict(state.facts),
    }


def _plain_turn(turn: Any) -> dict[str, Any]:
    return {
        "ask": turn.seq,
        "session": turn.session,
        "state": situation(turn),
        "request": turn.id.hex(),
        "steps": turn.steps,
        "calls": turn.calls,
        "tokens": turn.tokens,
        "restarts": turn.restarts,
        "answer": turn.answer,
    }


def situation(turn: Any) -> str:
    """Where an open turn stands, in words."""
    if turn.state == ANSWERED:
        return "answered, not acknowledged yet"
    if turn.state == NEW:
        words = "to be put to the model"
    elif turn.state == WAITING:
        words = f"waits for the reply, {turn.got} bytes are here"
    elif turn.running:
        how = "was interrupted" if turn.interrupted else "runs"
        words = f"call {turn.index + 1} of {turn.ncalls} {how}"
    elif turn.ncalls == 0:
        words = "the reply is the answer"
    elif turn.index < turn.ncalls:
        words = f"call {turn.index + 1} of {turn.ncalls} is next"
    else:
        words = "the model is due to read the results"
    return f"{words}; must end" if turn.ending else words
