"""A device on a serial line: a pty, the bridge, mosquitto, and what goes wrong on such a line."""

import asyncio
import os
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from mote_host.asking import ask
from mote_host.bridge import Bridge
from mote_host.broker import Broker
from mote_host.config import BrokerSettings, GatewaySettings, Settings
from mote_host.demo.brokers import free_port, running_broker
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE, Device
from mote_host.gateway import Gateway
from mote_host.providers import Offline
from mote_host.registry import Registry
from mote_host.serial_port import SerialPort
from mote_host.store import Store

_CONFIG = """\
[device]
name = "{name}"
key_file = "device.key"
board = "greenhouse"

[broker]
serial = "{port}"
keepalive_s = 5
"""
HUGE = b"\x30\xff\xff\xff\x7f"  # how a PUBLISH of 256 MiB begins
ANSWER_S = 60.0


class Wire:
    """A null modem: two ptys, `near` for the device and `far` for the bridge, joined here."""

    def __init__(self) -> None:
        self._pairs = [os.openpty(), os.openpty()]
        self.near, self.far = (os.ttyname(slave) for _, slave in self._pairs)
        self._masters = [master for master, _ in self._pairs]
        self.cut = False
        self.left: int | None = None  # bytes of the device that still get through; None: all
        for master, slave in self._pairs:
            tty.setraw(slave)
            os.set_blocking(master, False)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Carry bytes while this lasts."""
        loop = asyncio.get_running_loop()
        near, far = self._masters
        loop.add_reader(near, self._carry, near, far)
        loop.add_reader(far, self._carry, far, near)
        try:
            yield
        finally:
            for master, slave in self._pairs:
                loop.remove_reader(master)
                os.close(master)
                os.close(slave)

    def inject(self, noise: bytes) -> None:
        """Noise that reaches the device."""
        os.write(self._masters[0], noise)

    def _carry(self, source: int, target: int) -> None:
        data = os.read(source, 4096)
        if source == self._masters[0] and self.left is not None:
            data = data[: self.left]
            self.left -= len(data)
        if not self.cut:
            with suppress(BlockingIOError):  # without flow control what nobody takes is lost
                os.write(target, data)


class Site:
    """A device on a wire, a bridge, a broker that may restart, and a gateway."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self.broker = BrokerSettings(port=free_port())
        self.wire = Wire()
        self.told: list[tuple[str, str]] = []
        state = folder / "gateway"
        self._settings = Settings(broker=self.broker, gateway=GatewaySettings(state_dir=state))
        self._registry, self._store = Registry(state), Store(state / "gateway.db")
        self.device = Device(runtime, folder / "device")
        self.device.folder.mkdir()
        (self.device.folder / "moted.toml").write_text(
            _CONFIG.format(name=DEVICE, port=self.wire.near)
        )
        key = self.device.folder / "device.key"
        key.touch(0o600)
        key.write_text(self._registry.enroll(DEVICE).hex())

    @asynccontextmanager
    async def up(self) -> AsyncIterator["Site"]:
        """Everything but the broker and the device runs; at the end the device is stopped."""
        gateway = Gateway(self._settings, self._registry, self._store, Offline())
        bridge = Bridge(SerialPort(self.wire.far, 115200), self.broker, self._tell)
        async with self.wire.up():
            tasks = [asyncio.create_task(part.run()) for part in (gateway, bridge)]
            try:
                yield self
            finally:
                await self.device.stop()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._store.close()
                print(self.device.said(), *self.told, sep="\n")  # shown if the test failed

    def _tell(self, event: str, text: str) -> None:
        self.told.append((event, text))

    async def answered(self) -> None:
        """Ask, and have the right answer."""
        async with Broker(self.broker).connected() as client, asyncio.timeout(ANSWER_S):
            answer = await ask(client, DEVICE, "read the temperature")
        assert "21.0 C" in answer.text

    async def online(self, times: int = 1) -> None:
        """Wait until the device said so often that it is connected."""
        async with asyncio.timeout(ANSWER_S):
            while self.device.said().count("connected, MQTT") < times:
                await asyncio.sleep(0.02)


@pytest.fixture
def site(tmp_path: Path, runtime: Runtime, mosquitto: str) -> Site:
    return Site(tmp_path, runtime)


async def test_a_turn_over_a_serial_line(site: Site) -> None:
    async with site.up(), running_broker("mosquitto", site.broker.port):
        site.wire.inject(b"ets Jun  8 2016\r\nrst:0x1 (POWERON_RESET)\r\n\x03\x04")
        await site.device.start()
        await site.answered()
        assert [event for event, _ in site.told] == ["listening", "connected"]


@pytest.mark.slow
async def test_noise_costs_a_connection_and_nothing_else(site: Site) -> None:
    async with site.up(), running_broker("mosquitto", site.broker.port):
        await site.device.start()
        for n, noise in enumerate((b"\x00\xff\x7e" * 10, HUGE, b"\x20\x02\x00\x00", b"$GPGGA,")):
            await site.online(n + 1)
            site.wire.inject(noise)
            await site.answered()
        assert "Traceback" not in site.device.said()
        assert site.device.said().count("epoch ") == 1, "it was restarted"


@pytest.mark.slow
async def test_a_broker_that_restarts_is_found_again(site: Site) -> None:
    async with site.up():
        await site.device.start()
        for _ in range(2):
            async with running_broker("mosquitto", site.broker.port):
                await site.answered()
        assert "lost" in [event for event, _ in site.told]


@pytest.mark.slow
async def test_a_bridge_that_falls_silent_is_noticed(site: Site) -> None:
    async with site.up(), running_broker("mosquitto", site.broker.port):
        await site.device.start()
        await site.answered()
        site.wire.cut = True
        async with asyncio.timeout(ANSWER_S):
            while "no answer from the broker" not in site.device.said():
                await asyncio.sleep(0.02)
        site.wire.cut = False
        await site.answered()


@pytest.mark.slow
async def test_a_device_that_is_killed_in_the_middle_of_a_packet_goes_on(site: Site) -> None:
    async with site.up(), running_broker("mosquitto", site.broker.port):
        for n, size in enumerate((1, 30, 200)):
            await site.device.start()
            await site.online(2 * n + 1)
            site.wire.left = size
            asking = asyncio.create_task(site.answered())
            async with asyncio.timeout(ANSWER_S):
                while site.wire.left:
                    await asyncio.sleep(0)
            await site.device.kill()
            site.wire.left = None
            await site.device.start()
            await asking
            await site.device.kill()
