"""The segments of a device's log, walked from the oldest one that is kept.

A device that starts reads its log from the newest checkpoint on, and tells in GAP records what it
found missing. An audit reads everything, by the same rules (`mote.recovery`): each whole
checkpoint, each record, and each hole with its place.
"""

from binascii import crc32
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mote.recovery import Checkpoint, Recovery
from mote.segments import HEADER, LogError, Segments
from mote_ports.files import FileMedium

from mote_host.errors import DeviceError

_LARGEST_RECORD = 0xFF00


@dataclass(frozen=True, slots=True)
class Hole:
    """Records that are not there: the chain hashes around them (b"" if unknown), and the place."""

    first: int
    last: int
    before: bytes
    after: bytes
    why: str


class Walk(Recovery):
    """Reads what is kept of a log. Raises LogError where a device would refuse it too.

    `frames` has (chain hash, frame without CRC) by record, `states` the items of each whole
    checkpoint with a state by the record behind it.
    """

    def __init__(
        self,
        medium: FileMedium,
        start: bytes | None,
        sign: Callable[..., bytes] | None,
        record_bytes: int,
    ) -> None:
        core: Any = super()  # the core has no annotations
        core.__init__(Segments(medium, sign, record_bytes), start or b"", record_bytes)
        self._core: Any = self
        self.frames: dict[int, tuple[bytes, bytes]] = {}
        self.states: dict[int, list[list[object]]] = {}
        self.holes: list[Hole] = []
        self.notes: list[str] = []
        self._named = start
        self._holes = (False, False)  # whether records are lost in the segment before, in this one

    def run(self, restore: object = None, visit: object = None) -> None:
        """Read it."""
        core = self._core
        self._visit = self._keep
        core._classify()
        newest = core._newest_state()
        if newest >= 0:
            self.base = self.live[newest][1]
        self.owed = None  # a reader owes nothing: holes are kept one by one
        self._drop()
        self._read_checkpoints()
        if self.live:
            self._begin()
            for n in range(len(self.live)):
                self._holes = (self._holes[1], False)
                core._fold(n)
        self._take_stray()
        self._forget_what_is_dropped()

    def _forget_what_is_dropped(self) -> None:
        """*oldest* may lie inside what was read: a header behind it may be damaged."""
        for seq in [seq for seq in self.frames if seq < self.oldest]:
            del self.frames[seq]
        holes, self.holes = self.holes, []
        for hole in holes:
            if hole.first >= self.oldest:
                self.holes.append(hole)
            elif hole.last >= self.oldest:
                self.holes.append(replace(hole, first=self.oldest, before=b""))

    def _keep(self, seq: int, h: bytes, kind: int, payload: memoryview) -> None:
        frame = len(payload).to_bytes(2, "big") + bytes([kind]) + (seq & 0xFFFF).to_bytes(2, "big")
        self.frames[seq] = (h, frame + bytes(payload))

    def _drop(self) -> None:
        """Leave out what the newest checkpoint says is dropped, erased or not."""
        live = self.live
        while len(live) > 1 and live[1][0] <= self.oldest and live[0][1] != self.base:
            live.pop(0)

    def _read_checkpoints(self) -> None:
        """Read those of the segments before the newest with a state as well."""
        for first, segment in self.live[:]:
            found: Any = self._whole.get(segment)
            try:
                found = found or self._core._checkpoint(segment)
            except LogError as exc:
                self.note(segment, str(exc).partition(": ")[2] or str(exc))
                continue
            if found is None:  # the power went while it was begun
                self.live.remove((first, segment))
            elif not found.whole:
                self._damaged(segment)
            else:
                self._whole[segment] = found
                if found.log[8]:
                    self.states[first] = []
                    self._core._restore(segment, self.states[first].append)

    def _damaged(self, segment: int) -> None:
        if not any(note.startswith(f"segment {segment}:") for note in self.notes):
            self.note(segment, "damaged checkpoint")

    def _begin(self) -> None:
        """Stand before the oldest record that should be there."""
        first, segment = self.live[0]
        h = self._segments.origin(segment)[1]
        if first == 1 and self._named and h != self._named:
            raise LogError(f"segment {segment}: the log of a device of another name")
        self.seq, self.head = first - 1, h
        if first > self.oldest:
            before = (self._named or b"") if self.oldest == 1 else b""
            self.holes.append(Hole(self.oldest, first - 1, before, h, "no segment has them"))

    def note(self, segment: int, why: str) -> None:
        """Keep all of them, where a device keeps a few."""
        text = f"segment {segment}: {why}"
        if text not in self.notes:
            self.notes.append(text)

    def lose(self, segment: int, at: int, count: int) -> None:
        """Go on behind a hole, with a hash that later segments may not have."""
        self._holes = (self._holes[0], True)
        core: Any = super()
        core.lose(segment, at, count)

    def _gap(self, first: int, last: int, before: bytes, after: bytes) -> None:
        why = self.notes.pop()  # who calls this has just said where
        if first == last == self.seq and self._holes[0]:
            return  # the header was written when nothing was lost yet
        self.holes.append(Hole(first, last, before, after, why))

    def _told(self, frame: memoryview) -> None:
        """GAP records are looked at when all is read."""

    def _take_stray(self) -> None:
        """Read what stands behind a damaged header; the device will move it when it starts."""
        core, segments = self._core, self._segments
        while found := core.stray():
            segment, seed = found
            self._limit = 0
            take = partial(core._record, segment)
            segments.walk(segment, segments.begin(), seed, take)


def geometry(files: list[Path]) -> tuple[int, int, int, int]:
    """(program unit, segment bytes, segments, record bytes), as the log's own checkpoints say.

    Where all that is damaged, it is what can be read with. Raises DeviceError if no file is a
    segment of a log.
    """
    folder, last = files[0].parent, int(files[-1].stem) + 1
    size = max(HEADER, *(file.stat().st_size for file in files))
    unit = max(_unit(file) for file in files)
    medium = FileMedium(str(folder), last, size, unit).read_only()
    try:
        told = [log for file in files if (log := _told_by(medium, int(file.stem)))]
    finally:
        medium.close()
    if told:
        return unit, told[0][2], max(last, told[0][3]), told[0][4]
    if not any(file.read_bytes().startswith(b"mote") for file in files):
        raise DeviceError(f"{files[0]}: not a mote log")
    return unit, size, last, _LARGEST_RECORD


def _unit(file: Path) -> int:
    """The program unit that a segment's header names; 1 if the header is damaged."""
    with file.open("rb") as segment:
        head = segment.read(HEADER)
    valid = head[:4] == b"mote" and crc32(head[:60]) == int.from_bytes(head[60:], "big")
    return head[5] + 1 if valid else 1


def _told_by(medium: FileMedium, segment: int) -> list[Any] | None:
    """The LOG item of a segment's checkpoint, or None."""
    try:
        segments = Segments(medium, None, _LARGEST_RECORD)
        found: list[Any] | None = Checkpoint(segments, segment).log
    except (LogError, ValueError, TypeError, IndexError):
        return None
    plain = found is not None and len(found) > 8 and all(isinstance(n, int) for n in found[1:5])
    return found if plain else None
