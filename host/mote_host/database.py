"""The store's file: opening it, and transactions that threads may share."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mote_host import schema
from mote_host.errors import StoreError

BUSY_TIMEOUT_S = 10.0


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
            unknown = schema.prepare(db)
            if unknown is not None:
                raise StoreError(
                    f"{self.path}: schema {unknown} of another mote; this one has {schema.VERSION}"
                )

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
