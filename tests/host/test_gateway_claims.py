"""Gateways that end, die, are slow or share a store: one provider call for each request."""

import asyncio
import random
import socket

import pytest
from fake_device import Bench, FakeDevice, Scripted, complete, kinds, request_ids, watering
from histories import agree
from mote import wire
from mote.msgpack import Unpacker
from mote_host.answering import LEASE_MS
from mote_host.branches import Branches
from mote_host.providers.base import Reply
from mote_host.store import meet
from mote_host.toolsets import Toolsets


async def test_a_gateway_that_ends_gives_its_claims_back(tmp_path):
    provider = Scripted([Reply("never sent"), Reply("hello")], gate=asyncio.Event())
    first = Bench(tmp_path, provider)
    fern = FakeDevice("fern", first.registry.enroll("fern"))
    async with first.service.running():
        await first.begin(fern, "hello")
        assert first.store.owners() == [first.answering.owner]
    assert first.store.owners() == []
    first.store.close()
    provider.gate.set()
    second = Bench(tmp_path, provider)
    async with second.service.running():
        await second.until(fern, lambda: fern.answers)
    assert fern.answers[0][3] == "hello"
    second.store.close()


async def test_a_reply_that_is_there_when_the_gateway_ends_is_stored(tmp_path, monkeypatch):
    provider = Scripted([Reply("hello"), Reply("never asked for")])
    first = Bench(tmp_path, provider)
    fern = FakeDevice("fern", first.registry.enroll("fern"))
    to_thread, waits = asyncio.to_thread, asyncio.Event()

    async def slow(do, *given):
        if do == first.store.finish:
            waits.set()
            await asyncio.sleep(3600)
        return await to_thread(do, *given)

    monkeypatch.setattr(asyncio, "to_thread", slow)
    async with first.service.running():
        await first.begin(fern, "hello")
        await waits.wait()
    first.store.close()
    monkeypatch.undo()
    second = Bench(tmp_path, provider)
    async with second.service.running():
        await second.until(fern, lambda: fern.answers)
    assert (fern.answers[0][3], len(provider.requests)) == ("hello", 1)
    second.store.close()


async def test_the_claims_of_a_process_that_died_fall_at_the_next_start(bench, fern):
    bench.provider.script = [Reply("hello")]
    dead = await asyncio.create_subprocess_exec("true")
    await dead.wait()
    elsewhere = "another-machine/1/aa"
    await bench.sync(fern)
    mine = f"{socket.gethostname()}/{dead.pid}/aa"
    now_ms = bench.answering.now_ms()
    assert bench.store.claim("fern", b"1" * 16, mine, now_ms, 60000)
    assert bench.store.claim("fern", b"2" * 16, elsewhere, now_ms, 60000)
    bench.answering.drop_dead_claims()
    assert bench.store.owners() == [elsewhere]


async def test_a_stored_reply_outlives_the_gateway(tmp_path):
    provider = Scripted([Reply("hello")])
    first = Bench(tmp_path, provider)
    fern = FakeDevice("fern", first.registry.enroll("fern"))
    async with first.service.running():
        publish, first.down.publish = first.down.publish, None
        fern.ask("hello")
        first.down.publish = _only_tips(publish)
        await first.until(fern, lambda: provider.requests)
    first.store.close()
    assert not fern.answers
    second = Bench(tmp_path, provider)
    async with second.service.running():
        await second.until(fern, lambda: fern.answers)
    assert fern.answers[0][3] == "hello"
    assert len(provider.requests) == 1
    second.store.close()


def _only_tips(publish):
    """A link that loses replies, and nothing else."""

    async def lossy(topic, payload):
        if kinds([(topic, payload)])[0] not in (wire.REPLY, wire.REPLY_END):
            await publish(topic, payload)

    return lossy


async def test_two_gateways_on_one_store_call_the_provider_once(tmp_path):
    provider = Scripted([Reply("hello"), Reply("twice!")], gate=asyncio.Event())
    a, b = Bench(tmp_path, provider), Bench(tmp_path, provider)
    fern = FakeDevice("fern", a.registry.enroll("fern"))
    with a.store.transaction() as db:
        meet(db, "fern")
    tools = Toolsets(a.store)
    for n in range(2):
        tools.declare("fern", fern.agent.tools.hash, n, 2, bytes(fern.agent.tools.declaration(n)))
    async with a.service.running(), b.service.running():
        await a.begin(fern, "hello")
        a.inbox.clear()
        (request_id,) = request_ids(a, fern)
        await b.service.receive("fern", complete(fern, request_id))
        assert kinds(b.inbox) == [wire.BUSY]
        b.inbox.clear()
        provider.gate.set()
        await a.service.idle()
        await b.service.receive("fern", complete(fern, request_id))
        assert kinds(a.inbox) == kinds(b.inbox) == [wire.REPLY_END]
        # one counter for both: what either of them sends is new to the device
        counters = [Unpacker(p[wire.MAC :]) for _, p in a.inbox + b.inbox]
        numbers = [(u.array(), u.int())[1] for u in counters]
        assert numbers == sorted(set(numbers))
    assert len(provider.requests) == 1
    a.store.close()
    b.store.close()


async def test_a_lease_that_ran_out_lets_another_gateway_in_and_the_first_reply_counts(tmp_path):
    slow = Scripted([Reply("late")], gate=asyncio.Event())
    quick = Scripted([Reply("early")])
    a, b = Bench(tmp_path, slow), Bench(tmp_path, quick)
    fern = FakeDevice("fern", a.registry.enroll("fern"))
    async with a.service.running(), b.service.running():
        await a.begin(fern, "hello")
        a.inbox.clear()
        b.now_s += LEASE_MS / 1000 + 1
        (request_id,) = request_ids(a, fern)
        await b.service.receive("fern", complete(fern, request_id))
        await b.service.idle()
        slow.gate.set()
        await a.service.idle()
        await a.until(fern, lambda: fern.answers)
    assert fern.answers[0][3] == "early"
    assert a.store.reply("fern", request_id).body == b"early"
    a.store.close()
    b.store.close()


class Pair:
    """A device that two gateways on one store hear, each with its own delays."""

    def __init__(self, benches, seed):
        self.benches = benches
        self._dice = random.Random(seed)
        self._late = []  # (bench, payload) that one of them has not got yet

    async def exchange(self, device):
        """One round, in which messages to either may wait for the next ones."""
        for message in device.outgoing():
            self._late += [(bench, message) for bench in self.benches]
        self._dice.shuffle(self._late)
        some = self._dice.randint(0, len(self._late))
        for bench, message in self._late[:some]:
            await bench.service.receive(device.name, message)
        del self._late[:some]
        for bench in self.benches:
            await bench.service.idle()
            for _, payload in bench.inbox:
                device.incoming(payload)
            bench.inbox.clear()

    async def until(self, device, done):
        device.settle()
        for _ in range(600):
            if done():
                return
            before = device.now_ms
            await self.exchange(device)
            device.now_ms = max(before + 1, min(before + 500, device.link.deadline() or before))
        raise AssertionError(f"not done: {device.link.trouble}")


@pytest.mark.parametrize("seed", range(6))
async def test_two_gateways_that_hear_all_of_it_in_any_order(tmp_path, seed):
    provider = Scripted([*watering(), *watering()])
    a, b = Bench(tmp_path, provider), Bench(tmp_path, provider)
    pair = Pair((a, b), seed)
    fern = FakeDevice("fern", a.registry.enroll("fern"))
    async with a.service.running(), b.service.running():
        await pair.until(fern, lambda: a.tip(fern) == fern.agent.log.seq)
        backup = fern.medium.copy()
        for bench in (a, b):  # what waits for a reply goes out at last
            bench.hold.set()
        fern.ask("water it")
        await pair.until(fern, lambda: fern.answers and a.tip(fern) == fern.agent.log.seq)
        had = a.tip(fern)
        again = FakeDevice("fern", fern.key, medium=backup, seed=7)
        again.ask("and again")
        await pair.until(again, lambda: len(again.ran) == 2 and again.answers)
        await pair.until(again, lambda: a.tip(again) == again.agent.log.seq)
    assert len(provider.requests) == 6
    assert fern.ran == again.ran == [("read_moisture", "left"), ("run_pump", 3.0)]
    assert agree(a, again)
    (branch,) = Branches(a.store).all("fern")
    assert (branch.last, branch.due) == (had, 0)
    assert a.store.device("fern").alarm.startswith("its log lost records")
    a.store.close()
    b.store.close()
