"""Deciding once more: what the core of today records next, given what a log holds so far.

Of the records in a log most tell what happened; some are decisions of the core, which follow from
the records before them alone: REQ, START, ANSWER, and the RESULT of a call that was refused or
that a restart interrupted. `Second.opinion` lets the real `Agent` take such a decision again, on
the state before it, over a log that can be read up to there and stops the agent at its first
append.
"""

from dataclasses import dataclass, field
from typing import Any

from mote import records as r
from mote.agent import Agent
from mote.msgpack import FormatError
from mote.segments import HEAD, Lost
from mote.tools import Rejected, Tool
from mote.turn import WAITING

from mote_host.frames import ENDINGS, STATUS, Record, decode, line


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the core would record: `kind` 0 is nothing at all, and `payload` then says why."""

    kind: int
    payload: bytes
    checked: bool = True  # a call's arguments were checked by the declaration of its tool

    def same(self, frame: bytes) -> bool:
        """Whether that is the record in `frame`."""
        return self.kind == frame[2] and self.payload == frame[HEAD:]

    def __str__(self) -> str:
        return told(self.kind, self.payload)


class CannotTell(Exception):
    """A decision that can't be compared; the text says why."""


class _Due(Exception):
    """The agent's first append."""

    def __init__(self, kind: int, payload: bytes) -> None:
        super().__init__()
        self.kind = kind
        self.payload = payload


@dataclass(slots=True)
class Past:
    """A log as far as it went before a record, for an `Agent`.

    `frames` has all that is known of it; `lost` are the ranges that the device had lost as well.
    """

    frames: dict[int, bytes]
    record_bytes: int
    seq: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)
    head: bytes = b""

    def frame(self, seq: int) -> memoryview:
        """As `Log.frame`; raises CannotTell where the device could read on and we can't."""
        if 0 < seq <= self.seq and seq in self.frames:
            return memoryview(self.frames[seq])
        if seq > self.seq or any(first <= seq <= last for first, last in self.lost):
            raise Lost(f"record {seq} is not in the log")
        raise CannotTell(f"record {seq}, which it needs, is not kept")

    def oldest(self) -> int:
        """The first record that is kept."""
        return min(self.frames, default=1)

    def append(self, kind: int, payload: memoryview) -> None:
        """Stop the agent."""
        raise _Due(kind, bytes(payload))

    def sync(self) -> None:
        """Nothing waits."""


class _Believing:
    """Tools of which nothing is known: what was recorded of their calls is right."""

    def __init__(self, record: Record) -> None:
        self.hash = record.fields.get("tools", b"")
        self._record = record

    def check(self, name: str, given: object) -> tuple[Tool, object]:
        """As `Toolset.check`."""
        kind, f = self._record.kind, self._record.fields
        if kind == r.START and f["tool"] == name:
            return _bare(name, f["effect"]), f["arguments"]
        if kind == r.RESULT and f["status"] == r.REJECTED:
            raise Rejected(f["text"].removeprefix(f"{name}: "))
        return _bare(name, r.ONCE if kind == r.RESULT else r.READ), given


def _bare(name: str, effect: int) -> Tool:
    return Tool(None, name, "", effect, (), 1, ())


def decision(record: Record, state: Any, boot: int) -> bool:
    """Whether the core decided on this record, `state` being that before it.

    `boot` is the newest BOOT. A call that was interrupted and may run again may since have been
    stopped by the driver: that is none.
    """
    if record.kind in (r.REQ, r.START, r.ANSWER):
        return True
    status = record.fields.get("status") if record.kind == r.RESULT else None
    if status != r.STOPPED:
        return status in (r.REJECTED, r.UNKNOWN)
    turn = turn_of(record, state)
    if turn is None or not turn.interrupted:
        return False
    ended = turn.ending and turn.ended < boot
    return bool(ended or turn.effect == r.ONCE or turn.restarts > state.limits.restarts)


def turn_of(record: Record, state: Any) -> Any:
    """The open turn that a record names, or None."""
    f = record.fields
    for turn in state.turns:
        if turn.seq == f["turn"] if "turn" in f else turn.req == f.get("req", 0):
            return turn
    return None


class Second:
    """Decides again over `past`."""

    def __init__(self, past: Past) -> None:
        self._past = past

    def opinion(self, record: Record, state: Any, tools: Any) -> Opinion:
        """What the core records now where it recorded `record`. Raises CannotTell.

        `tools` are those that the device had then, None if they are not known.
        """
        turn = turn_of(record, state)
        if turn is None:
            raise CannotTell("the turn began before what is kept")
        if record.kind == r.REQ and turn.state == WAITING:
            raise CannotTell("the reply was not what its digest said, so it was asked anew")
        self._past.seq = state.seq
        believed = tools is None or record.kind == r.REQ  # whose hash is no decision
        chosen = _Believing(record) if believed else tools
        agent: Any = Agent(self._past, chosen, state.limits)
        agent.state, agent.turns = state, state.turns
        agent.sure = True  # what the gateway said is in no record; but the device has gone on
        turn.issued = False
        try:
            effect = agent._settle(turn)
        except _Due as due:
            rejected = record.kind == r.RESULT and record.fields["status"] == r.REJECTED
            called = record.kind == r.START or rejected
            return Opinion(due.kind, due.payload, not (called and tools is None))
        except CannotTell:
            raise
        except Exception as exc:  # whatever the core of today does there, it is another decision
            return Opinion(0, f"{type(exc).__name__}: {exc}".encode())
        return Opinion(0, b"nothing is due" if effect is None else b"nothing to record")


def told(kind: int, payload: bytes) -> str:
    """A decision in a few words."""
    if kind == 0:
        return payload.decode()
    try:
        f = decode(kind, payload)
    except FormatError as exc:
        return f"a record that can't be read: {exc}"
    if kind == r.START:
        shown = ", ".join(f"{key}={value!r}" for key, value in f["arguments"].items())
        words = f"START {f['tool']}({shown})"
    elif kind == r.RESULT:
        words = f"RESULT {STATUS.get(f['status'], f['status'])}: {f['text']}"
    elif kind == r.ANSWER:
        words = f"ANSWER {f['text'] or ENDINGS.get(f['how'], f['how'])}"
    elif kind == r.REQ:
        words = f"REQ for a reply of at most {f['limit']} bytes"
    else:
        words = f"a record of kind {kind}"
    return line(words, 200)
