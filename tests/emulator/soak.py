"""Many turns, one after the other, and the board's heap in between.

`python -m tests.emulator.soak --turns 100000` is the long run; `make torture` does it.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mote_emulator.device import Options
from mote_emulator.panel import Heap, Panel
from mote_emulator.site import DEVICE, Site, site
from mote_host.errors import MoteError
from mote_host.providers import Call, Reply, Request

from tests.emulator.workload import settled

HEAP_BYTES = 64 * 1024
SESSIONS = 4
GROWTH = 512  # bytes between two samples that are no leak: turns differ a little in what they keep
_CALLS_EVERY = 5
_ANSWER_S = 60.0
_OPEN_TURNS = 2
_PAUSE_S = 0.5  # 100,000 asks an hour are the most that a device takes
_LIMITS = """
[limits]
asks_per_hour = 100000
asks_burst = 1000
open_turns = %d
"""


class Talk:
    """A provider that answers at once, and has a sensor read first in each fifth turn."""

    name = "talk"

    async def complete(self, request: Request) -> Reply:
        """By the number in the newest ask."""
        last = request.messages[-1]
        if last.role == "user" and int(last.text.split()[-1]) % _CALLS_EVERY == 0:
            return Reply("", (Call("a", "read_soil_moisture", {}),))
        return Reply("yes")

    async def aclose(self) -> None:
        """Nothing to close."""


async def soak(folder: Path, turns: int, samples: int) -> list[Heap]:
    """Do the turns on rv32, sampling the heap `samples` times; the first fifth does not count.

    Raises MoteError for an answer that is wrong or late.
    """
    found: list[Heap] = []
    panel = Panel()
    async with site(folder, Talk(), config=_LIMITS % _OPEN_TURNS) as made:
        options = replace(Options("rv32"), heap_bytes=HEAP_BYTES)
        await made.power_on(options, panel=panel)
        await made.online()
        await made.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        numbers = iter(range(turns))
        for part in range(samples + 1):
            await _turns(made, numbers, turns // 5 if part == 0 else turns * 4 // 5 // samples)
            if part:
                replica, log = await settled(made)
                if replica.head != log.head:
                    raise MoteError("the replica does not hold the log")
                found.append(await panel.heap())
                print(f"{part}/{samples}: {found[-1]}", file=sys.stderr)
    panel.close()
    return found


async def _turns(made: Site, numbers: Iterator[int], count: int) -> None:
    """Ask, with as many asks open as the agent has turns; the next one follows an answer."""
    messages = aiter(made.client.messages)
    free = deque(f"s{number}" for number in range(SESSIONS))
    open_asks: dict[str, dict[str, str]] = {}
    asked = 0
    while asked < count or open_asks:
        while asked < count and len(open_asks) < _OPEN_TURNS:
            number = next(numbers)
            ask = {"text": f"turn {number}", "id": f"{number}", "session": free.popleft()}
            open_asks[ask["id"]] = ask
            await made.client.publish(f"mote/{DEVICE}/in", json.dumps(ask), qos=1)
            asked += 1
        async with asyncio.timeout(_ANSWER_S):
            message = await anext(messages)
        if not message.topic.value.endswith("/out"):
            continue
        answer = json.loads(message.payload)
        if answer["status"] == "refused" and "an hour" in answer["text"]:
            await asyncio.sleep(_PAUSE_S)
            again = json.dumps(open_asks[answer["id"]])
            await made.client.publish(f"mote/{DEVICE}/in", again, qos=1)
        elif answer["status"] == "done":
            free.append(open_asks.pop(answer["id"])["session"])
        else:
            raise MoteError(f"a wrong answer: {answer}")


def grown(found: list[Heap]) -> int:
    """Bytes by which the heap in use is larger in the last samples than in the first ones."""
    third = max(len(found) // 3, 1)
    return min(heap.used for heap in found[-third:]) - min(heap.used for heap in found[:third])


def main(arguments: list[str]) -> int:
    """Run it; the exit code is 1 if the heap has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=100000)
    parser.add_argument("--samples", type=int, default=20)
    given = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mote-soak-") as folder:
        found = asyncio.run(soak(Path(folder), given.turns, given.samples))
    seconds = time.monotonic() - began
    print(f"{given.turns} turns in {seconds:.0f} s; the heap grew by {grown(found)} bytes")
    return int(grown(found) > GROWTH)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
