"""The store's file: opening it, its schema, and transactions that threads may share."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mote_host.errors import StoreError

SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 10.0

_SCHEMA = """
CREATE TABLE devices (
    name TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL DEFAULT 0,
    tip INTEGER NOT NULL DEFAULT 0,
    tip_hash BLOB NOT NULL,
    nonce BLOB NOT NULL DEFAULT x'',
    counter INTEGER NOT NULL DEFAULT 0,
    hello_unix_ms INTEGER NOT NULL DEFAULT 0,
    part_bytes INTEGER NOT NULL DEFAULT 0,
    alarm TEXT,
    seen_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE unenrolled (
    name TEXT PRIMARY KEY,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    count INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE records (
    device TEXT NOT NULL REFERENCES devices (name) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    turn INTEGER,
    session TEXT,
    hash BLOB NOT NULL,
    frame BLOB NOT NULL,
    PRIMARY KEY (device, seq)
) WITHOUT ROWID;
CREATE INDEX records_of_turns ON records (device, turn);
CREATE INDEX asks_of_sessions ON records (device, session, seq) WHERE kind = 2;
CREATE INDEX requests ON records (device, hash) WHERE kind = 3;
CREATE TABLE replies (
    device TEXT NOT NULL REFERENCES devices (name) ON DELETE CASCADE,
    request_id BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('claimed', 'done', 'failed')),
    owner TEXT NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    body BLOB NOT NULL DEFAULT x'',
    calls INTEGER NOT NULL DEFAULT 0,
    tokens_in INTEGER NOT NULL DEFAULT 0,
    tokens_out INTEGER NOT NULL DEFAULT 0,
    provider TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    created INTEGER NOT NULL,
    PRIMARY KEY (device, request_id)
) WITHOUT ROWID;
CREATE TABLE gaps (
    device TEXT NOT NULL REFERENCES devices (name) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    h_before BLOB NOT NULL,
    h_after BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (device, first, last)
) WITHOUT ROWID;
CREATE TABLE declarations (
    hash BLOB NOT NULL,
    idx INTEGER NOT NULL,
    count INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (hash, idx)
) WITHOUT ROWID;
"""

_STATEMENTS = _SCHEMA.split(";\n")
_ADDED = {1: "CREATE TABLE gaps"}  # what a file of an older version lacks


class Database:
    """One connection to the file at `path`, created if it is not there.

    Several processes may hold the file; within one, a lock gives the connection to one thread at
    a time. Raises StoreError, which names the file, for everything that SQLite refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What people asked is in there: the file is the owner's from its first byte on.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as exc:
            raise StoreError(f"{path}: the store can't be opened: {exc.strerror}") from exc
        with self._wrapped():
            self._db = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            self._prepare()
        except StoreError:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; the last one to do so folds the write-ahead log into it."""
        with self._lock:
            self._db.close()

    def _prepare(self) -> None:
        with self._wrapped():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
        with self.transaction() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version == 0 and tables == 0:
                # executescript would commit: each statement goes by itself
                for statement in _STATEMENTS:
                    db.execute(statement)
            elif version in _ADDED:
                for statement in _STATEMENTS:
                    if statement.strip().startswith(_ADDED[version]):
                        db.execute(statement)
            elif version != SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path}: schema {version} of another mote; this one has {SCHEMA_VERSION}"
                )
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Read and write alone, across threads and processes: all of it counts, or nothing."""
        with self._lock, self._wrapped():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read, without keeping other processes from writing."""
        with self._lock, self._wrapped():
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.execute("ROLLBACK")

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise StoreError(f"{self.path}: the store can't be used: {exc}") from exc
