"""What tests ask of two histories of one device."""

from mote import records as r
from mote_host.audit import verify_replica
from mote_host.branches import Branches


def words(bench, branch=None):
    """The texts of the asks in the replica, or in a branch."""
    kept = Branches(bench.store)
    found = bench.store.records("fern") if branch is None else kept.records("fern", branch)
    return [x.fields["text"] for x in found if x.kind == r.ASK]


def agree(bench, device):
    """The replica holds the device's log, and both are sound."""
    known = bench.store.device(device.name)
    verdict = verify_replica(bench.store, device.name)
    return verdict.verified and known.tip_hash == device.agent.log.head


async def hear(bench, device, done, minutes=5):
    """Exchange, with the device's clock going on, until `done()`."""
    until = device.now_ms + minutes * 60000
    while not done() and device.now_ms < until:
        if not await bench.exchange(device):
            device.now_ms += 1000
    assert done()
