"""Where the replica and its superseded branches part, and what they turn out to share.

A branch that is open may be what the device's log goes on with: a person let the replica go back
further than to where both part, or a hello showed that its log has these records. As they come
up again they go from the branch back into the replica, until one is another one. All of this is
inside a transaction. Source: FORMAT.md, "Link".
"""

import sqlite3

from mote.wire import ID

from mote_host.branches import DUE, DUE_UNLESS_SHARED
from mote_host.frames import Record
from mote_host.store import Device, raise_alarm
from mote_host.uplink import Hello


def greet(db: sqlite3.Connection, device: Device, hello: Hello, now_ms: int) -> None:
    """A hello was accepted: what it says of the branches that begin behind the replica's tip.

    A copy of the log may have made the replica go back while the original lives on, and somebody
    may have made it so by a hello of long ago: whose records they are may have them back.
    """
    rows = db.execute(
        "SELECT branch, first, last, open FROM branches WHERE device = ? AND first = ?"
        " AND h_before = ?",
        (device.name, device.tip + 1, device.tip_hash),
    ).fetchall()
    for number, first, last, is_open in rows:
        branch = (device.name, number)
        # a life that was known before the branch, and goes on, has no BOOT where that begins
        goes_on = hello.before < device.tip < hello.head
        parts = hello.before == device.tip  # or not, as its BOOT is the branch's first record
        if _has_of(db, branch, hello, parts=parts) or goes_on:
            if not is_open:
                _set(db, branch, 1, DUE_UNLESS_SHARED)
                text = f"it has records {first} to {last} after all: a copy of its log is in use"
                raise_alarm(db, device.name, text, now_ms)
        elif parts:
            _close(db, branch)
        elif hello.before > device.tip:
            # This may be the log that lost them, after a reboot, or one that has them and more.
            # If it takes back what it has, no harm is done.
            db.execute(
                "UPDATE branches SET open = 1, due = CASE due WHEN ?3 THEN ?4 ELSE due END"
                " WHERE device = ?1 AND branch = ?2",
                (*branch, DUE_UNLESS_SHARED, DUE),
            )


def leave(db: sqlite3.Connection, name: str, at: int) -> None:
    """The device lost what is behind record `at`: it goes on with no branch from there on."""
    db.execute(
        "UPDATE branches SET open = 0, due = min(due, ?3) WHERE device = ?1 AND open"
        " AND first > ?2",
        (name, at, DUE),
    )


def parted_at(db: sqlite3.Connection, name: str, record_id: bytes) -> int | None:
    """The first record of the branch that is not open and has the record with that id."""
    row = db.execute(
        "SELECT y.first FROM branch_records AS x JOIN branches AS y ON y.device = x.device"
        " AND y.branch = x.branch AND NOT y.open WHERE x.device = ? AND x.hash BETWEEN ? AND ?",
        (name, record_id + bytes(ID), record_id + b"\xff" * ID),
    ).fetchone()
    return row[0] if row else None


def _has_of(db: sqlite3.Connection, branch: tuple[str, int], hello: Hello, *, parts: bool) -> bool:
    """Whether the branch, which begins behind the replica's tip, has a record that it names."""
    ids = (hello.boot,) if parts else (hello.boot, hello.before_hash, hello.head_hash)
    return any(
        db.execute(
            "SELECT 1 FROM branch_records WHERE device = ? AND branch = ? AND hash BETWEEN ?"
            " AND ?",
            (*branch, record_id + bytes(ID), record_id + b"\xff" * ID),
        ).fetchone()
        for record_id in ids
    )


def _set(db: sqlite3.Connection, branch: tuple[str, int], is_open: int, due: int) -> None:
    db.execute(
        "UPDATE branches SET open = ?3, due = ?4 WHERE device = ?1 AND branch = ?2",
        (*branch, is_open, due),
    )


def _close(db: sqlite3.Connection, branch: tuple[str, int]) -> None:
    """The replica and the branch part in front of it: what was to be taken back then is due."""
    db.execute(
        "UPDATE branches SET open = 0, due = min(due, ?3) WHERE device = ?1 AND branch = ?2",
        (*branch, DUE),
    )


def reopen(db: sqlite3.Connection, name: str, ids: list[bytes]) -> None:
    """The replica may come to branches that have one of these ids: `part` finds out how far."""
    for record_id in ids:
        db.execute(
            "UPDATE branches SET open = 1 WHERE device = ?1 AND branch IN (SELECT branch FROM"
            " branch_records WHERE device = ?1 AND hash BETWEEN ?2 AND ?3)",
            (name, record_id + bytes(ID), record_id + b"\xff" * ID),
        )


def part(db: sqlite3.Connection, name: str, new: list[Record]) -> None:
    """Look where the replica parts from branches that are open, now that it has `new` records.

    What a branch shares with the replica goes out of it, and the branch itself if that is all.
    """
    rows = db.execute(
        "SELECT branch, first, last FROM branches WHERE device = ? AND open", (name,)
    ).fetchall()
    for branch, first, last in rows:
        for record in new:
            if record.seq < first:
                continue
            if not _shares(db, (name, branch), record):
                _close(db, (name, branch))
                break
            if record.seq == last:
                _drop(db, name, branch)
                break


def _drop(db: sqlite3.Connection, name: str, branch: int) -> None:
    """The replica has all of the branch."""
    for table in ("branches", "branch_gaps"):
        db.execute(f"DELETE FROM {table} WHERE device = ? AND branch = ?", (name, branch))  # noqa: S608


def bring_back(db: sqlite3.Connection, name: str, first: int, last: int, after: bytes) -> bool:
    """Move records `first`..`last` of a branch that is open into the replica, if it has them.

    A person let the replica go back further than to where it parts from the branch, and the
    device has dropped these meanwhile. `after`, the hash behind them, shows that it had the same.
    """
    row = db.execute(
        "SELECT branch, last FROM branches AS x WHERE device = ?1 AND open AND first = ?2 AND ?4"
        " IN (SELECT hash FROM branch_records AS y WHERE device = ?1 AND y.branch = x.branch"
        " AND seq = ?3 UNION SELECT h_after FROM branch_gaps AS z WHERE device = ?1"
        " AND z.branch = x.branch AND z.last = ?3)",
        (name, first, last, after),
    ).fetchone()
    if row is None:
        return False
    place = (name, row[0], last)
    db.execute(
        "INSERT INTO records SELECT device, seq, kind, turn, session, hash, frame, at_ms"
        " FROM branch_records WHERE device = ? AND branch = ? AND seq <= ?",
        place,
    )
    db.execute(
        "INSERT INTO gaps SELECT device, first, last, h_before, h_after, at_ms"
        " FROM branch_gaps WHERE device = ? AND branch = ? AND last <= ?",
        place,
    )
    db.execute("DELETE FROM branch_records WHERE device = ? AND branch = ? AND seq <= ?", place)
    db.execute("DELETE FROM branch_gaps WHERE device = ? AND branch = ? AND last <= ?", place)
    db.execute(
        "UPDATE branches SET first = ?3 + 1, h_before = ?4 WHERE device = ?1 AND branch = ?2",
        (*place, after),
    )
    if last == row[1]:
        _drop(db, name, row[0])
    return True


def _shares(db: sqlite3.Connection, branch: tuple[str, int], record: Record) -> bool:
    """Take the record out of the branch, if that is what it begins with."""
    shared = db.execute(
        "DELETE FROM branch_records WHERE device = ? AND branch = ? AND seq = ? AND hash = ?",
        (*branch, record.seq, record.hash),
    ).rowcount
    db.execute(
        "UPDATE branches SET first = ?4 + 1, h_before = ?5 WHERE device = ?1 AND branch = ?2"
        " AND ?3",
        (*branch, shared, record.seq, record.hash),
    )
    return bool(shared)
