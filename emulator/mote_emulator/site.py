"""A board with all that it needs to think: broker, gateway, a model, and somebody who asks.

For tests and measurements. The gateway and the emulator's harness run in this process.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import aiomqtt
from mote_host.asking import Answer, ask
from mote_host.audit import Verdict, verify_log, verify_replica
from mote_host.broker import Broker as BrokerClient
from mote_host.config import BrokerSettings, GatewaySettings, Settings
from mote_host.demo.brokers import running_broker
from mote_host.enrolment import write_device
from mote_host.errors import DeviceError
from mote_host.gateway import Gateway
from mote_host.providers import Provider
from mote_host.registry import Registry
from mote_host.store import Store
from mote_host.tasks import end

from mote_emulator.device import Options, Prepared, prepare, running
from mote_emulator.logs import export_log
from mote_emulator.machine import Machine

DEVICE = "board-1"
_READY_S = 20.0


class Site:
    """What runs. The board is off until `power_on`; `folder` has its flash and its moted.toml."""

    def __init__(
        self,
        stack: AsyncExitStack,
        folder: Path,
        settings: Settings,
        store: Store,
        client: aiomqtt.Client,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.store = store
        self.client = client
        self._stack = stack
        self._machine: Machine | None = None

    @property
    def machine(self) -> Machine:
        """The board. Raises DeviceError before the first `power_on`."""
        if self._machine is None:
            raise DeviceError("the board has not been switched on: await site.power_on()")
        return self._machine

    def configure(self, table: str, line: str) -> None:
        """Put a line into a table of the device's moted.toml, before it is switched on."""
        toml = self.folder / "moted.toml"
        toml.write_text(toml.read_text().replace(f"[{table}]\n", f"[{table}]\n{line}\n"))

    def prepare(self, options: Options) -> Prepared:
        """Firmware and flash for this site."""
        return prepare(self.folder / "moted.toml", options, self.settings.broker)

    async def power_on(self, options: Options, **more: Any) -> Machine:
        """Boot the board with what `options` say; `more` are arguments of Machine."""
        prepared = await asyncio.to_thread(self.prepare, options)  # it may build for a minute
        self._machine = await self._stack.enter_async_context(running(prepared, options, **more))
        return self._machine

    async def online(self, timeout_s: float = 60.0) -> None:
        """Wait until the board's presence says so. Raises DeviceError with what it said."""
        topic = f"mote/{DEVICE}/state"
        await self.client.subscribe(topic)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for message in self.client.messages:
                    if message.topic.value == topic and b"true" in bytes(message.payload):
                        return
        raise DeviceError(f"the board did not come online:\n{self.machine.console.transcript}")

    async def ask(self, text: str, timeout_s: float = 60.0, session: str = "main") -> Answer:
        """Ask the board and wait for its answer. Raises DeviceError with what it said."""
        try:
            async with asyncio.timeout(timeout_s):
                return await ask(self.client, DEVICE, text, session=session)
        except TimeoutError:
            said = self.machine.console.transcript
            raise DeviceError(f"no answer in {timeout_s:g} s; the board said:\n{said}") from None

    def verify(self) -> tuple[Verdict, Verdict]:
        """Verify the replica's chain, and that of the log on the flash."""
        key = Registry(self.settings.gateway.state_dir).key(DEVICE)
        return verify_replica(self.store, DEVICE), verify_log(export_log(self.folder), DEVICE, key)


@asynccontextmanager
async def site(
    folder: Path, provider: Provider, *, config: str = "", broker: BrokerSettings | None = None
) -> AsyncIterator[Site]:
    """Everything but the board, which `Site.power_on` adds; taken down with the context.

    `config` is appended to the device's moted.toml. `broker` is one that runs already; by default
    mosquitto is started.
    """
    async with AsyncExitStack() as stack:
        if broker is None:
            own = await stack.enter_async_context(running_broker("mosquitto"))
            broker = BrokerSettings(host=own.host, port=own.port)
        settings = Settings(broker=broker, gateway=GatewaySettings(state_dir=folder / "gateway"))
        registry = Registry(settings.gateway.state_dir)
        device = folder / DEVICE
        device.mkdir(parents=True)
        write_device(*(device, DEVICE, registry.enroll(DEVICE), broker, "greenhouse"), more=config)
        store = stack.enter_context(closing(Store(settings.gateway.state_dir / "gateway.db")))
        service = Gateway(settings, registry, store, provider)
        gateway = asyncio.create_task(service.run())
        stack.push_async_callback(_end, gateway, provider)
        async with asyncio.timeout(_READY_S):
            await service.ready.wait()
        client = await stack.enter_async_context(BrokerClient(broker).connected())
        yield Site(stack, device, settings, store, client)


async def _end(gateway: asyncio.Task[None], provider: Provider) -> None:
    await end(gateway)
    await provider.aclose()
