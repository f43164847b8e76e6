"""Arrays in fragments: put together in order, bounded, each of them the device's."""

import random

import pytest
from fake_device import FakeDevice
from mote import records as r
from mote import wire
from mote_host.fragments import Fragments
from mote_host.providers.base import Reply
from mote_host.uplink import MAX_BYTES, Fragment

DATA = random.Random(4).randbytes(1000)


def fragment(at, end, number=1, data=DATA):
    return Fragment(number, at, len(data), data[at:end])


def held_bytes(fragments):
    return sum(len(whole.data) for whole in fragments._wholes.values())


def test_fragments_in_order_are_an_array():
    for size in (1, 99, 500, 999, 1000):
        fragments = Fragments()
        found = [fragments.take("fern", fragment(at, at + size)) for at in range(0, 1000, size)]
        assert found == [*[None] * (len(found) - 1), DATA]
    assert Fragments().take("fern", fragment(0, 1000)) == DATA


@pytest.mark.parametrize(
    "wrong",
    [
        fragment(600, 1000),  # one is missing
        fragment(500, 1000, number=2),
        Fragment(1, 500, 999, DATA[500:999]),
        Fragment(1, 500, 1000, DATA[500:] + b"x"),
    ],
)
def test_a_fragment_that_does_not_fit_drops_what_was_collected(wrong):
    fragments = Fragments()
    assert fragments.take("fern", fragment(0, 500)) is None
    assert fragments.take("fern", wrong) is None
    assert held_bytes(fragments) == 0
    assert fragments.take("fern", fragment(500, 1000)) is None
    assert fragments.take("fern", fragment(0, 500)) is None
    assert fragments.take("moss", fragment(500, 1000)) is None
    assert fragments.take("fern", fragment(500, 1000)) == DATA


@pytest.mark.parametrize(
    "old",
    [
        fragment(0, 300, number=1),  # of an earlier array
        fragment(300, 1000, number=1),
        fragment(0, 300, number=2),  # of this one
        fragment(100, 200, number=2),
    ],
)
def test_a_fragment_that_somebody_repeats_is_ignored(old):
    fragments = Fragments()
    for at in (0, 300):
        assert fragments.take("fern", fragment(at, at + 300, number=2)) is None
        assert fragments.take("fern", old) is None
    assert fragments.take("fern", fragment(600, 1000, number=2)) == DATA


def test_a_newer_array_takes_the_place_of_what_was_collected():
    fragments = Fragments()
    assert fragments.take("fern", fragment(0, 500, number=2)) is None
    assert fragments.take("fern", fragment(0, 500, number=3)) is None
    assert fragments.take("fern", fragment(500, 1000, number=3)) == DATA


async def test_a_log_that_was_restored_numbers_its_arrays_anew(bench, fern):
    await bench.sync(fern)
    backup = fern.medium.copy()
    for _ in range(2):
        fern.boot()
    await bench.sync(fern)
    left = bytes(fern.link._up.message(wire.FRAGMENT, 1 << 20, 0, 9, b"x"))
    await bench.service.receive("fern", left)
    restored = FakeDevice("fern", fern.key, medium=backup, seed=5)
    restored.link.connected(restored.now_ms, most=120)
    bench.provider.script = [Reply("yes")]
    assert (await bench.turn(restored, "a long ask: " + "water it " * 60))[3] == "yes"


def test_no_device_fills_the_memory():
    fragments = Fragments()
    longest = bytes(MAX_BYTES)
    for number in range(40):
        assert fragments.take("fern", fragment(0, MAX_BYTES - 1, number, longest)) is None
    assert held_bytes(fragments) == MAX_BYTES - 1
    assert fragments.take("fern", fragment(MAX_BYTES - 1, MAX_BYTES, 39, longest)) == longest
    assert held_bytes(fragments) == 0
    beyond = bytes(MAX_BYTES + 1)
    assert fragments.take("fern", fragment(0, 9, 1, beyond)) is None
    assert fragments.take("fern", fragment(9, 10, 1, beyond)) is None
    assert held_bytes(fragments) == 0


def signed(device, array):
    return wire.subkey(device.key, "up").sign(array) + array


async def test_a_device_whose_packets_are_short(bench, fern):
    fern.link.connected(fern.now_ms, most=120)
    bench.provider.script = [Reply("x" * 900), Reply("and more")]
    longest = []
    receive = bench.service.receive

    async def watched(name, payload):
        longest.append(len(payload))
        await receive(name, payload)

    bench.service.receive = watched
    assert (await bench.turn(fern, "a long ask: " + "water it " * 60))[3] == "x" * 900
    assert (await bench.turn(fern, "short"))[2] == r.DONE
    await bench.sync(fern)
    assert max(longest) <= 120
    assert bench.service.dropped.total() == 0
    assert bench.store.device("fern").tip_hash == fern.agent.log.head


async def test_fragments_of_a_stranger_and_fragments_in_fragments(bench, fern):
    await bench.sync(fern)
    inner = bytes(fern.link._up.message(wire.FRAGMENT, 1, 0, 1, b"x"))[wire.MAC :]
    outer = bytes(fern.link._up.message(wire.FRAGMENT, 2, 0, len(inner), inner))
    await bench.service.receive("fern", outer)
    assert bench.service.dropped == {"malformed": 1}
    stranger = FakeDevice("fern", bytes(32))
    await bench.service.receive("fern", bytes(stranger.link._up.message(9, 2, 0, 1, b"x")))
    assert bench.service.dropped == {"malformed": 1, "wrong MAC": 1}
    for fields in [(1, 0, MAX_BYTES + 1, b"x"), (1, 0, 0, b""), (1, MAX_BYTES + 1, 9, b"x")]:
        message = bytes(fern.link._up.message(wire.FRAGMENT, *fields))
        await bench.service.receive("fern", message)
    assert bench.service.dropped == {"malformed": 4, "wrong MAC": 1}
