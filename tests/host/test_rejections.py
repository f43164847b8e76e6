"""What is not taken is counted where a person sees it, and nothing of it is kept."""

import asyncio
import json
import logging

import pytest
from fake_device import FakeDevice
from mote_host.errors import DeviceError
from mote_host.providers.base import Reply
from mote_host.rejections import MAX_REASONS, Rejected, Rejections, rejections
from mote_host.store import Store

WRONG_KEY = "it is not signed with the key that is enrolled here"


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "gateway.db")
    yield store
    store.close()


async def shown(mote, *args):
    """What `mote devices` knows of the first device."""
    _, out = await asyncio.to_thread(mote, "devices", "--json")
    return json.loads(out)["devices"][0]


async def test_a_wrong_key_is_seen_and_cleared(bench, fern, mote, caplog):
    other = FakeDevice("fern", bytes(32))
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            other.link.connected(other.now_ms)
            assert await bench.exchange(other)
            bench.now_s += 0.5
    assert bench.service.dropped == {"wrong MAC": 50}
    assert bench.store.device("fern") is None, "nothing of it is kept"
    assert sum(WRONG_KEY in x.getMessage() for x in caplog.records) == 1
    row = await shown(mote)
    assert (row["rejected"]["count"], row["rejected"]["why"]) == (49, WRONG_KEY)
    _, out = await asyncio.to_thread(mote, "devices")
    assert "rejected 49, last:" in " ".join(out.split())
    _, out = await asyncio.to_thread(mote, "devices", "clear", "fern", "--json")
    assert json.loads(out) == {"device": "fern", "alarm": None, "rejected": 49}
    assert (await shown(mote))["rejected"] == {"count": 0, "why": None, "at": None}
    with pytest.raises(DeviceError, match="nobody is not known here"):
        mote("devices", "clear", "nobody")


async def test_no_byte_of_an_upload_can_be_changed_on_its_way(bench, fern):
    bench.provider.script = [Reply("one")]
    await bench.turn(fern, "first")
    await bench.sync(fern)
    before = bench.store.records("fern"), bench.store.device("fern")
    fern.ask("water the left bed")
    fern.settle()
    (message,) = fern.outgoing()
    for at in range(len(message)):
        edited = bytearray(message)
        edited[at] ^= 0x40
        await bench.service.receive("fern", bytes(edited))
    assert bench.service.dropped == {"wrong MAC": len(message)}
    assert (bench.store.records("fern"), bench.store.device("fern")) == before
    await bench.service.receive("fern", message)
    assert bench.tip(fern) == fern.agent.log.seq


def test_the_store_is_written_once_a_second(store):
    counted = Rejections(store)
    writes = []
    store.transaction, begin = lambda: writes.append(1) or begin(), store.transaction
    for n in range(1000):
        counted.note("fern", f"{n} bytes", 5000 + n * 2)
    assert len(writes) == 2
    counted.flush()
    assert rejections(store) == {"fern": Rejected(1000, "999 bytes", 6998)}
    counted.flush()
    assert len(writes) == 3


def test_the_log_is_not_filled(store, caplog):
    counted = Rejections(store)
    with caplog.at_level(logging.WARNING):
        for n in range(500):
            counted.note("fern", f"a message of {n} bytes", n)
        assert len(caplog.records) == 1
        for n in range(500):
            counted.note("fern", "x" * n, n)
    assert len(caplog.records) == MAX_REASONS
    assert len(rejections(store)["fern"].why) <= 200
