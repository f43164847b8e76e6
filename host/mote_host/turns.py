"""Turns as seen from outside: which records belong to one, and what a person is shown of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mote import records as r
from mote import wire
from mote.msgpack import FormatError, Unpacker

from mote_host import frames, references
from mote_host.frames import EFFECTS, ENDINGS, STATUS, Record

Place = tuple[int | None, str | None]
"""A turn and its session; None for what belongs to none."""

_NOWHERE: Place = (None, None)


class Turns:
    """Puts records, given in order, to their turn and session.

    `look_up` finds the place of a record that was not given before.
    """

    def __init__(self, look_up: Callable[[int], Place | None] = lambda _: None) -> None:
        self._known: dict[int, Place] = {}
        self._look_up = look_up

    def place(self, record: Record) -> Record:
        """The record, with the turn and session that it belongs to."""
        fields = record.fields
        # every kind that belongs to a turn names it, or its request, in a field of that name
        of = fields.get("turn", fields.get("req"))
        place = _NOWHERE
        if record.kind == r.ASK:
            place = record.seq, fields["session"]
        elif of is not None:
            place = self._known.get(of) or self._look_up(of) or _NOWHERE
        self._known[record.seq] = place
        return replace(record, turn=place[0], session=place[1])


def with_texts(records: list[Record]) -> list[Record]:
    """The same records; an ANSWER whose text is a reply's has that text, if the reply is there."""
    replies: dict[int, bytes] = {}
    out = []
    for record in records:
        fields = record.fields
        if record.kind == r.PART:
            replies[fields["req"]] = replies.get(fields["req"], b"") + fields["data"]
        elif record.kind == r.ANSWER and fields["text"] is None and fields["req"] in replies:
            text = replies[fields["req"]].decode(errors="replace")
            out.append(replace(record, fields={**fields, "text": text}))
            continue
        out.append(record)
    return out


def overheard(message: bytes) -> list[Record]:
    """The records in an `up` message, as anybody who subscribes can read them.

    They are not authenticated and have no hash: good to show progress, not to rely on. Where a
    reference stands for a PART or REPLY_END, only the request is known.
    """
    try:
        u = Unpacker(message[wire.MAC :])
        if u.array(5) and u.int() != wire.UPLOAD:
            return []
        u.value()
        first = u.int()
        u.value()
        pieces = references.split(bytes(u.bin()))
        return [_heard(seq, piece) for seq, piece in enumerate(pieces, first)]
    except FormatError:
        return []


def _heard(seq: int, piece: references.Piece) -> Record:
    if isinstance(piece, references.Reference):
        return Record(seq, piece.kind, b"", {"req": piece.req})
    return Record(seq, piece.kind, b"", frames.decode(piece.kind, piece.payload))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a turn for a person: `label` says what it is, `note` is a short remark."""

    label: str
    text: str
    note: str = ""


def step_of(record: Record) -> Step | None:
    """What a record shows of its turn; None for what is bookkeeping."""
    teller = _STEPS.get(record.kind)
    if teller is None:
        return None
    step: Step = teller(record, record.fields)
    return replace(step, text=frames.line(step.text, 400))


def _call(_: Record, f: dict[str, Any]) -> Step:
    shown = ", ".join(f"{key}={value!r}" for key, value in f["arguments"].items())
    return Step("tool call", f"{f['tool']}({shown})", EFFECTS.get(f["effect"], "?"))


def _reply(_: Record, f: dict[str, Any]) -> Step:
    if "calls" not in f:  # overheard
        return Step("model", "replied")
    calls = {0: "text", 1: "1 call"}.get(f["calls"], f"{f['calls']} calls")
    return Step("model", f"replied with {calls}", f"{f['length']} bytes, {f['tokens']} tokens")


_STEPS: dict[int, Any] = {
    r.ASK: lambda _, f: Step("ask", f["text"], f"session {f['session']}"),
    r.REQ: lambda rec, _: Step("model", "is asked", rec.id.hex()[:8]),
    r.REPLY_END: _reply,
    r.FAIL: lambda _, f: Step("model", f["text"], "failed"),
    r.START: _call,
    r.RESULT: lambda _, f: Step("result", f["text"], STATUS.get(f["status"], "?")),
    r.ANSWER: lambda _, f: Step("answer", f["text"] or "", ENDINGS.get(f["how"], "?")),
    r.CANCEL: lambda _, __: Step("cancelled", "by a person"),
    r.TIMEOUT: lambda _, __: Step("limit", "out of time"),
    r.END: lambda _, f: Step("ended", f["text"], "by the device"),
}


class Calls:
    """Collects the tool calls of a turn from its records, each with what became of it."""

    def __init__(self) -> None:
        self._calls: dict[tuple[int, int], dict[str, Any]] = {}

    def add(self, record: Record) -> None:
        """Take a record into account."""
        f = record.fields
        if record.kind == r.START:
            self._calls[f["req"], f["index"]] = {
                "name": f["tool"],
                "args": f["arguments"],
                "effect": EFFECTS.get(f["effect"], "?"),
                "result": None,
                "status": None,
            }
        elif record.kind == r.RESULT:
            # a call that was rejected never started: its result begins with its name
            name = f["text"].partition(":")[0]
            blank = {"name": name, "args": None, "effect": None}
            call = self._calls.setdefault((f["req"], f["index"]), blank)
            call["result"], call["status"] = f["text"], STATUS.get(f["status"], "?")

    def list(self) -> list[dict[str, Any]]:
        """The calls in the order of the log."""
        return [self._calls[key] for key in sorted(self._calls)]
