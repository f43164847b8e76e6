"""Verifying a chain: that nothing in a replica or a device's log was changed, removed or moved."""

from dataclasses import dataclass
from pathlib import Path

from mote.log import chain, genesis

from mote_host.device_log import read_log
from mote_host.errors import DeviceError
from mote_host.store import Store


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: `head` is the chain hash after record `last`; `why` says what is wrong."""

    source: str
    records: int
    last: int
    head: bytes
    why: str | None = None
    remark: str = ""

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
    h: bytes = genesis(device)
    seq = 0
    for seq, stored, frame in store.frames(device):
        computed: bytes = chain(h, frame)
        if computed != stored:
            return Verdict("replica", seq - 1, seq - 1, h, f"record {seq} does not fit the chain")
        h = computed
    if seq != known.tip or h != known.tip_hash:
        return Verdict("replica", seq, seq, h, f"it ends at record {seq}, its tip is {known.tip}")
    return Verdict("replica", seq, seq, h, known.alarm and f"alarm: {known.alarm}")


def verify_log(path: Path, device: str | None, key: bytes | None) -> Verdict:
    """Verify a device's own log. What is wrong with it becomes the verdict, not an error."""
    try:
        log = read_log(path, device, key)
    except DeviceError as exc:
        return Verdict(str(path), 0, 0, b"", str(exc))
    unchecked = []
    if not log.named:
        unchecked.append("not checked whose chain it is (--device)")
    if not log.signed:
        unchecked.append("segment MACs not checked (--key)")
    last = log.records[-1].seq if log.records else 0
    return Verdict(str(path), len(log.records), last, log.head, None, "; ".join(unchecked))
