"""The replica of a device's log: what an upload or a hello means, and what is kept of it.

`compare` decides, from what the replica holds and what the device sent, alone; `Replica` does it
in one transaction. The replica grows only by records whose frames were verified: each one's
number fits its position, its payload decodes, and the chain is computed here, never believed.
"""

import sqlite3
from dataclasses import dataclass, replace

from mote import records as r
from mote import wire
from mote.msgpack import FormatError
from mote.segments import chain, genesis

from mote_host import branches, frames, hellos, parting, references
from mote_host.frames import Frame, Gap, Record
from mote_host.hellos import Life, Meaning
from mote_host.references import Chained, Known, Piece
from mote_host.store import Device, Store, device_row, end_fork, meet, raise_alarm, reply_row
from mote_host.turns import Place, Turns
from mote_host.uplink import Hello, Missing, Upload


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to do with an upload: append `new` behind the tip, or note a fork at `fork`."""

    new: tuple[Frame, ...] = ()
    fork: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The device as it stands after a message, what was new, the alarm and the gap if any.

    `whole` is a record up to which the device shall send all without references, `rejected` why
    a part of the message does not count. `wanted` is the id of the request whose reply is wanted,
    `implied` says that a reply to it tells the device all that a tip would. `meaning` is that of a
    hello.
    """

    device: Device
    new: tuple[Record, ...] = ()
    alarm: str | None = None
    gap: Gap | None = None
    whole: int | None = None
    rejected: str | None = None
    wanted: bytes | None = None
    implied: bool = False
    meaning: Meaning = Meaning.SAME


def compare(first: int, cut: list[Frame], *, tip: int, held: dict[int, bytes]) -> Comparison:
    """Decide on frames `first`.., in front of which the chain is the replica's.

    `held` are the replica's frames from `first` on: all up to the tip but those of gaps.
    Source: core/FORMAT.md, "Link", uploads and references.
    """
    for at, frame in enumerate(cut, first):
        if at <= tip and held.get(at, frame.data) != frame.data:
            return Comparison(fork=at)
    return Comparison(new=tuple(cut[max(0, tip + 1 - first) :]))


class Replica:
    """Takes in what devices send."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def upload(self, name: str, message: Upload, now_ms: int) -> Outcome:
        """Append what is new. Raises FormatError; then nothing was stored."""
        pieces = _numbered(message.first, references.split(message.frames))
        if references.has_references(pieces) and message.check is None:
            raise FormatError("an upload with references has no check")
        with self._store.transaction() as db:
            device = meet(db, name)
            known = hashes_at(db, device, message.first - 1)
            h = next((h for h in known if h.startswith(message.before)), None)
            outcome = Outcome(device)
            if h is not None:
                outcome = _upload(db, device, message, pieces, h, now_ms)
            elif known and not branches.has_id(db, name, message.before):
                raise_alarm(db, name, f"fork at record {message.first - 1}", now_ms)
            db.execute("UPDATE devices SET seen_at = ? WHERE name = ?", (now_ms, name))
            return _outcome(db, device, outcome)

    def missing(self, name: str, message: Missing, now_ms: int) -> Outcome:
        """Go on behind records that the device lacks, if those are what the replica needs next.

        Its own hash in front of them must be the device's; the one behind them is believed.
        """
        first, last, after = message.first, message.last, message.after
        with self._store.transaction() as db:
            device = meet(db, name)
            gap = None
            due = first - 1 == device.tip
            if due and not device.tip_hash.startswith(message.before):
                raise_alarm(db, name, f"fork at record {device.tip}", now_ms)
            elif due and parting.bring_back(db, name, first, last, after):
                _move_tip(db, name, last, after)
            elif due and not branches.is_superseded_gap(db, name, first, last, after):
                gap = _leave_out(db, name, message, now_ms)
            db.execute("UPDATE devices SET seen_at = ? WHERE name = ?", (now_ms, name))
            return _outcome(db, device, Outcome(device, gap=gap))

    def hello(self, name: str, message: Hello, now_ms: int) -> Outcome:
        """Begin a nonce, unless the device's log is not the one that the replica follows.

        If that log has lost its tail, what the replica has of it becomes a superseded branch.
        """
        with self._store.transaction() as db:
            device = meet(db, name)
            found = hellos.judge(
                message, device, _life(db, message, name), lambda seq: hashes_at(db, device, seq)
            )
            if found.meaning == Meaning.FORK:
                raise_alarm(db, name, f"fork at or before record {found.at}", now_ms)
            elif found.meaning == Meaning.LOST:
                _lose(db, device, message, now_ms)
            if found.meaning in (Meaning.SAME, Meaning.LOST):
                parting.greet(db, meet(db, name), message, now_ms)
                _accept(db, name, message, now_ms)
            if found.meaning != Meaning.OLD:
                accepted = found.meaning != Meaning.FORK
                db.execute(
                    "INSERT INTO lives VALUES (?, ?, ?, ?) ON CONFLICT (device, boot) DO UPDATE"
                    " SET hellos = excluded.hellos, accepted = accepted OR excluded.accepted",
                    (name, message.boot, message.count, accepted),
                )
            return _outcome(db, device, Outcome(device, meaning=found.meaning))


# -- inside a transaction


def hashes_at(db: sqlite3.Connection, device: Device, seq: int) -> list[bytes]:
    """The replica's chain hashes after record `seq`; none in a gap or beyond its tip.

    There are several where the chain began anew, as older records were damaged on the device.
    """
    if seq >= device.tip:
        return [device.tip_hash] if seq == device.tip else []
    rows = db.execute(
        "SELECT h_after FROM gaps WHERE device = ?1 AND last = ?2"
        " UNION ALL SELECT hash FROM records WHERE device = ?1 AND seq = ?2",
        (device.name, seq),
    )
    found: list[bytes] = [row[0] for row in rows]
    return found if seq else [genesis(device.name), *found]


def _numbered(first: int, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    for at, piece in enumerate(pieces, first):
        if piece.seq16 != at & 0xFFFF:
            raise FormatError(f"record {at} carries the number {piece.seq16}")
    return pieces


def _upload(
    db: sqlite3.Connection,
    device: Device,
    message: Upload,
    pieces: tuple[Piece, ...],
    h: bytes,
    now_ms: int,
) -> Outcome:
    """Append what is new of an upload whose chain begins at `h`, a hash of the replica's."""
    first, last = message.first, message.first + len(pieces) - 1
    held = _held(db, device, first, len(pieces))
    found, rejected = _chained(db, device, message, pieces, h, held)
    compared = compare(first, found.frames, tip=device.tip, held=held)
    if compared.fork is not None:
        if not branches.is_superseded(db, device.name, found.h_at(compared.fork - first, h)):
            raise_alarm(db, device.name, f"fork at record {compared.fork}", now_ms)
        return Outcome(device)
    new = _append(db, device, compared.new, now_ms)
    if new:
        branches.take_back(db, device, list(new))
        parting.part(db, device.name, list(new))
    tip = new[-1].seq if new else device.tip
    wanted = _request_id(db, device.name, message.wanted) if found.whole else None
    return Outcome(
        device,
        new,
        whole=None if found.whole else last,
        rejected=rejected,
        wanted=wanted,
        implied=wanted is not None and message.wanted == tip,
    )


def _chained(
    db: sqlite3.Connection,
    device: Device,
    message: Upload,
    pieces: tuple[Piece, ...],
    h: bytes,
    held: dict[int, bytes],
) -> tuple[Chained, str | None]:
    """The records that are meant, and what is wrong with their check, if anything."""
    name = device.name
    known = Known(
        lambda req: _request_id(db, name, req),
        lambda req: _parts(db, name, req),
        lambda request_id: reply_row(db, name, request_id),
    )
    found = references.resolve(pieces, message.first, h, held, known)
    if not found.whole or message.check in (None, found.h[: wire.CHECK]):
        return found, None
    why = f"the check behind record {message.first + len(pieces) - 1} fails"
    if not references.has_references(pieces):
        raise FormatError(why)
    return references.before_references(pieces, h), why


def _leave_out(db: sqlite3.Connection, name: str, message: Missing, now_ms: int) -> Gap:
    first, last, after = message.first, message.last, message.after
    db.execute(
        "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET h_after = excluded.h_after",
        (name, first, last, message.before, after, now_ms),
    )
    _move_tip(db, name, last, after)
    if last < first:  # it was damage that made its log another one
        end_fork(db, name)
    return Gap(first, last, "its log does not have them any more")


def _life(db: sqlite3.Connection, hello: Hello, name: str) -> Life:
    row = db.execute(
        "SELECT hellos, accepted FROM lives WHERE device = ? AND boot = ?", (name, hello.boot)
    ).fetchone()
    count, accepted = row or (0, False)
    superseded = branches.has_id(db, name, hello.boot)
    return Life(count, bool(accepted), superseded, parting.parted_at(db, name, hello.before_hash))


def _lose(db: sqlite3.Connection, device: Device, hello: Hello, now_ms: int) -> None:
    """The log went back to the record before this BOOT: what came behind it is a branch now."""
    h = next(h for h in hashes_at(db, device, hello.before) if h[: wire.ID] == hello.before_hash)
    lost = f"records {hello.before + 1} to {device.tip}"
    why = f"its log lost {lost}"
    number = branches.supersede(
        *(db, device, h, hello.before), why=why, now_ms=now_ms, due=branches.DUE, parted=True
    )
    parting.leave(db, device.name, hello.before)
    text = f"{why}, restored from a backup or damaged; kept as branch {number}"
    raise_alarm(db, device.name, text, now_ms)


def _accept(db: sqlite3.Connection, name: str, hello: Hello, now_ms: int) -> None:
    # A nonce may have been answered before it became the store's, once for each hello: what
    # counts its hellos is above all of those counters.
    db.execute(
        "UPDATE devices SET epoch = ?1, hellos = ?2, hello_unix_ms = ?3, part_bytes = ?4,"
        " seen_at = ?3, counter = CASE nonce WHEN ?5 THEN max(counter, ?2) ELSE ?2 END,"
        " nonce = ?5, before = ?7, boot = ?8 WHERE name = ?6",
        (
            *(hello.epoch, hello.count, now_ms, hello.part_bytes, hello.nonce, name),
            *(hello.before, hello.boot),
        ),
    )


def _outcome(db: sqlite3.Connection, before: Device, outcome: Outcome) -> Outcome:
    """With the device as it is now, and its alarm if that is a new one."""
    after = device_row(db, before.name) or before
    alarm = after.alarm if after.alarm != before.alarm else None
    return replace(outcome, device=after, alarm=alarm)


def _held(db: sqlite3.Connection, device: Device, first: int, n: int) -> dict[int, bytes]:
    rows = db.execute(
        "SELECT seq, frame FROM records WHERE device = ? AND seq BETWEEN ? AND ?",
        (device.name, first, first + n - 1),
    )
    return dict(rows.fetchall())


def _request_id(db: sqlite3.Connection, name: str, seq: int | None) -> bytes | None:
    row = db.execute(
        "SELECT hash FROM records WHERE device = ? AND seq = ? AND kind = ?", (name, seq, r.REQ)
    ).fetchone()
    return row[0][: wire.ID] if row else None


def _parts(db: sqlite3.Connection, name: str, req: int) -> int:
    """How many bytes of the reply to `req` the replica has in PARTs."""
    rows = db.execute(
        "SELECT frame FROM records WHERE device = ?1 AND kind = ?3 AND seq > ?2 AND turn ="
        " (SELECT turn FROM records WHERE device = ?1 AND seq = ?2)",
        (name, req, r.PART),
    )
    parts = [frames.decode(r.PART, frames.frame_at(row[0], 0).payload) for row in rows]
    return sum(len(part["data"]) for part in parts if part["req"] == req)


def _append(
    db: sqlite3.Connection, device: Device, new: tuple[Frame, ...], now_ms: int
) -> tuple[Record, ...]:
    """Put verified frames behind the tip, and move it; none of a branch that was superseded."""
    records: list[Record] = []
    turns = Turns(lambda seq: _place(db, device.name, seq))
    h: bytes = device.tip_hash
    for seq, frame in enumerate(new, device.tip + 1):
        fields = frames.decode(frame.kind, frame.payload)
        h = chain(h, frame.data)
        if not records and branches.is_superseded(db, device.name, h):
            return ()
        record = turns.place(Record(seq, frame.kind, h, fields, at_ms=now_ms))
        records.append(record)
        db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (device.name, seq, frame.kind, record.turn, record.session, h, frame.data, now_ms),
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
