"""What a long log costs: a turn takes the store as long at the end of it as at the beginning."""

from mote_host.conversation import MAX_EARLIER_TURNS
from mote_host.providers import Reply

STEP = 10  # instructions of SQLite's machine between two calls of its progress handler
LONG = 300


def counted(store):
    """A list with one item for each STEP instructions from now on."""
    steps = []
    store._db.set_progress_handler(lambda: steps.append(0), STEP)
    return steps


async def work(bench, device, turns):
    """Do these turns; returns about how many instructions the last one took."""
    bench.provider.script = [Reply("yes") for _ in range(turns)]
    for n in range(turns):
        device.now_ms += 10000
        steps = counted(bench.store)
        await bench.turn(device, f"ask {n}")
        await bench.sync(device)
    return len(steps) * STEP


async def test_a_turn_costs_what_it_did_long_ago(bench, fern):
    early = await work(bench, fern, MAX_EARLIER_TURNS + 10)
    late = await work(bench, fern, LONG)
    assert bench.tip(fern) > 5 * LONG
    assert early > 1000
    assert late < 1.2 * early
