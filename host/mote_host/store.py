"""The gateway's memory: devices, replicas of their logs, replies.

Every gateway on one store file does the same thing with the same message: what must be read and
then written is one immediate transaction. Times are Unix milliseconds and come from the caller.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mote import records as r
from mote.segments import HEAD, genesis

from mote_host.database import Database
from mote_host.frames import Gap, Record, decode, why_missing
from mote_host.schema import OF_A_DEVICE

MAX_UNENROLLED = 1000

_DEVICE = """
    SELECT name, epoch, tip, tip_hash, nonce, counter, hello_unix_ms, part_bytes, alarm, seen_at,
    hellos, alarm_at, before, boot, branch, first, last,
    (SELECT max(last) FROM branches WHERE device = name AND due = 2)
    FROM devices LEFT JOIN branches
    ON device = name AND
    branch = (SELECT min(branch) FROM branches WHERE device = name AND due = 1)
"""
_RECORD = "seq, kind, hash, frame, turn, session, at_ms"
_REPLY = "state, body, calls, tokens_in, tokens_out, provider, model"


@dataclass(frozen=True, slots=True)
class Device:
    """What is known of a device. `tip_hash` has 32 bytes; `nonce` is empty before a hello.

    (`epoch`, `hellos`) are those of the last hello that was accepted, `boot` is the id of the BOOT
    of its life, `before` the record before that; None if they are not known. If the device is to
    take back lost records, they are `first`..`last` of superseded branch `branch`; up to `parting`
    there are others, of which the first one is not known yet.
    """

    name: str
    epoch: int
    tip: int
    tip_hash: bytes
    nonce: bytes
    counter: int
    hello_unix_ms: int
    part_bytes: int
    alarm: str | None
    seen_at: int
    hellos: int = 0
    alarm_at: int = 0
    before: int | None = None
    boot: bytes | None = None
    branch: int | None = None
    first: int | None = None
    last: int | None = None
    parting: int | None = None


@dataclass(frozen=True, slots=True)
class StoredReply:
    """What became of a request: `body` is the reply's bytes, or for "failed" why, in UTF-8."""

    state: Literal["done", "failed"]
    body: bytes
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    provider: str = ""
    model: str = ""


class Store(Database):
    """The store, in the verbs of the protocol."""

    # -- devices

    def device(self, name: str) -> Device | None:
        """What is known of a device; None before its first message."""
        with self.reading() as db:
            return device_row(db, name)

    def devices(self) -> list[Device]:
        """All devices that were ever heard, by name."""
        with self.reading() as db:
            rows = db.execute(f"{_DEVICE} ORDER BY name")
            return [Device(*row) for row in rows]

    def take_counters(self, name: str, n: int = 1) -> tuple[bytes, int] | None:
        """Claim `n` rising counters for `dn`: (nonce, the first); None before a hello."""
        with self.transaction() as db:
            row = db.execute(
                "UPDATE devices SET counter = counter + ? WHERE name = ? AND nonce != x''"
                " RETURNING nonce, counter",
                (n, name),
            ).fetchone()
        return (row[0], row[1] - n + 1) if row else None

    def clear_alarm(self, name: str) -> bool:
        """A person has looked at it. False if there was no alarm."""
        with self.transaction() as db:
            return bool(
                db.execute(
                    "UPDATE devices SET alarm = NULL, alarm_at = 0"
                    " WHERE name = ? AND alarm IS NOT NULL",
                    (name,),
                ).rowcount
            )

    def forget(self, name: str) -> bool:
        """Drop a device's replica and replies, as when it starts over with an empty log."""
        with self.transaction() as db:
            db.execute("DELETE FROM rejections WHERE device = ?", (name,))
            return bool(db.execute("DELETE FROM devices WHERE name = ?", (name,)).rowcount)

    def set_aside(self, name: str, aside: str) -> bool:
        """Keep what is known of `name` as `aside`, so that a new log of that name can begin."""
        with self.transaction() as db:
            db.execute("PRAGMA defer_foreign_keys = ON")
            db.execute("DELETE FROM rejections WHERE device = ?", (name,))
            for table in OF_A_DEVICE:
                db.execute(f"UPDATE {table} SET device = ? WHERE device = ?", (aside, name))  # noqa: S608 (constants)
            return bool(
                db.execute("UPDATE devices SET name = ? WHERE name = ?", (aside, name)).rowcount
            )

    def note_unenrolled(self, name: str, now_ms: int) -> bool:
        """Count a message of a device without a key; True if it is the first of that name."""
        with self.transaction() as db:
            count: int = db.execute(
                "INSERT INTO unenrolled VALUES (?1, ?2, ?2, 1) ON CONFLICT (name)"
                " DO UPDATE SET last_seen = ?2, count = count + 1 RETURNING count",
                (name, now_ms),
            ).fetchone()[0]
            if count == 1:
                db.execute(
                    "DELETE FROM unenrolled WHERE name IN (SELECT name FROM unenrolled"
                    " ORDER BY last_seen DESC, name LIMIT -1 OFFSET ?)",
                    (MAX_UNENROLLED,),
                )
            return count == 1

    def unenrolled(self) -> list[tuple[str, int, int, int]]:
        """(name, first seen, last seen, messages) of devices without a key, newest first."""
        with self.reading() as db:
            return db.execute(
                "SELECT name, first_seen, last_seen, count FROM unenrolled"
                " ORDER BY last_seen DESC, name"
            ).fetchall()

    # -- the replica

    def records(
        self, device: str, first: int = 1, last: int | None = None, turn: int | None = None
    ) -> list[Record]:
        """Records `first`..`last`; with `turn`, that turn's and the restarts among them."""
        with self.reading() as db:
            rows = db.execute(
                f"SELECT {_RECORD} FROM records WHERE device = ? AND seq BETWEEN ? AND ?"  # noqa: S608
                " AND (?4 IS NULL OR turn = ?4 OR kind = ?) ORDER BY seq",
                (device, first, last if last is not None else 1 << 53, turn, r.BOOT),
            ).fetchall()
        return [record_of(row) for row in rows]

    def frames(self, device: str) -> list[tuple[int, bytes, bytes]]:
        """(sequence number, chain hash, frame) of all records, as they are stored."""
        with self.reading() as db:
            return db.execute(
                "SELECT seq, hash, frame FROM records WHERE device = ? ORDER BY seq", (device,)
            ).fetchall()

    def gaps(self, device: str) -> list[Gap]:
        """What is missing in the replica: `before` has 16 bytes, `after` 32."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT first, last, h_before, h_after FROM gaps WHERE device = ?"
                " ORDER BY first, last",
                (device,),
            ).fetchall()
            told = db.execute(
                f"SELECT {_RECORD} FROM records INDEXED BY gaps_told"  # noqa: S608
                " WHERE device = ? AND kind = 14",
                (device,),
            ).fetchall()
        return [gap_of(row, [record_of(record) for record in told]) for row in rows]

    def request(self, device: str, request_id: bytes) -> Record | None:
        """The model request whose chain hash begins with these 16 bytes."""
        with self.reading() as db:
            row = db.execute(
                f"SELECT {_RECORD} FROM records"  # noqa: S608 (a constant)
                " WHERE device = ? AND kind = 3 AND hash BETWEEN ? AND ?",
                (device, request_id + bytes(16), request_id + b"\xff" * 16),
            ).fetchone()
        return record_of(row) if row else None

    def turns_before(
        self, device: str, session: str, ask: int, most: int
    ) -> Iterator[list[Record]]:
        """The last `most` turns of a session before ASK `ask`, newest first, without restarts.

        Each is read when it is asked for.
        """
        with self.reading() as db:
            asks = db.execute(
                "SELECT seq FROM records WHERE device = ? AND kind = 2 AND session = ?"
                " AND seq < ? ORDER BY seq DESC LIMIT ?",
                (device, session, ask, most),
            ).fetchall()
        for (seq,) in asks:
            with self.reading() as db:
                # left to itself, SQLite reads all of the device's records, which need no sorting
                rows = db.execute(
                    f"SELECT {_RECORD} FROM records INDEXED BY records_of_turns"  # noqa: S608
                    " WHERE device = ? AND turn = ? ORDER BY seq",
                    (device, seq),
                ).fetchall()
            yield [record_of(row) for row in rows]

    # -- replies

    def reply(self, device: str, request_id: bytes) -> StoredReply | None:
        """What became of a request; None while nothing has."""
        with self.reading() as db:
            return reply_row(db, device, request_id)

    def claim(
        self, device: str, request_id: bytes, owner: str, now_ms: int, lease_ms: int
    ) -> bool:
        """Take a request for `owner`; False if it is answered, or claimed and the lease runs."""
        with self.transaction() as db:
            return bool(
                db.execute(
                    "INSERT INTO replies (device, request_id, state, owner, lease_until_ms,"
                    " created) VALUES (?1, ?2, 'claimed', ?3, ?4 + ?5, ?4)"
                    " ON CONFLICT DO UPDATE SET owner = ?3, lease_until_ms = ?4 + ?5"
                    " WHERE state = 'claimed' AND lease_until_ms <= ?4",
                    (device, request_id, owner, now_ms, lease_ms),
                ).rowcount
            )

    def renew(self, device: str, request_id: bytes, owner: str, until_ms: int) -> None:
        """Prolong the lease of a claim that `owner` still has."""
        with self.transaction() as db:
            db.execute(
                "UPDATE replies SET lease_until_ms = ? WHERE device = ? AND request_id = ?"
                " AND state = 'claimed' AND owner = ?",
                (until_ms, device, request_id, owner),
            )

    def release(self, owner: str, device: str | None = None, request_id: bytes = b"") -> int:
        """Give back a claim of `owner`, or all of them; returns how many there were."""
        with self.transaction() as db:
            return db.execute(
                "DELETE FROM replies WHERE state = 'claimed' AND owner = ?1"
                " AND (?2 IS NULL OR (device = ?2 AND request_id = ?3))",
                (owner, device, request_id),
            ).rowcount

    def claimed_by(self, device: str, request_id: bytes) -> str | None:
        """Who holds the claim of a request; None if nobody does."""
        with self.reading() as db:
            row = db.execute(
                "SELECT owner FROM replies WHERE device = ? AND request_id = ?"
                " AND state = 'claimed'",
                (device, request_id),
            ).fetchone()
        return row[0] if row else None

    def owners(self) -> list[str]:
        """Who holds claims."""
        with self.reading() as db:
            rows = db.execute("SELECT DISTINCT owner FROM replies WHERE state = 'claimed'")
            return [row[0] for row in rows]

    def finish(self, device: str, request_id: bytes, reply: StoredReply) -> StoredReply | None:
        """Store what became of a claimed request, if nobody did before; returns what counts.

        None if the claim is gone: then nothing is stored, and nothing may be sent.
        """
        with self.transaction() as db:
            db.execute(
                "UPDATE replies SET state = ?, body = ?, calls = ?, tokens_in = ?,"
                " tokens_out = ?, provider = ?, model = ?"
                " WHERE device = ? AND request_id = ? AND state = 'claimed'",
                (
                    *(reply.state, reply.body, reply.calls, reply.tokens_in, reply.tokens_out),
                    *(reply.provider, reply.model, device, request_id),
                ),
            )
            return reply_row(db, device, request_id)


def device_row(db: sqlite3.Connection, name: str) -> Device | None:
    """What is known of a device, inside a transaction."""
    row = db.execute(f"{_DEVICE} WHERE name = ?", (name,)).fetchone()
    return Device(*row) if row else None


def meet(db: sqlite3.Connection, name: str) -> Device:
    """The same, and a device that was never heard begins at its genesis."""
    db.execute(
        "INSERT OR IGNORE INTO devices (name, tip_hash) VALUES (?, ?)", (name, genesis(name))
    )
    found = device_row(db, name)
    assert found is not None  # noqa: S101 (inserted above, in this transaction)
    return found


def reply_row(db: sqlite3.Connection, device: str, request_id: bytes) -> StoredReply | None:
    """What became of a request, inside a transaction."""
    row = db.execute(
        f"SELECT {_REPLY} FROM replies"  # noqa: S608 (a constant)
        " WHERE device = ? AND request_id = ? AND state != 'claimed'",
        (device, request_id),
    ).fetchone()
    return StoredReply(*row) if row else None


def raise_alarm(db: sqlite3.Connection, name: str, text: str, now_ms: int) -> None:
    """Note that the device and its replica do not agree; it stays until a person clears it.

    A fork is raised again by each message of its device: the first text stays.
    """
    db.execute(
        "UPDATE devices SET alarm_at = ?3, alarm = ?2 WHERE name = ?1 AND (alarm IS NULL OR"
        " NOT (alarm = ?2 OR (alarm LIKE 'fork%' AND ?2 LIKE 'fork%')))",
        (name, text, now_ms),
    )


def end_fork(db: sqlite3.Connection, name: str) -> None:
    """The alarm of a fork is over: why the logs differed is known."""
    db.execute(
        "UPDATE devices SET alarm = NULL, alarm_at = 0 WHERE name = ? AND alarm LIKE 'fork%'",
        (name,),
    )


def record_of(row: tuple[int, int, bytes, bytes, int | None, str | None, int]) -> Record:
    """A Record from a row of the replica."""
    seq, kind, chain_hash, frame, turn, session, at_ms = row
    return Record(seq, kind, chain_hash, decode(kind, frame[HEAD:]), turn, session, at_ms)


def gap_of(row: tuple[int, int, bytes, bytes], told: list[Record]) -> Gap:
    """A Gap from its row; the device's GAP record says why, once it is there."""
    first, last, before, after = row
    for record in told:
        if record.fields["first"] <= first and last <= record.fields["last"]:
            return Gap(first, last, why_missing(record), record.seq, before, after)
    return Gap(first, last, "the device's log does not have them any more", 0, before, after)
