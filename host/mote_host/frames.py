"""Records as the host reads them: cut from uploads, with named fields, and in plain English."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mote import records as r
from mote.msgpack import FormatError, Unpacker
from mote.segments import HEAD
from mote.turn import Limits

EFFECTS = {r.READ: "READ", r.IDEMPOTENT: "IDEMPOTENT", r.ONCE: "ONCE"}
STATUS = {
    r.OK: "ok",
    r.ERROR: "error",
    r.REJECTED: "rejected",
    r.LATE: "timed out",
    r.UNKNOWN: "outcome unknown",
    r.STOPPED: "stopped",
}
ENDINGS = {
    r.DONE: "done",
    r.LIMITED: "limit reached",
    r.FAILED: "failed",
    r.CANCELLED: "cancelled",
}
_MISSING = {r.DROPPED: "dropped before the gateway had them", r.DAMAGED: "damaged"}

_MAX_INT = 1 << 53  # beyond what SQLite or JSON readers hold exactly, nothing is meant
_NONE = type(None)
_LAST_SECOND = 253402300799  # of the year 9999
_Fields = tuple[tuple[str, type | tuple[type, ...]], ...]
_LAYOUT: dict[int, tuple[str, _Fields]] = {
    r.BOOT: (
        "BOOT",
        (
            *(("epoch", int), ("nonce", bytes), ("outputs", list), ("version", str)),
            ("limits", (list, _NONE)),
        ),
    ),
    r.ASK: (
        "ASK",
        (
            *(("session", str), ("ask_id", str), ("text", str), ("unix_s", int)),
            ("previous", int),
        ),
    ),
    r.REQ: ("REQ", (("turn", int), ("tools", bytes), ("bundle", object), ("limit", int))),
    r.PART: ("PART", (("req", int), ("data", bytes))),
    r.REPLY_END: (
        "REPLY_END",
        (("req", int), ("length", int), ("digest", bytes), ("calls", int), ("tokens", int)),
    ),
    r.FAIL: ("FAIL", (("req", int), ("text", str))),
    r.START: (
        "START",
        (("req", int), ("index", int), ("effect", int), ("tool", str), ("arguments", dict)),
    ),
    r.RESULT: ("RESULT", (("req", int), ("index", int), ("status", int), ("text", str))),
    r.ANSWER: ("ANSWER", (("turn", int), ("how", int), ("req", int), ("text", (str, _NONE)))),
    r.SENT: ("SENT", (("turn", int),)),
    r.CANCEL: ("CANCEL", (("turn", int),)),
    r.TIMEOUT: ("TIMEOUT", (("turn", int),)),
    r.END: ("END", (("turn", int), ("text", str))),
    r.GAP: (
        "GAP",
        (("first", int), ("last", int), ("before", bytes), ("after", bytes), ("why", int)),
    ),
    r.TRUST: ("TRUST", (("record", int),)),
    r.FACT: ("FACT", (("key", str), ("value", (str, _NONE)))),
    r.RECOVERED: (
        "RECOVERED",
        (
            *(("last", int), ("record", int), ("of_kind", int), ("offset", int)),
            *(("length", int), ("data", bytes)),
        ),
    ),
    r.REFUSED: ("REFUSED", (("count", int),)),
}
_ADDED = {r.BOOT: None, r.ASK: 0}  # the last field, for replicas that an older mote began
KINDS = {kind: name for kind, (name, _) in _LAYOUT.items()}


@dataclass(frozen=True, slots=True)
class Frame:
    """One record on its way: `data` is what the chain covers."""

    seq16: int
    kind: int
    payload: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a replica. `fields` has the names of `records.py`; unknown kinds have `raw`.

    `turn` is the sequence number of the ASK that it belongs to, `session` that ask's session;
    None for what belongs to no turn. `at_ms` is when it came to the gateway, in Unix
    milliseconds; 0 where that is not known.
    """

    seq: int
    kind: int
    hash: bytes
    fields: dict[str, Any]
    turn: int | None = None
    session: str | None = None
    at_ms: int = 0

    @property
    def id(self) -> bytes:
        """What travels as the record's identity: the first 16 bytes of its chain hash."""
        return self.hash[:16]

    @property
    def name(self) -> str:
        """The name of the kind."""
        return KINDS.get(self.kind, f"0x{self.kind:02x}")


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that are missing; none if `last` is before `first`.

    `told_by` is the GAP record that tells of them, 0 for none. `before` and `after` are the chain
    hashes around them; empty where nothing is known.
    """

    first: int
    last: int
    why: str
    told_by: int = 0
    before: bytes = b""
    after: bytes = b""

    def __str__(self) -> str:
        if self.first > self.last:
            return f"the chain begins anew at record {self.first}: older ones were damaged"
        if self.first == self.last:
            return f"record {self.first} is missing: {self.why}"
        return f"records {self.first} to {self.last} are missing: {self.why}"


def why_missing(record: Record) -> str:
    """What a GAP record says about why."""
    why = record.fields["why"]
    return _MISSING.get(why, f"reason {why}")


def cut(data: bytes) -> Iterator[Frame]:
    """The frames that lie one after the other in `data`. Raises FormatError if it is not whole."""
    at = 0
    while at < len(data):
        frame = frame_at(data, at)
        yield frame
        at += len(frame.data)


def frame_at(data: bytes, at: int) -> Frame:
    """The frame that begins there. Raises FormatError if it is not whole."""
    if at + HEAD > len(data):
        raise FormatError(f"a frame is cut short at byte {at}")
    length, kind, seq16 = struct.unpack_from(">HBH", data, at)
    end = at + HEAD + length
    if end > len(data):
        raise FormatError(f"a frame is cut short at byte {at}")
    return Frame(seq16, kind, data[at + HEAD : end], data[at:end])


class _Lenient(Unpacker):
    """Takes strings that are not UTF-8: MicroPython lets tools make them, and what is in a
    device's log must not keep the records behind it from coming in."""

    def _text(self, n: int) -> str:
        core: Any = self  # has no annotations
        at = core._take(n)
        return bytes(core.buf[at : at + n]).decode(errors="replace")


_lenient: Any = _Lenient


def decode(kind: int, payload: bytes) -> dict[str, Any]:
    """A payload's fields by name. Raises FormatError if it is not what its kind says."""
    if kind not in _LAYOUT:
        if kind & r.IGNORABLE:
            return {"raw": payload}
        raise FormatError(f"records of kind {kind} come from a newer mote")
    name, layout = _LAYOUT[kind]
    unpacker = _lenient(payload)
    values = unpacker.value()
    if kind in _ADDED and isinstance(values, list) and len(values) == len(layout) - 1:
        values.append(_ADDED[kind])
    if not isinstance(values, list) or len(values) < len(layout) or unpacker.more():
        raise FormatError(f"{name} is not an array of {len(layout)} fields")
    fields = {}
    for (field, of), value in zip(layout, values, strict=False):
        good = isinstance(value, of) and not (of is int and isinstance(value, bool))
        if not good or (of is int and not 0 <= value < _MAX_INT):
            raise FormatError(f"{name}: {field} is out of range or of another type")
        fields[field] = value
    return fields


def describe(record: Record) -> str:
    """What the record says, in one line of plain English that is safe to print."""
    teller = _TELL.get(record.kind)
    if teller is None:
        return f"{len(record.fields['raw'])} bytes of the unknown kind {record.name}"
    return line(teller(record, record.fields), 400)


def line(text: str, most: int) -> str:
    """`text` on one line of at most `most` characters, without what could steer a terminal."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= most else clean[: most - 3] + "..."


def _boot(record: Record, f: dict[str, Any]) -> str:
    reset = f"; reset: {', '.join(map(str, f['outputs']))}" if f["outputs"] else ""
    own = _limits(f["limits"] or [])
    limits = f"; limits: {own}" if own else ""
    return f"started, epoch {f['epoch']}, mote {f['version']}{reset}{limits}"


def limits_by_name(values: list[Any]) -> dict[str, Any]:
    """The limits in a BOOT record by their names in `moted.toml`."""
    names: tuple[str, ...] = Limits._NAMES
    return dict(zip(names, values, strict=False))


def _limits(values: list[Any]) -> str:
    """Those that are not as by default, in words."""
    own = limits_by_name(values).items()
    return ", ".join(f"{name} {n}" for name, n in own if n != getattr(Limits, name))


def _gap(record: Record, f: dict[str, Any]) -> str:
    return str(Gap(f["first"], f["last"], why_missing(record)))


def _fact(record: Record, f: dict[str, Any]) -> str:
    if f["value"] is None:
        return f"forgot {f['key']}"
    return f"remembers {f['key']}: {f['value']}"


def _recovered(record: Record, f: dict[str, Any]) -> str:
    of = f"lost record {f['record']} of {f['last']}"
    if not f["of_kind"]:
        return f"{of}: the gateway does not have it either"
    name = KINDS.get(f["of_kind"], f"kind {f['of_kind']}")
    part = f", from byte {f['offset']} of {f['length']} on" if f["offset"] else ""
    return f"took back {of} ({name}): {len(f['data'])} bytes{part}"


def _at(unix_s: int) -> str:
    if not unix_s:
        return ""  # the device did not know the time yet
    if unix_s > _LAST_SECOND:
        return " at a time that no calendar has"
    return datetime.fromtimestamp(unix_s, UTC).strftime(" at %Y-%m-%d %H:%M:%S UTC")


def _start(record: Record, f: dict[str, Any]) -> str:
    shown = ", ".join(f"{key}={value!r}" for key, value in f["arguments"].items())
    return f"{f['tool']}({shown}) starts ({EFFECTS.get(f['effect'], f['effect'])})"


def _reply_end(record: Record, f: dict[str, Any]) -> str:
    return (
        f"reply to request {f['req']} is whole: {f['length']} bytes, {f['calls']} calls, "
        f"{f['tokens']} tokens"
    )


def _answer(record: Record, f: dict[str, Any]) -> str:
    ending = ENDINGS.get(f["how"], f"ending {f['how']}")
    text = f": {f['text']}" if f["text"] else ""
    return f"ask {f['turn']} answered ({ending}){text}"


_TELL: dict[int, Callable[[Record, dict[str, Any]], str]] = {
    r.BOOT: _boot,
    r.ASK: lambda _, f: f"asked in session {f['session']}{_at(f['unix_s'])}: {f['text']}",
    r.REQ: lambda rec, f: f"model request {rec.id.hex()[:8]} for ask {f['turn']}",
    r.PART: lambda _, f: f"{len(f['data'])} bytes of the reply to request {f['req']}",
    r.REPLY_END: _reply_end,
    r.FAIL: lambda _, f: f"request {f['req']} failed: {f['text']}",
    r.START: _start,
    r.RESULT: lambda _, f: f"result: {STATUS.get(f['status'], f['status'])}: {f['text']}",
    r.ANSWER: _answer,
    r.SENT: lambda _, f: f"the answer to ask {f['turn']} was acknowledged",
    r.CANCEL: lambda _, f: f"ask {f['turn']} was cancelled",
    r.TIMEOUT: lambda _, f: f"ask {f['turn']} ran out of time",
    r.END: lambda _, f: f"the device ended ask {f['turn']}: {f['text']}",
    r.GAP: _gap,
    r.TRUST: lambda _, f: f"the gateway has the same log up to record {f['record']}",
    r.FACT: _fact,
    r.RECOVERED: _recovered,
    r.REFUSED: lambda _, f: f"{f['count']} asks were refused",
}
