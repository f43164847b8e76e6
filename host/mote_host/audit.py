"""Verifying a chain: that nothing in a replica or a device's log was changed, removed or moved.

Records that are missing are shown, and are no error if the device itself tells of them: in a GAP
record of the chain, or to the gateway when it asked for them.
"""

from dataclasses import dataclass
from pathlib import Path

from mote import records as r
from mote.segments import chain, genesis
from mote.wire import ID

from mote_host.branches import Branch, Branches
from mote_host.device_log import DeviceLog, read_log
from mote_host.errors import DeviceError
from mote_host.frames import Gap
from mote_host.store import Store

Row = tuple[int, bytes, bytes]
"""A record as it is stored: its number, chain hash and frame."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: `head` is the chain hash after record `last`; `why` says what is wrong.

    `oldest` is the first record that is kept, `gaps` the records that are missing.
    """

    source: str
    records: int
    last: int
    head: bytes
    why: str | None = None
    remark: str = ""
    oldest: int = 1
    gaps: tuple[Gap, ...] = ()

    @property
    def verified(self) -> bool:
        """True if the whole chain holds."""
        return self.why is None


def verify_replica(store: Store, device: str) -> Verdict:
    """Compute the replica's chain from its frames and compare it with every hash it stores.

    So are the chains of superseded branches, each from where it left the replica's. Raises
    DeviceError if there is no replica of that device.
    """
    known = store.device(device)
    if known is None:
        raise DeviceError(f"{device}: the gateway has no log of it (mote devices lists them)")
    gaps, rows = store.gaps(device), store.frames(device)
    start = Place(0, genesis(device))
    found = _walk(start, rows, gaps, Place(known.tip, known.tip_hash))
    why, remarks = found.why, []
    kept, places = Branches(store), {start, *_places(rows, gaps)}
    branches = [
        (branch, kept.frames(device, branch.number), kept.gaps(device, branch.number))
        for branch in kept.all(device)
    ]
    for _, frames, missing in branches:  # one may begin in another one
        places |= _places(frames, missing)
    for branch, frames, missing in branches:
        wrong = _wrong_branch(branch, frames, missing, places)
        why = why or (f"branch {branch.number}: {wrong}" if wrong else None)
        remarks.append(f"branch {branch.number}: records {branch.first} to {branch.last} are kept")
    if known.alarm and known.alarm.startswith("fork"):
        why = why or f"alarm: {known.alarm}"
    elif known.alarm:
        remarks.append(f"alarm: {known.alarm}")
    where = found.at.seq, found.at.h, why, "; ".join(remarks)
    return Verdict("replica", found.records, *where, gaps=tuple(gaps))


def _wrong_branch(
    branch: Branch, rows: list[Row], gaps: list[Gap], places: set["Place"]
) -> str | None:
    """What is wrong with a branch that should begin at one of `places`."""
    begin = Place(branch.first - 1, branch.before)
    if begin not in places:
        return f"nothing leads to its first record, {branch.first}"
    return _walk(begin, rows, gaps, Place(branch.last, branch.head)).why


def _places(rows: list[Row], gaps: list[Gap]) -> set["Place"]:
    """All that a chain leads to."""
    found = {Place(seq, h) for seq, h, _ in rows}
    return found | {Place(gap.last, gap.after) for gap in gaps}


@dataclass(frozen=True, slots=True)
class Place:
    """A record's number, and the chain hash behind it."""

    seq: int
    h: bytes


@dataclass(frozen=True, slots=True)
class _Walked:
    """How far a chain holds, how many records that are, and what is wrong there."""

    at: Place
    records: int
    why: str | None = None


def _walk(begin: Place, rows: list[Row], gaps: list[Gap], end: Place) -> _Walked:
    """Chain the frames in `rows` behind `begin`; they should lead to `end`."""
    at = begin
    for n, (seq, stored, frame) in enumerate(rows):
        at = _over(gaps, at)
        if seq != at.seq + 1:
            return _Walked(at, n, str(Gap(at.seq + 1, seq - 1, "nothing tells why")))
        computed: bytes = chain(at.h, frame)
        if computed != stored:
            return _Walked(at, n, f"record {seq} does not fit the chain")
        at = Place(seq, computed)
    at = _over(gaps, at)
    if at != end:
        return _Walked(at, len(rows), f"it ends at record {at.seq}, its tip is {end.seq}")
    return _Walked(at, len(rows))


def _over(gaps: list[Gap], at: Place) -> Place:
    """Where the chain goes on from there: behind the gaps, if there are any."""
    for gap in gaps:
        if gap.first == at.seq + 1 and gap.before == at.h[:ID]:
            at = Place(gap.last, gap.after)
    return at


def verify_log(path: Path, device: str | None, key: bytes | None) -> Verdict:
    """Verify a device's own log. What is wrong with it becomes the verdict, not an error."""
    try:
        log = read_log(path, device, key)
    except DeviceError as exc:
        return Verdict(str(path), 0, 0, b"", str(exc))
    unchecked = []
    if not log.named:
        unchecked.append("not checked whose chain it is (--device)")
    elif log.oldest > 1 and not log.signed:
        unchecked.append("whose chain it is stands in records that are gone (--key)")
    if not log.signed:
        unchecked.append("segment MACs not checked (--key)")
    last = log.records[-1].seq if log.records else 0
    damage = log.damage + _wrong_gaps(log)
    return Verdict(
        str(path),
        len(log.records),
        last,
        log.head,
        "; ".join(damage) or None,
        "; ".join(unchecked),
        log.oldest,
        tuple(log.gaps),
    )


def _wrong_gaps(log: DeviceLog) -> list[str]:
    """GAP records whose hashes are not those of the chain, as far as that is still there."""
    hashes = {record.seq: record.hash for record in log.records}
    for gap in log.gaps:
        if gap.before:
            hashes.setdefault(gap.first - 1, gap.before)
        if gap.after:
            hashes[gap.last] = gap.after
    wrong = []
    for record in log.records:
        if record.kind == r.GAP:
            f = record.fields
            before, after = hashes.get(f["first"] - 1), hashes.get(f["last"])
            if before not in (None, f["before"]) or after not in (None, f["after"]):
                wrong.append(f"record {record.seq} tells of a gap with other hashes")
    return wrong
