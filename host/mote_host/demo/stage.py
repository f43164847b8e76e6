"""A whole installation on this machine: broker, gateway, one device; for demos, tests, benches."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from mote_host.audit import Verdict, verify_log, verify_replica
from mote_host.broker import Broker as BrokerClient
from mote_host.config import BrokerSettings, GatewaySettings, ProviderSettings, Settings
from mote_host.demo.brokers import Broker, running_broker
from mote_host.demo.meter import Meter, metered
from mote_host.demo.runtimes import Runtime
from mote_host.enrolment import write_device
from mote_host.errors import DeviceError
from mote_host.frames import Record
from mote_host.gateway import Gateway
from mote_host.providers import Provider
from mote_host.registry import Registry
from mote_host.store import Store
from mote_host.tasks import end

DEVICE = "greenhouse-1"
_ONLINE_S = 20.0
_STOP_S = 5.0

OnRecord = Callable[[str, Record], None]


class Device:
    """The device's process. `folder` outlives it, and with it the log and the simulated world."""

    def __init__(self, runtime: Runtime, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.process: asyncio.subprocess.Process | None = None
        self._runtime = runtime
        self._options = options

    @property
    def log_folder(self) -> Path:
        """Where its log is; a board's is read from its flash for that."""
        return self._runtime.log_folder(self.folder)

    def said(self) -> str:
        """What it printed."""
        path = self.folder / "moted.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def world(self) -> dict[str, float]:
        """The simulated world's state, as mote_device.world documents it."""
        found: dict[str, float] = json.loads((self.folder / "world.json").read_text())
        return found

    async def start(self) -> None:
        """Start the process; it is online some time later."""
        command = self._runtime.command(self.folder / "moted.toml")
        command[1:1] = self._options
        environment = {**os.environ, **self._runtime.environment()}
        with (self.folder / "moted.log").open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                "-v",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment,
            )

    async def stop(self) -> None:
        """Ask it to end; after 5 seconds, kill it."""
        await self._end(kill=False)

    async def kill(self) -> None:
        """SIGKILL: for the device, a power cut."""
        await self._end(kill=True)

    async def _end(self, kill: bool) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if not kill:
                process.terminate()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_S):
                        await process.wait()
            if process.returncode is None:
                process.kill()
        await process.wait()


@dataclass(slots=True)
class Stage:
    """What runs: use `client` to ask, `meter` for the device's bytes on the wire."""

    broker: Broker
    meter: Meter
    device: Device
    settings: Settings
    registry: Registry
    store: Store
    client: aiomqtt.Client

    async def online(self) -> None:
        """Wait until the device says that it is there.

        Raises DeviceError after 20 s, or as soon as its process has ended.
        """
        process = self.device.process
        if process is not None:
            told = asyncio.create_task(self._told())
            over = asyncio.create_task(process.wait())
            try:
                await asyncio.wait(
                    (told, over), timeout=_ONLINE_S, return_when=asyncio.FIRST_COMPLETED
                )
                if told.done():
                    return told.result()
            finally:
                await end(told, over)
        raise DeviceError(f"the device did not come online:\n{self.device.said()}")

    async def _told(self) -> None:
        topic = f"mote/{DEVICE}/state"
        await self.client.subscribe(topic)
        async for message in self.client.messages:
            if message.topic.value == topic and b"true" in bytes(message.payload):
                return

    async def settled(self, timeout_s: float = 10.0) -> None:
        """Wait until the replica holds the device's whole log, as far as it is on disk."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    own = verify_log(self.device.log_folder, DEVICE, None)
                    known = self.store.device(DEVICE)
                    if own.verified and known and known.tip == own.last:
                        return
                    await asyncio.sleep(0.05)

    def verify(self) -> tuple[Verdict, Verdict]:
        """Verify the replica's chain, and that of the device's own log with its key."""
        key = self.registry.key(DEVICE)
        return verify_replica(self.store, DEVICE), verify_log(self.device.log_folder, DEVICE, key)

    def log_bytes(self) -> int:
        """Bytes of the device's log on disk."""
        return sum(path.stat().st_size for path in self.device.log_folder.glob("*.log"))


@asynccontextmanager
async def staged(
    folder: Path,
    runtime: Runtime,
    provider: Provider,
    *,
    broker: str = "auto",
    on_record: OnRecord | None = None,
    provider_settings: ProviderSettings | None = None,
    time_scale: float | None = None,
    device_config: str = "",
    options: tuple[str, ...] = (),
) -> AsyncIterator[Stage]:
    """Set everything up in `folder` and take it down again; the device is enrolled, not started.

    `time_scale` is the simulated world's, `device_config` is appended to its moted.toml, `options`
    go to its interpreter.
    """
    async with running_broker(broker) as found, metered(found.host, found.port) as meter:
        settings = Settings(
            broker=BrokerSettings(host=found.host, port=found.port),
            provider=provider_settings or ProviderSettings(),
            gateway=GatewaySettings(state_dir=folder / "gateway"),
        )
        registry = Registry(settings.gateway.state_dir)
        device = Device(runtime, folder / DEVICE, options)
        device.folder.mkdir(parents=True)
        near = BrokerSettings(host="127.0.0.1", port=meter.port)
        key = registry.enroll(DEVICE)
        write_device(
            *(device.folder, DEVICE, key, near, "greenhouse"),
            time_scale=time_scale,
            more=device_config,
        )
        with closing(Store(settings.gateway.state_dir / "gateway.db")) as store:
            service = Gateway(settings, registry, store, provider, on_record=on_record)
            gateway = asyncio.create_task(service.run())
            try:
                async with BrokerClient(settings.broker).connected() as client:
                    async with asyncio.timeout(_ONLINE_S):
                        await service.ready.wait()
                    yield Stage(found, meter, device, settings, registry, store, client)
            finally:
                await device.stop()
                await end(gateway)
                await provider.aclose()
