"""The main job, once: set the stage, ask, show the steps, verify the record of it."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from mote_host.asking import Answer, ask
from mote_host.config import ProviderSettings
from mote_host.demo.result import Result
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE, Stage, staged
from mote_host.errors import DeviceError
from mote_host.frames import Record
from mote_host.providers import Provider
from mote_host.turns import Calls, Step, step_of

ShowStep = Callable[[Step], None]


async def run_demo(
    folder: Path,
    runtime: Runtime,
    provider: Provider,
    text: str,
    *,
    broker: str,
    timeout_s: float,
    provider_settings: ProviderSettings,
    show: ShowStep,
) -> Result:
    """Ask one simulated device `text`. Raises DeviceError if no answer comes in time."""
    calls = Calls()

    def on_record(_: str, record: Record) -> None:
        calls.add(record)
        step = step_of(record)
        if step and step.label not in ("ask", "answer"):
            show(step)

    async with staged(
        folder,
        runtime,
        provider,
        broker=broker,
        on_record=on_record,
        provider_settings=provider_settings,
    ) as stage:
        _show_stage(stage, provider, show)
        await stage.device.start()
        await stage.online()
        show(Step("device", f"{DEVICE} is online", runtime.name))
        show(Step("ask", text))
        began = time.monotonic()
        answer = await _answer(stage, text, timeout_s)
        seconds = time.monotonic() - began
        await stage.settled()  # so that the last steps are shown before the answer
        show(Step("answer", answer.text, answer.status))
        await stage.device.stop()
        replica, log = stage.verify()
        whole = replica.verified and log.verified and replica.head == log.head
        return Result(
            answer.text,
            answer.status,
            calls.list(),
            log.records,
            whole,
            stage.meter.up,
            stage.meter.down,
            stage.log_bytes(),
            round(seconds, 3),
            runtime.name,
            stage.broker.kind,
            provider.name,
        )


async def _answer(stage: Stage, text: str, timeout_s: float) -> Answer:
    try:
        async with asyncio.timeout(timeout_s):
            return await ask(stage.client, DEVICE, text)
    except TimeoutError:
        said = stage.device.said()
        raise DeviceError(f"no answer in {timeout_s:g} s; the device said:\n{said}") from None


def _show_stage(stage: Stage, provider: Provider, show: ShowStep) -> None:
    found = stage.broker
    show(Step("broker", f"{found.kind} on {found.host}:{found.port}"))
    show(Step("gateway", f"is ready, provider {provider.name}"))
