"""Which tools devices have: sets of declarations, known by the hash of all their bytes.

A set is shared by all devices whose requests name its hash, so nothing of it is shared before it
is whole and proven. Until then what a device declares is its own: one set at a time.
"""

import hashlib
import sqlite3

from mote_host.database import Database
from mote_host.declarations import is_one

MAX_DECLARATIONS = 256
MAX_DECLARATION_BYTES = 8192


class Toolsets:
    """The sets in a store."""

    def __init__(self, store: Database) -> None:
        self._store = store

    def declare(
        self, device: str, tools: bytes, index: int, count: int, declaration: bytes
    ) -> bool:
        """Keep one declaration of the set with that hash; True if the set is whole now.

        A set that is whole but not what its hash says is dropped: the device lied about it.
        """
        if not index < count <= MAX_DECLARATIONS or len(declaration) > MAX_DECLARATION_BYTES:
            return False
        with self._store.transaction() as db:
            if _shared(db, tools) is not None:
                return True
            if not is_one(declaration) or not _met(db, device):
                return False
            _keep(db, device, (tools, index, count, declaration))
            return _complete(db, device, tools, count)

    def get(self, tools: bytes) -> list[bytes] | None:
        """All declarations of the set with that hash, in order; None if it is not here."""
        with self._store.reading() as db:
            return _shared(db, tools)


def _hash_of(declarations: list[bytes], size: int) -> bytes:
    return hashlib.sha256(b"".join(declarations)).digest()[:size]


def _shared(db: sqlite3.Connection, tools: bytes) -> list[bytes] | None:
    rows = db.execute("SELECT bytes FROM declarations WHERE hash = ? ORDER BY idx", (tools,))
    found = [row[0] for row in rows]
    # A device without tools has nothing to declare: the hash of nothing matches at once.
    return found if found or _hash_of([], len(tools)) == tools else None


def _met(db: sqlite3.Connection, device: str) -> bool:
    row = db.execute("SELECT count(*) FROM devices WHERE name = ?", (device,)).fetchone()
    return bool(row[0])


def _keep(db: sqlite3.Connection, device: str, row: tuple[bytes, int, int, bytes]) -> None:
    """Note it; another set, or another count of it, begins anew."""
    db.execute(
        "DELETE FROM declaring WHERE device = ? AND NOT (hash = ? AND count = ?)",
        (device, row[0], row[2]),
    )
    db.execute("INSERT OR REPLACE INTO declaring VALUES (?, ?, ?, ?, ?)", (device, *row))


def _complete(db: sqlite3.Connection, device: str, tools: bytes, count: int) -> bool:
    """Share the device's set, if it has become whole; then it is no longer kept apart."""
    rows = db.execute("SELECT bytes FROM declaring WHERE device = ? ORDER BY idx", (device,))
    found = [row[0] for row in rows]
    if len(found) < count:
        return False
    proven = _hash_of(found, len(tools)) == tools
    if proven:
        db.executemany(
            "INSERT INTO declarations VALUES (?, ?, ?, ?)",
            [(tools, index, count, data) for index, data in enumerate(found)],
        )
    db.execute("DELETE FROM declaring WHERE device = ?", (device,))
    return proven
