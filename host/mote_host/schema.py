"""The tables of the store, and what makes a file of an older version like a new one."""

import hashlib
import sqlite3

from mote_host.declarations import is_one

VERSION = 4

_DEVICE = "device TEXT NOT NULL REFERENCES devices (name) ON DELETE CASCADE"
_RECORD = """\
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    turn INTEGER,
    session TEXT,
    hash BLOB NOT NULL,
    frame BLOB NOT NULL,
    at_ms INTEGER NOT NULL DEFAULT 0"""
_GAP = """\
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    h_before BLOB NOT NULL,
    h_after BLOB NOT NULL,
    at_ms INTEGER NOT NULL"""

_FIRST = f"""
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
    seen_at INTEGER NOT NULL DEFAULT 0,
    hellos INTEGER NOT NULL DEFAULT 0,
    alarm_at INTEGER NOT NULL DEFAULT 0,
    before INTEGER,
    boot BLOB
) WITHOUT ROWID;
CREATE TABLE unenrolled (
    name TEXT PRIMARY KEY,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    count INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE records (
    {_DEVICE},
{_RECORD},
    PRIMARY KEY (device, seq)
) WITHOUT ROWID;
CREATE INDEX records_of_turns ON records (device, turn);
CREATE INDEX asks_of_sessions ON records (device, session, seq) WHERE kind = 2;
CREATE INDEX requests ON records (device, hash) WHERE kind = 3;
CREATE TABLE replies (
    {_DEVICE},
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
CREATE TABLE declarations (
    hash BLOB NOT NULL,
    idx INTEGER NOT NULL,
    count INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (hash, idx)
) WITHOUT ROWID;
"""
_SECOND = f"""
CREATE TABLE gaps (
    {_DEVICE},
{_GAP},
    PRIMARY KEY (device, first, last)
) WITHOUT ROWID;
"""
_COLUMNS = """
ALTER TABLE devices ADD COLUMN hellos INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN alarm_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN before INTEGER;
ALTER TABLE devices ADD COLUMN boot BLOB;
ALTER TABLE records ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;
"""
_THIRD = f"""
CREATE TABLE lives (
    {_DEVICE},
    boot BLOB NOT NULL,
    hellos INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    PRIMARY KEY (device, boot)
) WITHOUT ROWID;
CREATE TABLE branches (
    {_DEVICE},
    branch INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    h_before BLOB NOT NULL,
    h_last BLOB NOT NULL,
    why TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    due INTEGER NOT NULL,
    open INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (device, branch)
) WITHOUT ROWID;
CREATE TABLE branch_records (
    {_DEVICE},
    branch INTEGER NOT NULL,
{_RECORD},
    PRIMARY KEY (device, branch, seq)
) WITHOUT ROWID;
CREATE INDEX superseded ON branch_records (device, hash);
CREATE TABLE branch_gaps (
    {_DEVICE},
    branch INTEGER NOT NULL,
{_GAP},
    PRIMARY KEY (device, branch, first, last)
) WITHOUT ROWID;
CREATE TABLE forks (
    {_DEVICE},
    branch TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    points TEXT NOT NULL,
    since INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (device, branch)
) WITHOUT ROWID;
CREATE TABLE declaring (
    {_DEVICE},
    hash BLOB NOT NULL,
    idx INTEGER NOT NULL,
    count INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (device, idx)
) WITHOUT ROWID;
CREATE TABLE rejections (
    device TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    why TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""
# Constants: an index of some rows is used where a statement says the same.
_FOURTH = """
CREATE INDEX gaps_told ON records (device) WHERE kind = 14;
CREATE INDEX claims ON replies (owner) WHERE state = 'claimed';
"""
_STEPS = {
    0: _FIRST + _SECOND + _THIRD + _FOURTH,
    1: _SECOND + _COLUMNS + _THIRD + _FOURTH,
    2: _COLUMNS + _THIRD + _FOURTH,
    3: _FOURTH,
}

OF_A_DEVICE = (
    *("records", "replies", "gaps", "lives", "branches", "branch_records", "branch_gaps"),
    *("forks", "declaring"),
)
"""The tables whose rows go with a device's row."""


def prepare(db: sqlite3.Connection) -> int | None:
    """Bring a file to VERSION, inside a transaction; returns its version if it is unknown here."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return None
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version not in _STEPS or (version == 0 and tables):
        return version
    # executescript would commit: each statement goes by itself
    for statement in _STEPS[version].split(";\n"):
        db.execute(statement)
    if version:
        _drop_unproven(db)
    db.execute(f"PRAGMA user_version = {VERSION}")
    return None


def _drop_unproven(db: sqlite3.Connection) -> None:
    """Of the declarations that are shared keep the sets that are whole and what they say.

    A device declares again what is missing, when its next request needs it.
    """
    for (tools,) in db.execute("SELECT DISTINCT hash FROM declarations").fetchall():
        rows = db.execute("SELECT bytes FROM declarations WHERE hash = ? ORDER BY idx", (tools,))
        data = [row[0] for row in rows]
        digest = hashlib.sha256(b"".join(data)).digest()[: len(tools)]
        if digest != tools or not all(is_one(one) for one in data):
            db.execute("DELETE FROM declarations WHERE hash = ?", (tools,))
