"""Turns on real devices: killed in the middle, asked by any MQTT client, given bad input."""

import asyncio
import json
import os
import random
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from mote_host.asking import Answer, ask
from mote_host.demo import stage as stages
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE, Stage
from mote_host.errors import DeviceError
from mote_host.frames import Record
from mote_host.providers import Call, Offline, Reply
from scripted import PUMP, Scripted

READ = Reply("", (Call("a", "read_soil_moisture", {}),))
DONE = Reply("all done")


async def _out(stage: Stage, timeout_s: float = 15) -> dict[str, Any]:
    """The next message on `out`; subscribe first."""
    async with asyncio.timeout(timeout_s):
        async for message in stage.client.messages:
            if message.topic.value == f"mote/{DEVICE}/out":
                found: dict[str, Any] = json.loads(bytes(message.payload))  # type: ignore[arg-type]
                return found
    raise AssertionError("no answer")


async def _ask(stage: Stage, text: str) -> Answer:
    async with asyncio.timeout(20):
        return await ask(stage.client, DEVICE, text)


class Seen:
    """Waits for a record of a kind to reach the gateway."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._news = asyncio.Event()

    def __call__(self, _: str, record: Record) -> None:
        self.records.append(record)
        self._news.set()

    async def wait(self, name: str, n: int = 1) -> None:
        async with asyncio.timeout(15):
            while sum(record.name == name for record in self.records) < n:
                self._news.clear()
                await self._news.wait()


async def test_a_device_that_can_not_run_is_not_waited_for(
    runtime: Runtime, stage_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_ONLINE_S", 3600.0)
    async with stage_of(runtime, Offline(), device_config="[nonsense]\n") as stage:
        await stage.device.start()
        with pytest.raises(DeviceError, match="nonsense"):
            await stage.online()


async def test_any_mqtt_client_can_ask(runtime: Runtime, stage_of: Callable[..., Any]) -> None:
    async with stage_of(runtime, Offline()) as stage:
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        command = ["mosquitto_pub", "-h", stage.broker.host, "-p", str(stage.broker.port)]
        command += ["-t", f"mote/{DEVICE}/in", "-m", "what is the temperature?"]
        await asyncio.to_thread(subprocess.run, command, check=True)
        answer = await _out(stage)
        assert answer["status"] == "done"
        assert "21.0 C" in answer["text"]
        assert len(answer["id"]) == 16


async def test_killed_while_the_pump_runs_it_is_not_started_again(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    seen, provider = Seen(), Scripted(PUMP, DONE)
    async with stage_of(runtime, provider, on_record=seen) as stage:
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        payload = json.dumps({"text": "run the pump", "id": "one"})
        await stage.client.publish(f"mote/{DEVICE}/in", payload, qos=1)
        await seen.wait("START")
        await stage.device.kill()
        assert stage.device.world()["pump_starts"] == 1
        await stage.device.start()
        answer = await _out(stage)
        assert answer == {"session": "main", "id": "one", "status": "done", "text": "all done"}
        told = provider.requests[1].messages[-1].text
        assert "unknown" in told
        assert "pump" in told  # the restart switched it off, and the model reads that
        await stage.settled()
        assert stage.device.world()["pump_starts"] == 1
        assert all(verdict.verified for verdict in stage.verify())


async def test_killed_while_the_model_thinks_the_turn_goes_on(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    provider = Scripted(READ, DONE)
    provider.gate = asyncio.Event()
    async with stage_of(runtime, provider) as stage:
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        await stage.client.publish(f"mote/{DEVICE}/in", b'{"text": "read", "id": "1"}', qos=1)
        await asyncio.wait_for(provider.asked.wait(), 10)
        await stage.device.kill()
        provider.gate.set()
        await stage.device.start()
        assert (await _out(stage))["text"] == "all done"
        assert len(provider.requests) == 2, "a repeated request must cost nothing"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_killed_at_random_each_ask_pumps_at_most_once(
    runtime: Runtime, stage_of: Callable[..., Any], seed: int
) -> None:
    chance = random.Random(seed)
    short = Reply("", (Call("a", "run_pump", {"seconds": 0.4}),))
    provider = Scripted(*[short, DONE] * 6)
    async with stage_of(runtime, provider) as stage:
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        for n in range(6):
            await stage.device.start()
            if n == 0:
                await stage.online()
            payload = json.dumps({"text": "run the pump", "id": f"ask {n}"})
            await stage.client.publish(f"mote/{DEVICE}/in", payload, qos=1)
            answer = None
            while answer is None:
                with suppress(TimeoutError):
                    answer = await _out(stage, chance.uniform(0.05, 1.2))
                await stage.device.kill()
                await stage.device.start()
            while answer["id"] != f"ask {n}":  # an answer that was not acknowledged comes again
                answer = await _out(stage)
            assert answer["text"] == "all done"
            await stage.device.kill()
        await stage.device.start()
        await stage.online()
        await stage.settled()
        assert stage.device.world()["pump_starts"] <= 6
        assert all(verdict.verified for verdict in stage.verify())


async def test_bad_asks_are_refused_in_words_and_the_daemon_stays(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    async with stage_of(runtime, Offline()) as stage:
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        bad = [
            (b"\xff\xfe", "UTF-8"),
            (b"", "empty"),
            (b"   ", "empty"),
            (b'{"text": 5}', '"text"'),
            (b"x" * 769, "768 bytes"),
            (b"x" * 10000, "too large"),
            (b'{"text": "\\ud800"}', '"text"'),
            (b'{"text": "a", "session": "%s"}' % (b"s" * 33), "32 bytes"),
            (b"{" + b"[" * 300, "JSON"),
        ]
        for payload, why in bad:
            await stage.client.publish(f"mote/{DEVICE}/in", payload, qos=1)
            answer = await _out(stage)
            assert answer["status"] == "refused"
            assert why in answer["text"]
        assert (await _ask(stage, "read the temperature")).status == "done"


@pytest.mark.slow
async def test_an_ask_larger_than_the_buffer_is_skipped_and_does_not_come_back(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    # amqtt speaks 3.1.1, where a device can't tell the broker what it is able to take
    async with stage_of(runtime, Offline(), broker="amqtt") as stage:
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        await stage.client.publish(f"mote/{DEVICE}/in", b"x" * 5000, qos=1)
        answer = await _out(stage)
        assert (answer["status"], "too large" in answer["text"]) == ("refused", True)
        assert (await _ask(stage, "read the temperature")).status == "done"
        await stage.device.kill()
        await stage.device.start()
        assert (await _ask(stage, "read the temperature")).status == "done"
        assert stage.device.said().count("too large") == 1


async def test_a_retained_ask_is_not_asked_at_every_connection(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    provider = Scripted(PUMP, DONE)
    async with stage_of(runtime, provider) as stage:
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        await stage.client.publish(f"mote/{DEVICE}/in", b"run the pump", qos=1, retain=True)
        for _ in range(2):
            await stage.device.start()
            answer = await _out(stage)
            assert (answer["status"], "retained" in answer["text"]) == ("refused", True)
            await stage.device.kill()
        assert provider.requests == []


async def test_noise_on_the_gateways_topic_is_ignored(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    async with stage_of(runtime, Offline()) as stage:
        await stage.device.start()
        await stage.online()
        chance = random.Random(7)
        for n in range(50):
            await stage.client.publish(f"mote/{DEVICE}/dn", chance.randbytes(n * 9), qos=0)
            await stage.client.publish(f"mote/{DEVICE}/up", chance.randbytes(n * 9), qos=0)
            await stage.client.publish(f"mote/nobody{n}/up", chance.randbytes(40), qos=0)
        assert (await _ask(stage, "read the temperature")).status == "done"
        assert len(stage.store.unenrolled()) == 50


@pytest.mark.slow
async def test_a_gateway_that_is_away_only_delays(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    async with stage_of(runtime, Offline()) as stage:
        key = stage.registry.revoke(DEVICE)
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        await stage.client.publish(f"mote/{DEVICE}/in", b"read the temperature", qos=1)
        with pytest.raises(TimeoutError):
            await _out(stage, 6)
        assert stage.device.said().count("no gateway answers") == 1
        os.rename(key, stage.settings.gateway.state_dir / "devices" / f"{DEVICE}.key")
        assert "21.0 C" in (await _out(stage))["text"]


async def test_several_sessions_at_once(runtime: Runtime, stage_of: Callable[..., Any]) -> None:
    async with stage_of(runtime, Offline()) as stage:
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        for n in range(6):
            payload = json.dumps(
                {"text": "read the temperature", "session": f"s{n}", "id": str(n)}
            )
            await stage.client.publish(f"mote/{DEVICE}/in", payload, qos=1)
        answers = [await _out(stage) for _ in range(6)]
        assert {(a["session"], a["id"]) for a in answers} == {(f"s{n}", str(n)) for n in range(6)}
        assert all("21.0 C" in answer["text"] for answer in answers)


async def test_a_repeated_ask_gets_the_same_bytes_and_no_second_turn(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    provider = Scripted(PUMP, DONE)
    async with stage_of(runtime, provider, time_scale=10.0) as stage:
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        for _ in range(3):
            await stage.client.publish(f"mote/{DEVICE}/in", b'{"text": "go", "id": "1"}', qos=1)
            assert (await _out(stage))["text"] == "all done"
        assert len(provider.requests) == 2
        assert stage.device.world()["pump_starts"] == 1
