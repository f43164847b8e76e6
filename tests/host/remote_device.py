"""The core of a device on a real broker and the real clock, and gateways to serve it."""

import asyncio
import contextlib
import sys

import aiomqtt

TIMEOUT_S = 20


class Remote:
    """Runs a FakeDevice on a broker. `heard` are the `dn` messages, in order."""

    def __init__(self, device, port):
        self.heard = []
        self._device = device
        self._port = port

    async def until(self, done):
        """Connect, and exchange messages until `done()`."""
        device = self._device
        async with asyncio.timeout(TIMEOUT_S), aiomqtt.Client("127.0.0.1", self._port) as client:
            await client.subscribe(f"mote/{device.name}/dn")
            device.now_ms = self._now_ms()
            device.link.connected(device.now_ms)
            device.settle()
            while not done():
                device.now_ms = self._now_ms()
                for message in device.outgoing():
                    await client.publish(f"mote/{device.name}/up", message)
                deadline = device.link.deadline()
                wait_s = 1 if deadline is None else max(0, deadline - self._now_ms()) / 1000
                with contextlib.suppress(TimeoutError):
                    message = await asyncio.wait_for(anext(client.messages), wait_s)
                    device.now_ms = self._now_ms()
                    self.heard.append((message.topic.value, message.payload))
                    device.incoming(message.payload)

    @staticmethod
    def _now_ms():
        return int(asyncio.get_running_loop().time() * 1000)


@contextlib.asynccontextmanager
async def serving(gateway):
    """A gateway that runs and is subscribed."""
    task = asyncio.create_task(gateway.run())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await gateway.ready.wait()
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def processes(config, n, environment):
    """`n` processes of `mote gateway` on one configuration, all subscribed."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_process(config, environment)) for _ in range(n)]


@contextlib.asynccontextmanager
async def _process(config, environment):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mote_host", "--config", str(config), "gateway"),
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while b"connected to" not in (line := await process.stderr.readline()):
                assert line, "the gateway ended"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
