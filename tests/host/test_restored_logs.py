"""Logs that took back what they had lost, read by a reader that shares no code, and replayed."""

import reader
from fake_device import FakeDevice, Ram, watering
from mote import records as r
from mote_host.branches import Branches
from mote_host.providers.base import Reply
from mote_host.replay import Replay, from_replica
from mote_host.toolsets import Toolsets


async def restored(bench, fern):
    """The device from a backup, that has taken back its newest turn."""
    backup = fern.medium.copy()
    await bench.turn(fern, "water it", name="a1")
    await bench.sync(fern)
    again = FakeDevice("fern", fern.key, medium=backup, seed=5)
    await bench.sync(again)
    return again


async def test_a_checkpoint_says_what_was_taken_back(bench):
    fern = FakeDevice("fern", bench.registry.enroll("fern"), medium=Ram(1 << 14, 8))
    bench.provider.script = watering()
    await bench.sync(fern)
    again = await restored(bench, fern)
    taken = again.agent.state.taken
    while len(again.agent.log.segments()) < 2:
        again.agent.remember("plant", "a fern, " * 30)
    log = reader.read(again.medium.data, "fern", fern.key)
    (state,) = [reader.item_fields(item) for item in log.items if item[0] == 1]
    assert [state["lost_last"], state["lost_next"], state["lost_offset"]] == taken
    kept = {x.seq: x.kind for x in Branches(bench.store).records("fern", 1)}
    told = [x.fields for x in log.records if x.kind == r.RECOVERED]
    assert {x["number"]: x["kind"] for x in told} == kept
    assert taken == [max(kept), max(kept) + 1, 0]


async def test_such_a_log_is_replayed(bench, fern):
    bench.provider.script = [*watering(), Reply("it is wet")]
    await bench.sync(fern)
    again = await restored(bench, fern)
    await bench.turn(again, "is it wet now?")
    await bench.sync(again)
    replayed = Replay(from_replica(bench.store, "fern"), Toolsets(bench.store).get, check=True)
    decided = [moment.record.kind for moment in replayed.run() if moment.decided]
    assert replayed.differs is None
    assert decided[-2:] == [r.REQ, r.ANSWER]
