"""A reply that is longer than any packet goes to flash and to the asker, never whole in RAM."""

import asyncio
from collections.abc import Callable
from typing import Any

from mote_host.asking import ask
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE
from mote_host.providers import Reply
from scripted import Scripted

TEXT = "".join(f"line {n:05d} of a long answer\n" for n in range(2335)) + "\u20ac end"
LIMITS = "\n[limits]\nreply_bytes = 65536\nopen_turns = 2\nsteps = 2\n"
# MicroPython's heap, with 64 bits; the daemon itself takes all but a part of it
HEAP = ("-X", "heapsize=420k")


async def test_64_kib_reach_a_device_whose_packets_have_1_kib(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    assert 65000 < len(TEXT.encode()) <= 65536
    provider = Scripted(Reply(TEXT))
    options = HEAP if runtime.name == "micropython" else ()
    async with stage_of(runtime, provider, device_config=LIMITS, options=options) as stage:
        await stage.device.start()
        await stage.online()
        async with asyncio.timeout(60):
            answer = await ask(stage.client, DEVICE, "tell me all")
        assert answer.status == "done"
        assert answer.text == TEXT
        await stage.settled()
        assert [verdict.why for verdict in stage.verify()] == [None, None]
        assert len(provider.requests) == 1
