"""Forks: a device whose log and whose replica parted ways, until a person says which counts.

Such a device tells some records of its own chain, its points. Those that the replica has too are
common; the newest of them is where both go on from. The device's log can't be made to forget, so
the replica follows it either way; what the replica had is kept as a superseded branch, and if it
was the one that counts, the device takes it back.
"""

import json
import sqlite3
from dataclasses import dataclass

from mote import wire
from mote.segments import genesis

from mote_host import branches, parting
from mote_host.database import Database
from mote_host.errors import DeviceError
from mote_host.replica import hashes_at
from mote_host.store import Device, device_row, end_fork, meet, raise_alarm
from mote_host.uplink import Points

REPLICA = "replica"
MAX_FORKS = 16  # that are kept of one device
_NAME_DIGITS = 8

Known = tuple[tuple[int, bytes], ...]
_COLUMNS = "device, branch, epoch, points, since, seen_at"


@dataclass(frozen=True, slots=True)
class Fork:
    """A device's log that is not its replica's.

    `last` is its newest record, `common` the newest one that the replica has too, as far as its
    points tell; None if none is known.
    """

    device: str
    branch: str
    epoch: int
    last: int
    common: int | None
    since: int
    seen_at: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The replica went back to record `common`; its records behind it are `branch`."""

    common: int
    branch: int
    recovers: bool


class Forks:
    """The forks in a store."""

    def __init__(self, store: Database) -> None:
        self._store = store

    def note(self, name: str, message: Points, now_ms: int) -> str | None:
        """Keep a device's points; returns the alarm, if it is a new one.

        Points that the replica's newest record is among come from its own log: that is no fork.
        """
        with self._store.transaction() as db:
            device = meet(db, name)
            common = _common(db, device, message.points)
            branch, since = _same_branch(db, device, message) or (
                message.points[0][1].hex()[:_NAME_DIGITS],
                now_ms,
            )
            db.execute("DELETE FROM forks WHERE device = ? AND branch = ?", (name, branch))
            if common is not None and common[0] in (device.tip, message.points[0][0]):
                return None
            points = json.dumps([[seq, h.hex()] for seq, h in message.points])
            row = (name, branch, message.epoch, points, since, now_ms)
            db.execute("INSERT INTO forks VALUES (?, ?, ?, ?, ?, ?)", row)
            db.execute(
                "DELETE FROM forks WHERE device = ?1 AND branch NOT IN (SELECT branch FROM forks"
                " WHERE device = ?1 ORDER BY seen_at DESC, branch LIMIT ?2)",
                (name, MAX_FORKS),
            )
            behind = f" behind record {common[0]}" if common else ""
            raise_alarm(db, name, f"fork: its log is another one{behind}", now_ms)
            after = device_row(db, name)
            return after.alarm if after and after.alarm != device.alarm else None

    def all(self, name: str | None = None) -> list[Fork]:
        """The forks of a device, or of all, by device; the one that was heard last comes first."""
        with self._store.reading() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM forks WHERE ?1 IS NULL OR device = ?1"  # noqa: S608
                " ORDER BY device, seen_at DESC, branch",
                (name,),
            ).fetchall()
            known = {row[0]: device_row(db, row[0]) for row in rows}
            return [_fork(db, row, known[row[0]]) for row in rows]

    def check(self, name: str, branch: str) -> None:
        """Raise DeviceError if there is nothing to `accept`."""
        known = [fork.branch for fork in self.all(name)]
        if not known or branch not in (*known, REPLICA):
            raise _no_fork(name, branch)

    def accept(self, name: str, branch: str, now_ms: int) -> Accepted:
        """A person says which of both counts: REPLICA, or the branch of that name.

        Raises DeviceError if there is no such fork.
        """
        with self._store.transaction() as db:
            device = device_row(db, name)
            row = db.execute(
                f"SELECT {_COLUMNS} FROM forks WHERE device = ?1 AND (branch = ?2 OR ?2 = ?3)"  # noqa: S608
                " ORDER BY seen_at DESC LIMIT 1",
                (name, branch, REPLICA),
            ).fetchone()
            if device is None or row is None:
                raise _no_fork(name, branch)
            points = _points(row[3])
            recovers = branch == REPLICA
            at, h = _common(db, device, points) or (0, genesis(name))
            why = f"fork: {branch if recovers else 'branch ' + branch} was accepted"
            parting.reopen(db, name, [point[1] for point in points])
            due = branches.DUE_ONCE_PARTED if recovers else 0
            number = branches.supersede(
                *(db, device, h, at), why=why, now_ms=now_ms, due=due, parted=False
            )
            end_fork(db, name)
            # other lives are not heard before the one of that log is
            db.execute(
                "UPDATE devices SET epoch = ?, hellos = 0, before = NULL, boot = NULL"
                " WHERE name = ?",
                (row[2], name),
            )
            # whoever else is still another one says so again within a minute
            db.execute("DELETE FROM forks WHERE device = ?", (name,))
            return Accepted(at, number, recovers)


def _no_fork(name: str, branch: str) -> DeviceError:
    return DeviceError(f"{name} has no fork {branch}; mote forks lists them")


def _points(text: str) -> Known:
    return tuple((seq, bytes.fromhex(h)) for seq, h in json.loads(text))


def _common(db: sqlite3.Connection, device: Device, points: Known) -> tuple[int, bytes] | None:
    """The newest of the points that the replica has too, with its chain hash."""
    for seq, record_id in points:
        for h in hashes_at(db, device, seq):
            if h[: wire.ID] == record_id:
                return seq, h
    return None


def _same_branch(
    db: sqlite3.Connection, device: Device, message: Points
) -> tuple[str, int] | None:
    """Name and beginning of the fork that is known already and has grown to these points.

    Points may be few, and all new but those that are common: then the epoch tells.
    """
    rows = db.execute(
        "SELECT branch, epoch, points, since FROM forks WHERE device = ?", (device.name,)
    )
    for branch, epoch, text, since in rows:
        known = _points(text)
        common = _common(db, device, known)
        own = {point for point in known if common is None or point[0] > common[0]}
        grown = epoch == message.epoch and known[0][0] <= message.points[0][0]
        if grown or own & set(message.points):
            return branch, since
    return None


def _fork(
    db: sqlite3.Connection, row: tuple[str, str, int, str, int, int], device: Device | None
) -> Fork:
    name, branch, epoch, text, since, seen_at = row
    points = _points(text)
    common = _common(db, device, points) if device else None
    return Fork(name, branch, epoch, points[0][0], common and common[0], since, seen_at)
