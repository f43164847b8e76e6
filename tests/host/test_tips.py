"""TIPs that wait for a reply, and a store that fails meanwhile: the service goes on."""

import asyncio
import logging

import pytest
from fake_device import Bench, FakeDevice, Scripted
from mote_host.errors import DeviceError, StoreError
from mote_host.providers.base import Reply
from mote_host.tips import Tips

LOCKED = StoreError("database is locked")


@pytest.mark.parametrize("exc", [LOCKED, DeviceError("unknown"), OSError("gone")])
async def test_a_tip_that_can_not_be_sent_ends_nothing(exc, caplog):
    sent = []

    async def send(device):
        sent.append(device)
        if device == "fern":
            raise exc

    async def sleep(seconds):
        await asyncio.sleep(0)

    tips = Tips(send, sleep)
    async with asyncio.TaskGroup() as group:
        tips.later(group, "fern", b"1")
        tips.later(group, "moss", b"2")
    assert sorted(sent) == ["fern", "moss"]
    (told,) = [x for x in caplog.records if x.levelno == logging.ERROR]
    assert "fern" in told.getMessage()
    assert (told.exc_info is None) == (type(exc) is not OSError), "a bug shows its place"


async def test_a_store_that_is_locked_while_a_tip_is_due(tmp_path, monkeypatch, caplog):
    provider = Scripted([Reply("hello")], gate=asyncio.Event())
    bench = Bench(tmp_path, provider)
    fern = FakeDevice("fern", bench.registry.enroll("fern"))
    failed = asyncio.Event()
    device = bench.store.device

    def locked(name):
        loop.call_soon_threadsafe(failed.set)
        raise LOCKED

    loop = asyncio.get_running_loop()
    async with bench.service.running():
        await bench.begin(fern, "hello")
        monkeypatch.setattr(bench.store, "device", locked)
        bench.hold.set()
        async with asyncio.timeout(10):
            await failed.wait()
        monkeypatch.setattr(bench.store, "device", device)
        provider.gate.set()
        await bench.until(fern, lambda: fern.answers)
    assert "database is locked" in caplog.text
    bench.store.close()


async def test_a_store_that_is_locked_at_the_end(tmp_path, monkeypatch, caplog):
    bench = Bench(tmp_path, Scripted())

    def locked():
        raise LOCKED

    async with bench.service.running():
        monkeypatch.setattr(bench.service._rejections, "flush", locked)
    assert "database is locked" in caplog.text
    bench.store.close()
