"""The gateway against the real core of a device, without a broker."""

import asyncio
import logging
import random

import pytest
from fake_device import FakeDevice, complete, fields_of, kinds, request_ids, watering
from mote import records as r
from mote import wire
from mote_host.cancelling import cancel
from mote_host.errors import DeviceError, ProviderError
from mote_host.providers.base import Call, Reply
from mote_host.serve import MAX_STRANGERS_A_SECOND


async def test_a_turn_with_two_calls(bench, fern):
    bench.provider.script = watering()
    session, _, how, text = await bench.turn(fern, "water the left bed if it is dry")
    assert (session, how) == ("main", r.DONE)
    assert text == "It was dry, so I watered it for 3 s."
    assert fern.ran == [("read_moisture", "left"), ("run_pump", 3.0)]
    assert len(bench.provider.requests) == 3
    assert [t.name for t in bench.provider.requests[0].tools] == ["read_moisture", "run_pump"]
    await bench.sync(fern)
    assert [x.seq for _, x in bench.records] == list(range(1, fern.agent.log.seq + 1))
    assert bench.store.device("fern").tip_hash == fern.agent.log.head
    begin, end = bench.events[:2]
    assert begin[:2] == ("fern", "begin")
    assert end[1] == "end"
    assert (end[2]["calls"], end[2]["tokens_in"]) == (1, 10)
    assert fern.link.rejected == 0


async def test_the_first_turn_does_not_wait_for_declarations(bench, fern):
    bench.provider.script = [Reply("hello")]
    before = fern.now_ms
    await bench.turn(fern, "hello")
    assert fern.now_ms - before < 1000  # a request is repeated after 5000


async def test_a_request_that_is_repeated_costs_no_second_call(bench, fern):
    bench.provider.script = [Reply("hello there")]
    await bench.turn(fern, "hello")
    (request_id,) = request_ids(bench, fern)
    await bench.service.receive("fern", complete(fern, request_id, 6))
    (fields,) = fields_of(bench.inbox)
    counter = bench.store.device("fern").counter
    assert fields[:4] == [counter, wire.REPLY_END, request_id, len(b"hello there")]
    assert fields[7:] == [6, b"there"]
    assert len(bench.provider.requests) == 1


async def test_a_request_in_work_is_busy_and_one_unknown_gets_the_tip(bench, fern):
    bench.provider.gate = asyncio.Event()
    bench.provider.script = [Reply("hello")]
    await bench.begin(fern, "hello")
    (request_id,) = request_ids(bench, fern)
    await bench.service.receive("fern", complete(fern, request_id))
    await bench.service.receive("fern", complete(fern, bytes(16)))
    assert kinds(bench.inbox) == [wire.BUSY, wire.TIP]
    bench.provider.gate.set()
    await bench.until(fern, lambda: fern.answers)
    assert len(bench.provider.requests) == 1


async def test_long_replies_travel_in_parts(bench, fern):
    text = "".join(random.Random(3).choices("äbc ", k=2000))
    bench.provider.script = [Reply(text)]
    assert (await bench.turn(fern, "tell me"))[3] == text
    await bench.sync(fern)
    parts = [x for _, x in bench.records if x.kind == r.PART]
    assert len(parts) >= 4
    assert max(len(x.fields["data"]) for x in parts) <= fern.agent.limits.part_bytes


async def test_lost_messages_are_made_up_for(bench, fern):
    lost = random.Random(7)
    publish = bench.down.publish

    async def lossy(topic, payload):
        if lost.random() > 0.4:
            await publish(topic, payload)

    bench.down.publish = lossy
    bench.provider.script = [Reply("x" * 3000), *watering()]
    assert (await bench.turn(fern, "a long one"))[3] == "x" * 3000
    assert (await bench.turn(fern, "water it"))[2] == r.DONE
    assert fern.ran == [("read_moisture", "left"), ("run_pump", 3.0)]
    assert len(bench.provider.requests) == 4


async def test_a_device_without_a_key_is_counted_and_ignored(bench, caplog):
    moss = FakeDevice("moss", bytes(32))
    moss.ask("hello")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await bench.exchange(moss)
            moss.now_ms += 60000
    assert bench.store.unenrolled()[0][0] == "moss"
    assert bench.store.unenrolled()[0][3] == bench.service.dropped["unenrolled"] == 3
    assert bench.store.device("moss") is None
    assert [x.getMessage() for x in caplog.records if "moss" in x.getMessage()] == [
        "moss: not enrolled; its messages are ignored"
    ]


async def test_a_flood_of_strangers_costs_no_more_writes_than_the_gateway_has_time_for(bench):
    for n in range(3 * MAX_STRANGERS_A_SECOND):
        await bench.service.receive(f"stranger-{n}", b"anything")
    assert len(bench.store.unenrolled()) == MAX_STRANGERS_A_SECOND
    assert bench.service.dropped["unenrolled"] == 3 * MAX_STRANGERS_A_SECOND
    bench.now_s += 1
    await bench.service.receive("another", b"anything")
    assert "another" in [row[0] for row in bench.store.unenrolled()]


async def test_a_wrong_key_changes_nothing(bench, fern, caplog):
    await bench.sync(fern)
    tip, moment = bench.tip(fern), bench.store.device("fern")
    other = FakeDevice("fern", bytes(32))
    other.ask("hello")
    await bench.exchange(other)
    assert bench.service.dropped["wrong MAC"] == 1
    assert bench.inbox == []
    assert (bench.tip(fern), bench.store.device("fern")) == (tip, moment)
    assert "not signed with the key" in caplog.text


@pytest.mark.parametrize("payload", [b"", b"x", b"\x93" * 16, bytes(70000), bytes(40)])
async def test_junk_is_counted(bench, fern, payload):
    await bench.service.receive("fern", payload)
    assert bench.service.dropped.total() == 1
    mac = wire.subkey(fern.key, "up")
    await bench.service.receive("fern", mac.sign(payload) + payload)
    assert bench.service.dropped.total() == 2
    assert bench.store.device("fern") is None


async def test_a_lost_store_is_filled_again(bench, fern, tmp_path):
    bench.provider.script = [*watering(), Reply("Yes, for 3 s.")]
    await bench.turn(fern, "water it")
    bench.store.close()
    bench.open(tmp_path / "new.db")
    async with bench.service.running():
        assert (await bench.turn(fern, "did you water it?"))[3] == "Yes, for 3 s."
        await bench.sync(fern)
    assert bench.store.device("fern").tip_hash == fern.agent.log.head
    assert fern.link.trouble is None
    texts = [m.text for m in bench.provider.requests[-1].messages]
    assert "water it" in texts


async def test_an_edited_log_raises_the_alarm_and_stops_the_device(bench, fern):
    bench.provider.script = [Reply("one")]
    await bench.turn(fern, "first")
    await bench.sync(fern)
    before = bench.store.records("fern")
    edited = FakeDevice("fern", fern.key, seed=2)
    edited.ask("FIRST")
    edited.boot()
    for n in range(7):
        edited.ask(f"more {n}", session=str(n))
    assert edited.agent.log.seq > fern.agent.log.seq > edited.agent.before_boot[0]
    await bench.until(edited, lambda: edited.link.trouble)
    assert "differs" in edited.link.trouble
    assert bench.store.device("fern").alarm.startswith("fork at or before record")
    assert bench.store.records("fern") == before


async def test_a_reboot_with_a_call_under_way_reaches_the_model(bench, fern):
    bench.provider.script = [watering()[1], Reply("I do not know whether it ran.")]
    fern.ask("run the pump")
    run = fern.agent.result
    fern.agent.result = lambda *args: None  # the device stops while the pump runs
    await bench.until(fern, lambda: fern.ran)
    fern.agent.result = run
    fern.boot(["pump"])
    await bench.until(fern, lambda: fern.answers)
    assert fern.ran == [("run_pump", 3.0)]
    told = bench.provider.requests[-1].messages[-1]
    assert told.role == "tool"
    assert told.text.startswith("outcome unknown: ")
    assert "(the device restarted; these outputs were reset: pump)" in told.text


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ProviderError("the key is not valid"), "refused this request: the key is not valid"),
        (ProviderError("429", retryable=True), "not available now: 429. Ask again later"),
        (TimeoutError(), "no reply within"),
        (RuntimeError("a bug with a secret"), "The gateway failed on this request"),
    ],
)
async def test_a_failed_call_is_told_and_not_repeated(bench, fern, failure, words):
    bench.provider.script = [failure, Reply("better now")]
    _, _, how, text = await bench.turn(fern, "hello")
    assert how == r.FAILED
    assert words in text
    assert "secret" not in text
    (request_id,) = request_ids(bench, fern)
    await bench.service.receive("fern", complete(fern, request_id))
    assert kinds(bench.inbox) == [wire.FAIL]
    assert len(bench.provider.requests) == 1
    assert (await bench.turn(fern, "again"))[3] == "better now"


async def test_bad_calls_come_back_to_the_model(bench, fern):
    nan = Reply("", (Call("a", "run_pump", {"seconds": float("nan")}),))
    bench.provider.script = [nan, Reply("I could not.")]
    await bench.turn(fern, "pump")
    assert fern.ran == []
    told = bench.provider.requests[-1].messages[-1].text
    assert told.startswith("rejected: run_pump: arguments are not a JSON object")


async def test_cancel_ends_the_turns_of_a_session_and_expires(bench, fern):
    bench.provider.gate = asyncio.Event()
    bench.provider.script = [Reply("hello")]
    await bench.begin(fern, "hello")
    now_ms = bench.answering.now_ms() + 5000
    stale = cancel(bench.store, bench.registry, "fern", "main", now_ms - 60000)
    other = cancel(bench.store, bench.registry, "fern", "kitchen", now_ms)
    fern.now_ms += 40000
    fern.incoming(stale)
    fern.incoming(other)
    assert not fern.answers
    fern.now_ms -= 10000
    fern.incoming(cancel(bench.store, bench.registry, "fern", "main", now_ms))
    assert fern.answers[0][2:] == (r.CANCELLED, "cancelled")
    assert fern.link.rejected == 0
    bench.provider.gate.set()


def test_cancel_names_what_is_missing(bench):
    with pytest.raises(DeviceError, match="moss is not enrolled"):
        cancel(bench.store, bench.registry, "moss", None, 0)
    bench.registry.enroll("moss")
    with pytest.raises(DeviceError, match="has not said hello"):
        cancel(bench.store, bench.registry, "moss", None, 0)
