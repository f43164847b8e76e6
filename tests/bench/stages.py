"""An installation for a benchmark: a quick pump, no limit on asks, and a provider on the clock."""

import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mote_host.asking import DONE
from mote_host.cli.demo import ASK
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE, Stage, staged
from mote_host.errors import DeviceError
from mote_host.providers.base import Reply, Request
from mote_host.providers.offline import Offline

TIME_SCALE = 1000
"""Simulated seconds in one second: the ask's pump runs for 3 ms."""

_LIMITS = "\n[limits]\nasks_per_hour = 100000\nasks_burst = 1000\n"


class TimedOffline(Offline):
    """The offline planner; `seconds` is the time that it has taken so far."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def complete(self, request: Request) -> Reply:
        """The offline planner's reply."""
        began = time.perf_counter()
        try:
            return await super().complete(request)
        finally:
            self.seconds += time.perf_counter() - began


@asynccontextmanager
async def bench_stage(
    folder: Path, runtime: Runtime, provider: Offline, options: tuple[str, ...] = ()
) -> AsyncIterator[Stage]:
    """A stage over mosquitto whose device is enrolled and not started yet."""
    async with staged(
        folder,
        runtime,
        provider,
        broker="mosquitto",
        device_config=_LIMITS,
        options=options,
    ) as stage:
        config = stage.device.folder / "moted.toml"
        head = "[device]\n"
        text = config.read_text()
        assert text.count(head) == 1
        config.write_text(text.replace(head, f"{head}time_scale = {TIME_SCALE}\n"))
        yield stage


async def answered(stage: Stage) -> str:
    """Publish the demo's ask, wait for its answer, return its text; `out` is subscribed to.

    Raises DeviceError if the turn was not done with both tools. Put a time-out around it.
    """
    ask_id = secrets.token_hex(8)
    payload = json.dumps({"text": ASK, "session": "main", "id": ask_id})
    await stage.client.publish(f"mote/{DEVICE}/in", payload, qos=1)
    async for message in stage.client.messages:
        if message.topic.value != f"mote/{DEVICE}/out":
            continue
        answer = json.loads(message.payload)
        if answer["id"] == ask_id:
            text = str(answer["text"])
            if answer["status"] != DONE or not ("%" in text and "the pump ran" in text):
                raise DeviceError(f"the turn went wrong: {answer['status']}: {text}")
            return text
    raise DeviceError("the connection to the broker ended")
