"""How much heap the agent takes on a board: in use when connected, and the least that will do.

The turns are those of a device with 4 sessions and 8 tools: two tool calls, then a reply of 2 KB.
Sampled use says little about what suffices, so the least is found by trying.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from mote_emulator.device import Options, flash_of
from mote_emulator.panel import Panel
from mote_emulator.site import DEVICE, Site, site
from mote_host.errors import MoteError
from mote_host.providers import Call, Reply, Request

from tests.emulator.workload import settled

TOOLS = 8  # the greenhouse's 5, 2 for facts, 1 of the user's
SESSIONS = 4
REPLY_BYTES = 2048
STEP = 1024
_CONFIG = """
[tools]
path = ["tools"]
modules = ["clock"]
"""
_TOOL = """
import time
from mote.tools import READ, tool

@tool("Read the clock.", READ)
def read_clock():
    return "%d s since 1970" % time.time()
"""
_TURN_S = 30.0
_IDLE_S = 1.5  # then the board has dropped what only a turn needs


class TwoCalls:
    """A provider: two tool calls, then 2 KB of text."""

    name = "two calls"

    async def complete(self, request: Request) -> Reply:
        """By what came after the newest ask."""
        if request.messages[-1].role == "user":
            first = Call("a", "read_clock", {})
            return Reply("", (first, Call("b", "read_soil_moisture", {})))
        return Reply("x" * REPLY_BYTES)

    async def aclose(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def measured(folder: Path) -> AsyncIterator[Site]:
    """A site whose device has eight tools."""
    async with site(folder, TwoCalls(), config=_CONFIG) as made:
        tools = made.folder / "tools"
        tools.mkdir()
        (tools / "clock.py").write_text(_TOOL)
        yield made


async def turns(made: Site, rounds: int) -> None:
    """Complete turns in all sessions. Raises MoteError."""
    for _ in range(rounds):
        for session in range(SESSIONS):
            answer = await made.ask("a long one", _TURN_S, session=f"session-{session}")
            if answer.status != "done" or len(answer.text) != REPLY_BYTES:
                raise MoteError(f"{answer.status}: {answer.text[:80]}")


async def in_use(folder: Path, options: Options) -> int:
    """Bytes of heap in use by an agent that is connected and idle, after turns in 4 sessions."""
    panel = Panel()
    async with measured(folder) as made:
        await made.power_on(options, panel=panel)
        await made.online()
        await turns(made, 1)
        await settled(made)
        await asyncio.sleep(_IDLE_S)
        used = (await panel.heap()).used
    panel.close()
    return used


async def suffices(folder: Path, options: Options, heap_bytes: int, rounds: int = 2) -> bool:
    """True if turns complete in a heap of that size, from a flash without a log."""
    panel = Panel()
    try:
        async with measured(folder) as made:
            await made.power_on(replace(options, heap_bytes=heap_bytes), panel=panel)
            await made.online(timeout_s=15)
            await turns(made, rounds)
            return "memory" not in made.machine.console.transcript
    except MoteError:
        return False
    finally:
        panel.close()


async def smallest(folder: Path, options: Options, low: int, high: int) -> int:
    """The smallest heap in bytes that suffices, by bisection in steps of 1 KiB.

    Raises MoteError if `high` does not.
    """
    if not await suffices(folder / "high", options, high):
        raise MoteError(f"turns do not complete in a heap of {high} bytes")
    while high - low > STEP:
        middle = (low + high) // 2 // STEP * STEP
        if await suffices(folder / str(middle), options, middle):
            high = middle
        else:
            low = middle
    return high


def flash_files(folder: Path) -> dict[str, int]:
    """The files on the flash of a site that ran in `folder`, and their sizes."""
    return flash_of(folder / DEVICE).list_files()
