"""Messages of enrolled devices that were not taken: how many, and why the last one was not.

Whoever may publish can send any number of them, so they are counted in memory and written to the
store at most once a second for each device.
"""

import logging
import re
from dataclasses import dataclass

from mote_host.database import Database

WRITE_MS = 1000
MAX_REASONS = 32  # of one device that are logged
MAX_WHY_CHARS = 200

_log = logging.getLogger("mote.gateway")
_NUMBERS = re.compile(r"(0x[0-9a-f]+|\d+)")


@dataclass(frozen=True, slots=True)
class Rejected:
    """What is known of a device's rejected messages."""

    count: int
    why: str
    at_ms: int


class Rejections:
    """Counts and logs them for one gateway."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self._waiting: dict[str, Rejected] = {}  # what is not written yet
        self._written_ms: dict[str, int] = {}
        self._told: dict[str, set[str]] = {}

    def note(self, device: str, why: str, now_ms: int) -> None:
        """One more; a device's first one for a reason is logged as a warning."""
        why = why[:MAX_WHY_CHARS]
        reason = _NUMBERS.sub("N", why)
        told = self._told.setdefault(device, set())
        if reason not in told and len(told) < MAX_REASONS:
            told.add(reason)
            _log.warning("%s: a message was rejected: %s", device, why)
        before = self._waiting.get(device)
        self._waiting[device] = Rejected(before.count + 1 if before else 1, why, now_ms)
        if abs(now_ms - self._written_ms.get(device, -WRITE_MS)) >= WRITE_MS:
            self._write(device)

    def flush(self) -> None:
        """Write what waits."""
        for device in list(self._waiting):
            self._write(device)

    def _write(self, device: str) -> None:
        found = self._waiting.pop(device)
        self._written_ms[device] = found.at_ms
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO rejections VALUES (?1, ?2, ?3, ?4) ON CONFLICT (device)"
                " DO UPDATE SET count = count + ?2, why = ?3, at_ms = ?4",
                (device, found.count, found.why, found.at_ms),
            )


def clear(store: Database, device: str) -> int:
    """Somebody has looked at them; returns how many there were."""
    with store.transaction() as db:
        row = db.execute(
            "DELETE FROM rejections WHERE device = ? RETURNING count", (device,)
        ).fetchone()
    return row[0] if row else 0


def rejections(store: Database) -> dict[str, Rejected]:
    """What the store has, by device."""
    with store.reading() as db:
        rows = db.execute("SELECT device, count, why, at_ms FROM rejections")
        return {row[0]: Rejected(*row[1:]) for row in rows}
