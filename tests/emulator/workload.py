"""What the boards are put through: a model that orders portions, and somebody who asks for them.

An ask is "portion N": the model has portion N dispensed, then has the counter read, then answers.
"""

import asyncio
import json
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from mote_emulator.site import DEVICE, Site, site
from mote_host.audit import Verdict
from mote_host.providers import Call, Provider, Reply, Request

COUNTER = 0x40
PORTIONS = 256  # the counter's registers
TOOLS = Path(__file__).parent
CONFIG = """
[tools]
path = ["tools"]
modules = ["dispenser"]
"""
_SHORTEST_S, _LONGEST_S, _LONGER = 0.05, 0.4, 1.1
_PORTION = re.compile(r"portion (\d+)$")


class Dispensing:
    """A provider: what it replies depends on the newest ask and on the results behind it."""

    name = "dispensing"

    def __init__(self, text: str = "") -> None:
        self.requests = 0
        self._text = text

    async def complete(self, request: Request) -> Reply:
        """Dispense, look, answer."""
        self.requests += 1
        asked = max(i for i, m in enumerate(request.messages) if m.role == "user")
        found = _PORTION.search(request.messages[asked].text)
        results = [m for m in request.messages[asked:] if m.role == "tool"]
        if found and not results:
            return Reply("", (Call("a", "dispense", {"portion": int(found[1]) % PORTIONS}),))
        if found and len(results) == 1:
            return Reply("", (Call("b", "look", {}),))
        return Reply(self._text or f"given: {found[1] if found else 'nothing'}")

    async def aclose(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def dispensing(folder: Path, model: Provider) -> AsyncIterator[Site]:
    """A site whose device has the dispenser's tools."""
    async with site(folder, model, config=CONFIG) as made:
        tools = made.folder / "tools"
        tools.mkdir()
        (tools / "dispenser.py").write_bytes((TOOLS / "dispenser.py").read_bytes())
        yield made


class Asker:
    """Asks for portions, again and again until an answer comes; keeps all that was answered."""

    def __init__(self, made: Site) -> None:
        self.answers: dict[str, set[bytes]] = defaultdict(set)
        self._client = made.client

    def answered(self) -> int:
        """How many asks have an answer."""
        return sum(bool(found) for found in self.answers.values())

    async def run(self, portions: range, open_at_once: int = 3) -> None:
        """Until each has been answered."""
        await self._client.subscribe(f"mote/{DEVICE}/out", qos=1)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen())
            waiting = asyncio.Semaphore(open_at_once)
            async with asyncio.TaskGroup() as asks:
                for portion in portions:
                    await waiting.acquire()
                    asks.create_task(self._ask(portion)).add_done_callback(
                        lambda _: waiting.release()
                    )
            listening.cancel()

    async def _ask(self, portion: int) -> None:
        text = f"portion {portion}"
        payload = json.dumps({"text": text, "session": f"s{portion % 4}", "id": text})
        while not self.answers[text]:
            await self._client.publish(f"mote/{DEVICE}/in", payload, qos=1)
            with suppress(TimeoutError):
                async with asyncio.timeout(3):
                    while not self.answers[text]:
                        await asyncio.sleep(0.01)

    async def _listen(self) -> None:
        async for message in self._client.messages:
            if isinstance(message.payload, bytes):
                answer = json.loads(message.payload)
                if answer["status"] != "refused":  # busy, or too many asks: it is asked again
                    self.answers[answer["id"]].add(message.payload)


async def strike(made: Site, seed: str, work: Awaitable[None], progress: Callable[[], int]) -> int:
    """Cut the board's power at random moments until `work` is done; returns how many times.

    The moments are as early as they can be: the power stays longer for as long as nothing is
    achieved, which `progress` counts. What that takes depends on the machine, and on a bridge,
    which may wait for a second before it lets a CONNECT pass.
    """
    rng = random.Random(seed)
    cuts = 0
    longest_s = _LONGEST_S
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            before = progress()
            await asyncio.wait([task], timeout=rng.uniform(_SHORTEST_S, longest_s))
            if not task.done():
                await made.machine.power_cut()
                cuts += 1
            longest_s = _LONGEST_S if progress() > before else longest_s * _LONGER
        await task
    finally:
        task.cancel()
    return cuts


async def settled(made: Site, timeout_s: float = 30.0) -> tuple[Verdict, Verdict]:
    """Replica and log, verified, once the replica has all that the log has."""
    replica, log = made.verify()
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while replica.head != log.head:
                await asyncio.sleep(0.1)
                replica, log = made.verify()
    return replica, log
