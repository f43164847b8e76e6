"""Verifying a chain: that nothing in a replica or a device's log was changed, removed or moved.

Records that are missing are shown, and are no error if the device itself tells of them: in a GAP
record of the chain, or to the gateway when it asked for them.
"""

from dataclasses import dataclass
from pathlib import Path

from mote import records as r
from mote.segments import chain, genesis
from mote.wire import ID

from mote_host.device_log import DeviceLog, read_log
from mote_host.errors import DeviceError
from mote_host.frames import Gap
from mote_host.store import Store


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

    Raises DeviceError if there is no replica of that device.
    """
    known = store.device(device)
    if known is None:
        raise DeviceError(f"{device}: the gateway has no log of it (mote devices lists them)")
    gaps = store.gaps(device)
    h: bytes = genesis(device)
    seq = n = 0
    why = None
    for at, stored, frame in store.frames(device):
        seq, h = _over(gaps, seq, h)
        if at != seq + 1:
            why = str(Gap(seq + 1, at - 1, "nothing tells why"))
        else:
            computed: bytes = chain(h, frame)
            if computed != stored:
                why = f"record {at} does not fit the chain"
        if why:
            break
        seq, h, n = at, computed, n + 1
    else:
        seq, h = _over(gaps, seq, h)
        if seq != known.tip or h != known.tip_hash:
            why = f"it ends at record {seq}, its tip is {known.tip}"
        elif known.alarm:
            why = f"alarm: {known.alarm}"
    return Verdict("replica", n, seq, h, why, gaps=tuple(gaps))


def _over(gaps: list[Gap], seq: int, h: bytes) -> tuple[int, bytes]:
    """Where the chain goes on behind record `seq`: behind the gaps there, if there are any."""
    for gap in gaps:
        if gap.first == seq + 1 and gap.before == h[:ID]:
            seq, h = gap.last, gap.after
    return seq, h


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
