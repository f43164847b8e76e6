"""Superseded branches: records that a device once had and whose place others took.

A log that is restored from a backup, or loses its last records to damage, goes on from an earlier
record; so does one that a person lets a fork go on from. What the replica held behind that record
becomes a branch: it is kept, and a device that lost it takes it back (FORMAT.md, "Link").
"""

import sqlite3
from dataclasses import dataclass

from mote import records as r
from mote.segments import HEAD
from mote.wire import ID

from mote_host.database import Database
from mote_host.frames import Gap, Record
from mote_host.store import Device, gap_of, record_of

DUE = 1
DUE_ONCE_PARTED = 2
DUE_UNLESS_SHARED = 3  # the same, until a hello leaves it open whether its log has these records

_RECORD = "seq, kind, hash, frame, turn, session, at_ms"
_BRANCH = "branch, first, last, h_before, h_last, why, at_ms, due"


@dataclass(frozen=True, slots=True)
class Branch:
    """Records `first`..`last`, chained to `before`, the hash in front of them (32 bytes).

    `head` is the hash behind them; `due` is DUE while the device is to take them back.
    """

    number: int
    first: int
    last: int
    before: bytes
    head: bytes
    why: str
    at_ms: int
    due: int


@dataclass(frozen=True, slots=True)
class Payload:
    """What goes down of a lost record: bytes of its payload from `offset` on, of `length`.

    Kind 0 stands for one that is not there.
    """

    last: int
    seq: int
    kind: int = 0
    offset: int = 0
    length: int = 0
    data: bytes = b""


class Branches:
    """The superseded branches in a store."""

    def __init__(self, store: Database) -> None:
        self._store = store

    def all(self, device: str) -> list[Branch]:
        """A device's branches, oldest first."""
        with self._store.reading() as db:
            rows = db.execute(
                f"SELECT {_BRANCH} FROM branches WHERE device = ? ORDER BY branch",  # noqa: S608
                (device,),
            ).fetchall()
        return [Branch(*row) for row in rows]

    def records(self, device: str, branch: int) -> list[Record]:
        """The records of a branch."""
        with self._store.reading() as db:
            rows = db.execute(
                f"SELECT {_RECORD} FROM branch_records"  # noqa: S608 (a constant)
                " WHERE device = ? AND branch = ? ORDER BY seq",
                (device, branch),
            ).fetchall()
        return [record_of(row) for row in rows]

    def frames(self, device: str, branch: int) -> list[tuple[int, bytes, bytes]]:
        """(sequence number, chain hash, frame) of its records, as they are stored."""
        with self._store.reading() as db:
            return db.execute(
                "SELECT seq, hash, frame FROM branch_records"
                " WHERE device = ? AND branch = ? ORDER BY seq",
                (device, branch),
            ).fetchall()

    def gaps(self, device: str, branch: int) -> list[Gap]:
        """What is missing in it."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT first, last, h_before, h_after FROM branch_gaps"
                " WHERE device = ? AND branch = ? ORDER BY first, last",
                (device, branch),
            ).fetchall()
            told = db.execute(
                f"SELECT {_RECORD} FROM branch_records"  # noqa: S608 (a constant)
                " WHERE device = ? AND branch = ? AND kind = ?",
                (device, branch, r.GAP),
            ).fetchall()
        return [gap_of(row, [record_of(record) for record in told]) for row in rows]

    def payload(self, device: Device, seq: int, offset: int, most: int) -> Payload | None:
        """What the device takes back next, if `seq` from `offset` on is due; None: nothing is."""
        if device.branch is None or device.last is None or seq > device.last:
            return None
        with self._store.reading() as db:
            row = db.execute(
                "SELECT seq, kind, frame FROM branch_records"
                " WHERE device = ? AND branch = ? AND seq >= ? ORDER BY seq LIMIT 1",
                (device.name, device.branch, seq),
            ).fetchone()
        if row is None:
            return Payload(device.last, device.last)
        found, kind, frame = row
        payload = frame[HEAD:]
        begin = min(offset, len(payload)) if found == seq else 0
        part = payload[begin : begin + most]
        return Payload(device.last, found, kind, begin, len(payload), part)


# -- inside a transaction


def supersede(
    db: sqlite3.Connection,
    device: Device,
    h: bytes,
    at: int,
    *,
    why: str,
    now_ms: int,
    due: int,
    parted: bool,
) -> int:
    """The replica goes on behind record `at`, whose hash is `h`; the rest becomes a branch.

    Returns its number. Unless both are `parted` right there, `parting.part` finds out where.
    """
    branch: int = db.execute(
        "SELECT coalesce(max(branch), 0) + 1 FROM branches WHERE device = ?", (device.name,)
    ).fetchone()[0]
    db.execute(
        "INSERT INTO branches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(device.name, branch, at + 1, device.tip, h, device.tip_hash),
            *(why, now_ms, due, not parted),
        ),
    )
    _move_out(db, device.name, branch, at + 1, h)
    db.execute("UPDATE devices SET tip = ?, tip_hash = ? WHERE name = ?", (at, h, device.name))
    return branch


def _move_out(db: sqlite3.Connection, name: str, branch: int, first: int, h: bytes) -> None:
    """Move the replica's records from `first` on, and its gaps, into the branch."""
    place = (name, first)
    db.execute(
        "INSERT INTO branch_records SELECT device, ?3, seq, kind, turn, session, hash, frame,"
        " at_ms FROM records WHERE device = ?1 AND seq >= ?2",
        (*place, branch),
    )
    db.execute("DELETE FROM records WHERE device = ? AND seq >= ?", place)
    # one that ends before `first` is a chain that began anew there: it stays if `h` is its hash
    later = "device = ?1 AND (last >= ?2 OR (last = ?2 - 1 AND first = ?2 AND h_after != ?3))"
    db.execute(
        "INSERT INTO branch_gaps SELECT device, ?4, first, last, h_before, h_after, at_ms"  # noqa: S608
        f" FROM gaps WHERE {later}",
        (*place, h, branch),
    )
    db.execute(f"DELETE FROM gaps WHERE {later}", (*place, h))  # noqa: S608 (constants)


def is_superseded(db: sqlite3.Connection, name: str, h: bytes) -> bool:
    """Whether the record with that chain hash lies in a branch that the device has left.

    Somebody who recorded the uploads of a device must not be able to bring it back.
    """
    row = db.execute(
        "SELECT count(*) FROM branch_records AS x JOIN branches AS y"
        " ON y.device = x.device AND y.branch = x.branch AND NOT y.open"
        " WHERE x.device = ? AND x.hash = ?",
        (name, h),
    ).fetchone()
    return bool(row[0])


def is_superseded_gap(
    db: sqlite3.Connection, name: str, first: int, last: int, after: bytes
) -> bool:
    """The same of a gap."""
    row = db.execute(
        "SELECT count(*) FROM branch_gaps AS x JOIN branches AS y"
        " ON y.device = x.device AND y.branch = x.branch AND NOT y.open"
        " WHERE x.device = ? AND x.first = ? AND x.last = ? AND x.h_after = ?",
        (name, first, last, after),
    ).fetchone()
    return bool(row[0])


def has_id(db: sqlite3.Connection, name: str, record_id: bytes) -> bool:
    """Whether a superseded branch has a record with that id."""
    row = db.execute(
        "SELECT count(*) FROM branch_records WHERE device = ? AND hash BETWEEN ? AND ?",
        (name, record_id + bytes(ID), record_id + b"\xff" * ID),
    ).fetchone()
    return bool(row[0])


def take_back(db: sqlite3.Connection, device: Device, records: list[Record]) -> None:
    """The device has taken back what is due if the last byte of the last record is among these."""
    for record in records:
        f = record.fields
        if record.kind != r.RECOVERED or (f["last"], f["record"]) != (device.last, device.last):
            continue
        if f["offset"] + len(f["data"]) == f["length"]:
            db.execute(
                "UPDATE branches SET due = 0 WHERE device = ? AND branch = ?",
                (device.name, device.branch),
            )
