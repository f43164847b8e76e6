"""What devices are told: nobody else can say it, or say it again, and an order expires."""

import pytest
from fake_device import FakeDevice, fields_of, kinds, watering
from mote import records as r
from mote import wire
from mote_host.cancelling import VALID_MS, cancel
from mote_host.downlink import seal
from mote_host.providers.base import Reply


@pytest.fixture
def heard(bench):
    """All that the gateway ever sends, (topic, payload)."""
    found = []
    publish = bench.down.publish

    async def recorded(topic, payload):
        found.append((topic, payload))
        await publish(topic, payload)

    bench.down.publish = recorded
    return found


def knows(device):
    """What a `dn` message may change, on the device."""
    log = device.agent.log
    return log.seq, log.head, log.acked, device.link.trouble, list(device.answers)


async def greeted(bench, device):
    """Exchange until the device has said hello and knows the tip."""
    await bench.until(device, lambda: device.link._tip >= 0)


async def test_nothing_of_one_life_counts_in_the_next(bench, fern, heard):
    bench.provider.script = [*watering(), Reply("two")]
    await bench.turn(fern, "water it")
    await bench.turn(fern, "and again")
    await bench.sync(fern)
    old = [payload for _, payload in heard]
    assert len(old) > 6
    fern.boot()
    await greeted(bench, fern)
    before, rejected = knows(fern), fern.link.rejected
    for payload in old:
        fern.incoming(payload)
    assert knows(fern) == before
    assert fern.link.rejected == rejected + len(old)


async def test_a_message_counts_once_within_a_life(bench, fern, heard):
    bench.provider.script = watering()
    await bench.turn(fern, "water it")
    await bench.sync(fern)
    before = knows(fern)
    for _, payload in heard:
        fern.incoming(payload)
    assert knows(fern) == before
    assert fern.link.rejected == len(heard)
    assert fern.ran == [("read_moisture", "left"), ("run_pump", 3.0)]


async def test_no_byte_can_be_changed_on_its_way(bench, fern, heard):
    bench.provider.script = [Reply("one"), Reply("x" * 700)]
    await bench.turn(fern, "first")
    fern.ask("second")
    fern.settle()
    for message in fern.outgoing():
        await bench.service.receive("fern", message)
    await bench.service.idle()
    assert kinds(bench.inbox) == [wire.REPLY, wire.REPLY_END]
    payloads = [payload for _, payload in bench.inbox]
    bench.inbox.clear()
    before = knows(fern)
    for payload in payloads:
        for at in range(len(payload)):
            edited = bytearray(payload)
            edited[at] ^= 0x10
            fern.incoming(bytes(edited))
    assert knows(fern) == before
    assert fern.link.rejected == sum(map(len, payloads)) > 0
    for payload in payloads:
        fern.incoming(payload)
    assert fern.answers[-1][3] == "x" * 700


async def test_only_the_key_and_the_nonce_make_a_message(bench, fern):
    await bench.sync(fern)
    other = FakeDevice("moss", bench.registry.enroll("moss"))
    await bench.sync(other)
    nonce, counter = bench.store.take_counters("fern")
    order = (wire.CANCEL, None, 60000)
    for key, under in [(other.key, nonce), (fern.key, bytes(8)), (bytes(32), nonce)]:
        fern.incoming(seal(key, under, counter, order))
    assert fern.link.rejected == 3
    fern.incoming(seal(fern.key, nonce, counter, order))
    fern.incoming(seal(fern.key, nonce, counter, order))
    assert fern.link.rejected == 4


async def test_a_counter_is_never_taken_twice(bench, fern):
    taken, publish = [], bench.down.publish

    async def noted(topic, payload):
        taken.append((bench.store.device("fern").nonce, fields_of([(topic, payload)])[0][0]))
        await publish(topic, payload)

    bench.down.publish = noted
    for _ in range(3):  # it says hello again under the same nonce
        for message in fern.outgoing():
            await bench.service.receive("fern", message)
        bench.inbox.clear()
        fern.now_ms = fern.link.deadline()
    bench.provider.script = [*watering(), Reply("two")]
    await bench.turn(fern, "water it")
    fern.link.connected(fern.now_ms)
    await bench.turn(fern, "and again")
    fern.boot()
    await bench.sync(fern)
    assert len({nonce for nonce, _ in taken}) == 3
    assert len(set(taken)) == len(taken) > 10
    assert fern.link.rejected == 0


@pytest.mark.parametrize(("late_ms", "counts"), [(VALID_MS - 1, True), (VALID_MS + 1, False)])
async def test_an_order_that_is_held_back_expires(bench, fern, late_ms, counts):
    """A device has no clock that it could trust: it counts from its own hello."""
    bench.provider.script = [Reply("one")]
    await bench.sync(fern)
    await bench.exchange(fern)
    said_ms = fern.link._hello_ms
    fern.ask("wait")
    fern.settle()
    bench.now_s += 7  # the gateway's clock, since that hello
    order = cancel(bench.store, bench.registry, "fern", None, bench.answering.now_ms())
    fern.now_ms = said_ms + 7000 + late_ms
    fern.incoming(order)
    assert bool(fern.answers) == counts
    if counts:
        assert fern.answers[0][2] == r.CANCELLED
    assert fern.link.rejected == 0


async def test_an_order_does_not_outlive_the_connection(bench, fern):
    await bench.sync(fern)
    order = cancel(bench.store, bench.registry, "fern", None, bench.answering.now_ms())
    fern.link.connected(fern.now_ms)
    fern.outgoing()
    fern.ask("wait")
    fern.settle()
    fern.incoming(order)
    assert not fern.answers
    assert fern.link.rejected == 1
