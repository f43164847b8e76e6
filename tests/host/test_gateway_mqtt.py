"""The gateway and the real core of a device over a real broker, and brokers of 3.1.1 only."""

import asyncio
import logging

import pytest
from fake_device import Scripted, watering
from mote_host.broker import MAX_PACKET_BYTES
from mote_host.config import Settings
from mote_host.gateway import Gateway
from mote_host.providers.base import Reply
from mote_host.store import Store
from remote_device import TIMEOUT_S, Remote, serving


def make_gateway(bench, port, provider):
    settings = Settings.model_validate({"broker": {"port": port}})
    return Gateway(settings, bench.registry, bench.store, provider)


async def test_a_turn_over_mqtt_and_a_gateway_restarted_within(bench, fern, mosquitto):
    provider = Scripted(watering())
    remote = Remote(fern, mosquitto.port)
    fern.ask("water the left bed")
    async with serving(make_gateway(bench, mosquitto.port, provider)):
        await remote.until(lambda: fern.ran)
    async with serving(make_gateway(bench, mosquitto.port, provider)):
        await remote.until(lambda: fern.answers)
    assert fern.answers[0][3].startswith("It was dry")
    assert fern.ran == [("read_moisture", "left"), ("run_pump", 3.0)]
    assert fern.link.rejected == 0


@pytest.mark.slow
async def test_two_gateways_race_on_one_broker_and_one_store(bench, fern, mosquitto, tmp_path):
    provider = Scripted(watering())
    other = Store(bench.store.path)
    settings = Settings.model_validate({"broker": {"port": mosquitto.port}})
    twin = Gateway(settings, bench.registry, other, provider)
    fern.ask("water the left bed")
    async with serving(make_gateway(bench, mosquitto.port, provider)), serving(twin):
        await Remote(fern, mosquitto.port).until(lambda: fern.answers)
    assert len(provider.requests) == 3
    assert fern.ran == [("read_moisture", "left"), ("run_pump", 3.0)]
    other.close()


async def test_a_broker_that_goes_and_comes_back(bench, fern, mosquitto, caplog):
    provider = Scripted([Reply("hello")])
    gateway = make_gateway(bench, mosquitto.port, provider)
    with caplog.at_level(logging.INFO, "mote.gateway"):
        async with serving(gateway):
            mosquitto.stop()
            gateway.ready.clear()
            mosquitto.start()
            async with asyncio.timeout(TIMEOUT_S):
                await gateway.ready.wait()
            fern.ask("hello")
            await Remote(fern, mosquitto.port).until(lambda: fern.answers)
    said = [x.getMessage() for x in caplog.records if x.name == "mote.gateway"]
    assert sum("connected to" in text for text in said) == 2
    assert "MQTT 5" in said[0]
    assert sum("trying again" in text for text in said) in (1, 2)  # cut off; then refused


async def test_a_broker_without_version_5_is_spoken_to_in_3_1_1(bench):
    """The broker hangs up on version 5, and accepts version 4 of the protocol."""
    versions, connects = [], []

    async def broker(reader, writer):
        head = await reader.readexactly(2)
        body = await reader.readexactly(head[1])
        versions.append(body[6])
        connects.append(body)
        if body[6] == 4:
            writer.write(bytes([0x20, 2, 0, 0]))
            head = await reader.readexactly(2)
            packet = await reader.readexactly(head[1])
            writer.write(bytes([0x90, 3, packet[0], packet[1], 0]))
            await reader.read()
        writer.close()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    started = asyncio.get_running_loop().time()
    async with serving(make_gateway(bench, port, Scripted())):
        assert versions == [5, 4]
    most = b"\x27" + MAX_PACKET_BYTES.to_bytes(4, "big")  # MQTT 5.0, 3.1.2.11.4
    assert [most in body for body in connects] == [True, False]
    assert asyncio.get_running_loop().time() - started < 4  # no time-out was waited for
    server.close()
