"""Reading a device's own log, from its folder on this machine, without changing it."""

from dataclasses import dataclass
from pathlib import Path

from mote import records as r
from mote.msgpack import FormatError
from mote.segments import LogError, genesis
from mote.wire import subkey
from mote_ports.files import FileMedium

from mote_host.errors import DeviceError
from mote_host.frames import Gap, Record, decode, why_missing
from mote_host.registry import KEY_BYTES
from mote_host.segments import Hole, Walk, geometry
from mote_host.turns import Turns

_FILES = "[0-9][0-9][0-9][0-9].log"


@dataclass(frozen=True, slots=True)
class DeviceLog:
    """A log as it was read: what of it is kept.

    `head` is the chain hash after the last record, `frames` has the records' bytes without CRCs,
    `states` the items of each whole checkpoint by the record behind it. `notes` tell of damage
    other than gaps, each with its place.
    """

    records: list[Record]
    frames: dict[int, bytes]
    head: bytes
    oldest: int  # the first record that is kept
    gaps: list[Gap]
    notes: list[str]
    states: dict[int, list[list[object]]]
    record_bytes: int
    signed: bool  # the segments' MACs were checked with the device's key
    named: bool  # the chain begins with the device's name

    @property
    def damage(self) -> list[str]:
        """What is wrong: notes, and gaps that no record of the log tells of."""
        return [str(gap) for gap in self.gaps if not gap.told_by] + self.notes


def find_log(path: Path) -> Path:
    """The folder with the segments: `path` itself, or `log` or `state/log` in it."""
    for folder in (path, path / "log", path / "state" / "log"):
        if any(folder.glob(_FILES)):
            return folder
    raise DeviceError(f"{path}: no log here (no files like 0000.log, nor in log/ or state/log/)")


def read_log(path: Path, device: str | None = None, key: bytes | None = None) -> DeviceLog:
    """Read and verify the log in `path`: every CRC and the chain across all segments.

    With the device's `key` the segments' MACs are checked too, with its name that the chain is
    that device's. Raises DeviceError if there is nothing to read, or another device's log.
    """
    folder = find_log(path)
    unit, size, count, record_bytes = geometry(sorted(folder.glob(_FILES)))
    medium = FileMedium(str(folder), count, size, unit).read_only()
    sign = subkey(key, "log").sign if key else None
    walk = Walk(medium, genesis(device) if device else None, sign, record_bytes)
    try:
        walk.run()
        records = _records(walk)
    except (LogError, ValueError) as exc:
        raise DeviceError(f"{folder}: {exc}") from exc
    finally:
        medium.close()
    return DeviceLog(
        records,
        {record.seq: walk.frames[record.seq][1] for record in records},
        walk.head,
        records[0].seq if records else walk.oldest,
        _gaps(walk, records),
        walk.notes,
        walk.states,
        record_bytes,
        key is not None,
        device is not None,
    )


def _records(walk: Walk) -> list[Record]:
    turns = Turns()
    records = []
    for seq, (h, frame) in sorted(walk.frames.items()):
        kind, payload = frame[2], frame[5:]
        try:
            fields = decode(kind, payload)
        except FormatError as exc:
            raise FormatError(f"record {seq}: {exc}") from exc
        records.append(turns.place(Record(seq, kind, h, fields)))
    return records


def _gaps(walk: Walk, records: list[Record]) -> list[Gap]:
    """The holes in the walk, as told by the GAP records behind them, and what else those tell."""
    told = [record for record in records if record.kind == r.GAP]
    gaps = [_told(hole, told) for hole in walk.holes]
    for record in told:
        f = record.fields
        shown = any(
            gap.told_by == record.seq or gap.first <= f["first"] <= f["last"] <= gap.last
            for gap in gaps
        )
        if not shown and f["last"] not in walk.frames:
            place = f["first"], f["last"], why_missing(record), record.seq
            gaps.append(Gap(*place, f["before"], f["after"]))
    return sorted(gaps, key=lambda gap: gap.first)


def _told(hole: Hole, told: list[Record]) -> Gap:
    for record in told:
        f = record.fields
        if record.seq > hole.last and f["first"] <= hole.first and hole.last <= f["last"]:
            why = why_missing(record)
            return Gap(hole.first, hole.last, why, record.seq, hole.before, hole.after)
    return Gap(hole.first, hole.last, hole.why, 0, hole.before, hole.after)


def read_key(path: Path) -> bytes:
    """The key in a device's key file: 32 bytes as 64 hexadecimal digits. Raises DeviceError."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError as exc:
        raise DeviceError(f"{path}: {exc.strerror}") from exc
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DeviceError(f"{path}: not a key of {2 * KEY_BYTES} hexadecimal digits")
    return key
