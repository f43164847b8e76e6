"""Gateways that end, die, are slow or share a store: one provider call for each request."""

import asyncio
import socket

from fake_device import Bench, FakeDevice, Scripted, complete, kinds, request_ids
from mote import wire
from mote.msgpack import Unpacker
from mote_host.answering import LEASE_MS
from mote_host.providers.base import Reply


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
    for n in range(2):
        a.store.declare(fern.agent.tools.hash, n, 2, bytes(fern.agent.tools.declaration(n)))
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
        assert kinds(a.inbox) == kinds(b.inbox) == [wire.REPLY, wire.REPLY_END]
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
