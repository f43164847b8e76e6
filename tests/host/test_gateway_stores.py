"""Stores that were lost, or are older copies: the device has what they lack."""

import asyncio
import shutil

from fake_device import kinds, watering
from histories import agree, words
from mote import records as r
from mote import wire
from mote_host.providers.base import Reply


async def test_a_lost_store_is_filled_with_what_the_device_has(bench, fern, tmp_path):
    bench.provider.script = [*watering(), Reply("y" * 2000), Reply("again")]
    await bench.turn(fern, "water it")
    await bench.turn(fern, "a long one")
    bench.store.close()
    bench.open(tmp_path / "new.db")
    async with bench.service.running():
        fern.link.connected(fern.now_ms)
        assert (await bench.turn(fern, "and now?"))[3] == "again"
        await bench.sync(fern)
        assert agree(bench, fern)
        assert bench.store.device("fern").alarm is None
        whole = [x for x in bench.store.records("fern") if x.kind == r.PART]
        assert sum(len(x.fields["data"]) for x in whole) > 2000
        assert len(bench.provider.requests) == 5


async def test_an_older_copy_of_the_store_catches_up(bench, fern, tmp_path):
    bench.provider.script = [Reply("one"), Reply("z" * 1200), Reply("three")]
    await bench.turn(fern, "first")
    await bench.sync(fern)
    bench.store.close()
    shutil.copy(tmp_path / "gateway.db", tmp_path / "old.db")
    bench.open(tmp_path / "gateway.db")
    async with bench.service.running():
        fern.link.connected(fern.now_ms)
        await bench.turn(fern, "second")
        await bench.sync(fern)
    bench.store.close()
    bench.open(tmp_path / "old.db")
    async with bench.service.running():
        fern.boot()
        assert (await bench.turn(fern, "third"))[3] == "three"
        await bench.sync(fern)
        assert agree(bench, fern)
        assert bench.store.device("fern").alarm is None
        assert words(bench) == ["first", "second", "third"]


async def test_a_reply_that_the_store_lost_while_it_is_under_way(bench, fern, tmp_path):
    """The device has one part of the reply, and a gateway without any of it."""
    bench.provider.script = [Reply("q" * 1000), Reply("q" * 1000)]
    fern.ask("first")
    publish, dropped = bench.down.publish, []

    async def lossy(topic, payload):
        if kinds([(topic, payload)]) == [wire.REPLY_END]:
            dropped.append(payload)
        else:
            await publish(topic, payload)

    bench.down.publish = lossy
    await bench.until(fern, lambda: dropped)
    bench.store.close()
    bench.open(tmp_path / "new.db")
    async with bench.service.running():
        fern.link.connected(fern.now_ms)
        await bench.until(fern, lambda: fern.answers)
        assert fern.answers[0][3] == "q" * 1000
        await bench.sync(fern)
        assert agree(bench, fern)


async def test_records_go_whole_once_the_replies_are_gone(bench, fern):
    """References can't be resolved: what the gateway asks for then is sent without them."""
    bench.provider.script = [*watering(), Reply("y" * 1300)]
    await bench.turn(fern, "water it")
    await bench.sync(fern)
    fern.ask("a long one")
    known = bench.tip(fern)
    publish, sent = bench.down.publish, []

    async def noted(topic, payload):
        sent.append((topic, payload))
        await publish(topic, payload)

    bench.down.publish = noted
    while not fern.answers[1:]:
        await bench.exchange(fern)
    assert bench.tip(fern) < fern.agent.log.seq
    with bench.store.transaction() as db:
        db.execute("DELETE FROM replies")
        db.execute("DELETE FROM records WHERE seq > ?", (known,))
        h = fern.agent.log.hash_at(known)
        db.execute("UPDATE devices SET tip = ?, tip_hash = ?", (known, h))
    fern.link._agent.log.acked = known  # as after a restart: it knows of an older checkpoint
    fern.link.connected(fern.now_ms)
    sent.clear()
    await bench.sync(fern)
    assert wire.WHOLE in kinds(sent)
    before = next(n for n, kind in enumerate(kinds(sent)) if kind == wire.WHOLE) - 1
    assert kinds(sent)[before] == wire.TIP, "which tells where to go on from"
    assert agree(bench, fern)
    assert bench.store.device("fern").alarm is None
    assert bench.service.dropped.total() == 0
    assert len(bench.provider.requests) == 4


async def test_other_bytes_in_the_place_of_a_reply_are_no_fork(bench, fern, mote):
    """A store that was tampered with: the check fails, and the device's own bytes count."""
    bench.provider.script = [Reply("first"), Reply("yes" * 400)]
    await bench.turn(fern, "hello")
    await bench.sync(fern)
    fern.ask("may I?")
    while not fern.answers[1:]:
        await bench.exchange(fern)
    with bench.store.transaction() as db:
        body = b"no!" * 400
        db.execute("UPDATE replies SET body = ? WHERE length(body) = ?", (body, len(body)))
    await bench.sync(fern)
    assert agree(bench, fern)
    assert bench.store.device("fern").alarm is None
    parts = [x.fields["data"] for x in bench.store.records("fern") if x.kind == r.PART]
    assert b"yes" * 400 in b"".join(parts)
    assert bench.service.dropped == {"check": 1}
    assert "fails" in (await asyncio.to_thread(mote, "devices"))[1]
