"""The replica of a device's log: what an upload or a hello means, and what is kept of it.

`compare` decides, from what the replica holds and what the device sent, alone; `Replica` does it
in one transaction. The replica grows only by records whose frames were verified: each one's
number fits its position, its payload decodes, and the chain is computed here, never believed.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace

from mote.msgpack import FormatError
from mote.segments import chain, genesis

from mote_host import frames
from mote_host.frames import Frame, Gap, Record
from mote_host.store import Device, Store, device_row, meet, raise_alarm
from mote_host.turns import Place, Turns
from mote_host.uplink import Hello, Missing, Upload


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to do with an upload: append `new` behind the tip, or note a fork at `fork`."""

    new: tuple[Frame, ...] = ()
    fork: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The device as it stands after a message, what was new, the alarm and the gap if any."""

    device: Device
    new: tuple[Record, ...] = ()
    alarm: str | None = None
    gap: Gap | None = None


def compare(
    first: int,
    before: bytes,
    cut: tuple[Frame, ...],
    *,
    tip: int,
    h: bytes | None,
    held: dict[int, bytes],
) -> Comparison:
    """Decide on frames `first`.. whose chain hash before them begins with `before`.

    `h` is the replica's own hash there, None if it has none, `held` its frames from `first` on:
    all up to the tip but those of gaps. Raises FormatError if a frame's number is not that of its
    position. Source: DESIGN.md, section 4, UPLOAD.
    """
    for at, frame in enumerate(cut, first):
        if frame.seq16 != at & 0xFFFF:
            raise FormatError(f"record {at} carries the number {frame.seq16}")
    if first - 1 > tip or h is None:
        return Comparison()
    if h[: len(before)] != before:
        return Comparison(fork=first - 1)
    for at, frame in enumerate(cut, first):
        if at <= tip and held.get(at, frame.data) != frame.data:
            return Comparison(fork=at)
    return Comparison(new=cut[max(0, tip + 1 - first) :])


class Replica:
    """Takes in what devices send."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def upload(self, name: str, message: Upload, now_ms: int) -> Outcome:
        """Append what is new. Raises FormatError; then nothing was stored."""
        cut = tuple(frames.cut(message.frames))
        decoded = [frames.decode(frame.kind, frame.payload) for frame in cut]
        with self._store.transaction() as db:
            device = meet(db, name)
            h: bytes | None = None
            held: dict[int, bytes] = {}
            if message.first - 1 <= device.tip:
                h = _hash_at(db, device, message.first - 1)
                held = _held(db, device, message.first, len(cut))
            found = compare(message.first, message.before, cut, tip=device.tip, h=h, held=held)
            if found.fork is not None:
                raise_alarm(db, name, f"fork at record {found.fork}")
            new = _append(db, device, found.new, decoded[len(cut) - len(found.new) :])
            db.execute("UPDATE devices SET seen_at = ? WHERE name = ?", (now_ms, name))
            return _outcome(db, name, device, new)

    def missing(self, name: str, message: Missing, now_ms: int) -> Outcome:
        """Go on behind records that the device lacks, if those are what the replica needs next.

        Its own hash in front of them must be the device's; the one behind them is believed.
        """
        with self._store.transaction() as db:
            device = meet(db, name)
            gap = None
            if message.first - 1 == device.tip:
                if device.tip_hash[: len(message.before)] == message.before:
                    place = name, message.first, message.last, message.before, message.after
                    db.execute(
                        "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?)"
                        " ON CONFLICT DO UPDATE SET h_after = excluded.h_after",
                        (*place, now_ms),
                    )
                    _move_tip(db, name, message.last, message.after)
                    gap = Gap(message.first, message.last, "its log does not have them any more")
                else:
                    raise_alarm(db, name, f"fork at record {device.tip}")
            db.execute("UPDATE devices SET seen_at = ? WHERE name = ?", (now_ms, name))
            return replace(_outcome(db, name, device, ()), gap=gap)

    def hello(self, name: str, message: Hello, now_ms: int) -> Outcome:
        """Begin a nonce, unless the device's log is not the one that the replica follows."""
        with self._store.transaction() as db:
            device = meet(db, name)
            trouble = _mistrust(device, message, lambda seq: _hash_at(db, device, seq))
            if trouble:
                raise_alarm(db, name, trouble)
            else:
                # A hello that is repeated, by the device or by somebody who recorded it, must
                # not make counters of its nonce valid again.
                db.execute(
                    "UPDATE devices SET epoch = ?1, hello_unix_ms = ?2, part_bytes = ?3,"
                    " seen_at = ?2, counter = CASE nonce WHEN ?4 THEN counter ELSE 0 END,"
                    " nonce = ?4 WHERE name = ?5",
                    (message.epoch, now_ms, message.part_bytes, message.nonce, name),
                )
            return replace(_outcome(db, name, device, ()), alarm=trouble)


def _mistrust(device: Device, hello: Hello, hash_at: Callable[[int], bytes | None]) -> str | None:
    """Why this hello can't come from the log that the replica follows; None if it can."""
    if hello.epoch < device.epoch:
        return f"epoch {hello.epoch} after epoch {device.epoch}: the log went back"
    # With the nonce that is known already, it is an older message of this very connection.
    if hello.head < device.tip and hello.nonce != device.nonce:
        return f"the log ends at record {hello.head}, its replica at {device.tip}"
    for seq, h in ((hello.before, hello.before_hash), (hello.head, hello.head_hash)):
        own = hash_at(seq) if seq <= device.tip else None
        if own is not None and own[: len(h)] != h:
            return f"fork at or before record {seq}"
    return None


def _outcome(
    db: sqlite3.Connection, name: str, before: Device, new: tuple[Record, ...]
) -> Outcome:
    after = device_row(db, name) or before
    return Outcome(after, new, after.alarm if after.alarm != before.alarm else None)


def _hash_at(db: sqlite3.Connection, device: Device, seq: int) -> bytes | None:
    """The replica's chain hash after record `seq`, which is not beyond its tip; None in a gap."""
    if seq == device.tip:
        return device.tip_hash
    if seq == 0:
        start: bytes = genesis(device.name)
        return start
    row = db.execute(
        "SELECT hash FROM records WHERE device = ?1 AND seq = ?2"
        " UNION ALL SELECT h_after FROM gaps WHERE device = ?1 AND last = ?2",
        (device.name, seq),
    ).fetchone()
    return row[0] if row else None


def _held(db: sqlite3.Connection, device: Device, first: int, n: int) -> dict[int, bytes]:
    rows = db.execute(
        "SELECT seq, frame FROM records WHERE device = ? AND seq BETWEEN ? AND ?",
        (device.name, first, first + n - 1),
    )
    return dict(rows.fetchall())


def _append(
    db: sqlite3.Connection,
    device: Device,
    new: tuple[Frame, ...],
    decoded: list[dict[str, object]],
) -> tuple[Record, ...]:
    """Put verified frames behind the tip, and move it."""
    records: list[Record] = []
    turns = Turns(lambda seq: _place(db, device.name, seq))
    h: bytes = device.tip_hash
    for seq, (frame, fields) in enumerate(zip(new, decoded, strict=True), device.tip + 1):
        h = chain(h, frame.data)
        record = turns.place(Record(seq, frame.kind, h, fields))
        records.append(record)
        db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
            (device.name, seq, frame.kind, record.turn, record.session, h, frame.data),
        )
    if records:
        _move_tip(db, device.name, records[-1].seq, h)
    return tuple(records)


def _move_tip(db: sqlite3.Connection, name: str, tip: int, h: bytes) -> None:
    db.execute("UPDATE devices SET tip = ?, tip_hash = ? WHERE name = ?", (tip, h, name))


def _place(db: sqlite3.Connection, name: str, seq: int) -> Place | None:
    """The turn and the session of a record of the replica."""
    found: Place | None = db.execute(
        "SELECT turn, session FROM records WHERE device = ? AND seq = ?", (name, seq)
    ).fetchone()
    return found
