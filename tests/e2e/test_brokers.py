"""A broker that is not there yet, that goes away, that asks for a password."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mote_host.asking import ask
from mote_host.broker import Broker
from mote_host.config import BrokerSettings, GatewaySettings, Settings
from mote_host.demo.brokers import free_port, running_broker
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE, Device
from mote_host.enrolment import write_device
from mote_host.gateway import Gateway
from mote_host.providers import Offline
from mote_host.registry import Registry
from mote_host.store import Store


async def _said(device: Device, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in device.said():
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_absent_at_the_start_and_restarted_in_the_middle(
    runtime: Runtime, mosquitto: str, tmp_path: Path
) -> None:
    port = free_port()
    near = BrokerSettings(port=port)
    settings = Settings(broker=near, gateway=GatewaySettings(state_dir=tmp_path / "gateway"))
    registry, store = Registry(tmp_path / "gateway"), Store(tmp_path / "gateway" / "gateway.db")
    device = Device(runtime, tmp_path / "device")
    device.folder.mkdir()
    write_device(device.folder, DEVICE, registry.enroll(DEVICE), near, "greenhouse")
    gateway = asyncio.create_task(Gateway(settings, registry, store, Offline()).run())
    await device.start()
    try:
        await _said(device, "broker: ")
        for _ in range(2):
            async with running_broker("mosquitto", port), Broker(near).connected() as client:
                async with asyncio.timeout(40):
                    answer = await ask(client, DEVICE, "read the temperature")
                assert "21.0 C" in answer.text
        # every reason is told once, not at each attempt
        assert device.said().count("refused") <= 2
    finally:
        await device.stop()
        gateway.cancel()
        await asyncio.gather(gateway, return_exceptions=True)
        store.close()


async def test_presence_is_told_and_taken_back(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    async with stage_of(runtime, Offline()) as stage:
        await stage.device.start()
        await stage.online()
        await stage.device.kill()
        async with asyncio.timeout(10):
            async for message in stage.client.messages:
                if json.loads(bytes(message.payload)) == {"online": False}:  # type: ignore[arg-type]
                    return


@pytest.mark.slow
async def test_a_clone_makes_both_wait_instead_of_storming_the_broker(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    async with stage_of(runtime, Offline()) as stage:
        clone = Device(runtime, stage.device.folder.with_name("clone"))
        shutil.copytree(stage.device.folder, clone.folder)
        await stage.device.start()
        await stage.online()
        await clone.start()
        try:
            await _said(clone, "broker: ")
            await asyncio.sleep(2.5)
        finally:
            await clone.stop()
        assert stage.meter.connections <= 12
