"""`turn`: what a turn with two tool calls costs in bytes and in time, beside an MQTT echo.

Everything runs on this machine: mosquitto, the gateway, and the client in this process, the
device in its own. The time is from publishing the ask until its answer is there, less what the
provider took. The echo is a QoS 1 publish to a second client that publishes it back, over the
same broker: what two messages cost when nobody thinks or keeps a log.
"""

import asyncio
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
from mote_host.demo.runtimes import CPython, MicroPython, Runtime
from mote_host.demo.stage import DEVICE, Stage
from mote_host.errors import DeviceError

from tests.bench.harness import Figures, Outcome, spread, table
from tests.bench.stages import TIME_SCALE, TimedOffline, answered, bench_stage

ROUNDS = 25
_WARM = 3  # rounds that do not count
_TIMEOUT_S = 30.0
_QUIET_S = 0.15  # the wire is quiet when nothing was counted for so long
_PING, _PONG = "bench/ping", "bench/pong"
# Without it Nagle's algorithm and delayed acknowledgements make 40 ms of every echo.
_AT_ONCE = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)

_METHOD = (
    f"median of {ROUNDS} turns in turn with the other runtime and with QoS 1 echoes over the same "
    f"broker; bytes are TCP payload on the device's socket until its log is acknowledged; times "
    f"are without the provider's, with {3000 // TIME_SCALE} ms of pump; micropython is the "
    "virtual environment's, from .py"
)


@dataclass(slots=True)
class _Side:
    """One runtime on its stage, and what was measured there."""

    name: str
    stage: Stage
    provider: TimedOffline
    near: aiomqtt.Client
    turn_ms: list[float] = field(default_factory=list)
    echo_ms: list[float] = field(default_factory=list)
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)

    async def turn(self) -> None:
        """One turn, and the end of what it puts on the wire."""
        meter = self.stage.meter
        up, down, thought = meter.up, meter.down, self.provider.seconds
        began = time.perf_counter()
        async with asyncio.timeout(_TIMEOUT_S):
            await answered(self.stage)
        took = time.perf_counter() - began
        self.turn_ms.append((took - (self.provider.seconds - thought)) * 1000)
        await self.stage.settled()
        await self._quiet()
        self.up.append(meter.up - up)
        self.down.append(meter.down - down)

    async def bounce(self) -> None:
        """One echo."""
        payload = secrets.token_bytes(64)
        began = time.perf_counter()
        async with asyncio.timeout(_TIMEOUT_S):
            await self.near.publish(_PING, payload, qos=1)
            async for message in self.near.messages:
                if message.payload == payload:
                    break
        self.echo_ms.append((time.perf_counter() - began) * 1000)

    async def _quiet(self) -> None:
        meter = self.stage.meter
        before = None
        while before != (meter.up, meter.down):
            before = (meter.up, meter.down)
            await asyncio.sleep(_QUIET_S)

    def forget(self) -> None:
        """Drop what was measured so far."""
        for values in (self.turn_ms, self.echo_ms, self.up, self.down):
            values.clear()


def run() -> Outcome:
    """Turns on both runtimes and echoes, in turn."""
    try:
        return _outcome(asyncio.run(_measured()))
    except TimeoutError:
        raise DeviceError(f"no answer or no echo within {_TIMEOUT_S:g} s") from None


async def _measured() -> list[_Side]:
    with tempfile.TemporaryDirectory(prefix="mote-bench-") as scratch:
        async with AsyncExitStack() as stack:
            sides = [
                await stack.enter_async_context(_side(Path(scratch), runtime))
                for runtime in (MicroPython(), CPython())
            ]
            for at in range(_WARM + ROUNDS):
                for side in sides:
                    if at == _WARM:
                        side.forget()
                    await side.turn()
                    await side.bounce()
            return sides


@asynccontextmanager
async def _side(scratch: Path, runtime: Runtime) -> AsyncIterator[_Side]:
    provider = TimedOffline()
    async with (
        bench_stage(scratch / runtime.name, runtime, provider) as stage,
        _client(stage) as near,
        _client(stage) as far,
    ):
        await near.subscribe(_PONG, qos=1)
        await far.subscribe(_PING, qos=1)
        echoes = asyncio.create_task(_echo(far))
        try:
            await stage.device.start()
            await stage.online()
            await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
            yield _Side(runtime.name, stage, provider, near)
        finally:
            # Until it ends: CPython 3.11's wait_for, in publish, may lose a cancellation.
            while not echoes.done():
                echoes.cancel()
                await asyncio.wait([echoes], timeout=0.5)


def _client(stage: Stage) -> aiomqtt.Client:
    broker = stage.settings.broker
    return aiomqtt.Client(broker.host, broker.port, socket_options=_AT_ONCE)


async def _echo(client: aiomqtt.Client) -> None:
    async for message in client.messages:
        await client.publish(_PONG, message.payload, qos=1)
    raise DeviceError("the echo's connection ended")


def _outcome(sides: list[_Side]) -> Outcome:
    figures: Figures = {}
    shown = table("", "up B", "down B", "sum", "turn ms", "quartiles", "echo ms", "ratio")
    for side in sides:
        up, down = round(spread(side.up).median), round(spread(side.down).median)
        both = [a + b for a, b in zip(side.up, side.down, strict=True)]
        total = round(spread(both).median)
        turn, echo = spread(side.turn_ms), spread(side.echo_ms)
        for name, value in (
            ("up_bytes", up),
            ("down_bytes", down),
            ("total_bytes", total),
            ("turn_ms", round(turn.median, 2)),
            ("echo_ms", round(echo.median, 3)),
            ("turn_to_echo", round(turn.median / echo.median, 2)),
        ):
            figures[f"{name}_{side.name}"] = value
        shown.add_row(
            side.name,
            str(up),
            str(down),
            str(total),
            f"{turn.median:.2f}",
            f"{turn.low:.1f} .. {turn.high:.1f}",
            f"{echo.median:.2f}",
            f"{turn.median / echo.median:.1f}",
        )
    figures["echo_ms"] = round(spread([ms for side in sides for ms in side.echo_ms]).median, 3)
    return Outcome(figures, _METHOD, shown)
