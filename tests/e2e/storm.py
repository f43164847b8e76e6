"""A storm over real processes: thousands of asks while everything fails that can.

mosquitto, `mote gateway` and several `moted` run as processes of their own, and all connections
between them go through proxies that drop, repeat, reorder, delay, cut, truncate, stall and clone
them. At random a device, the gateway or the broker is killed, a device's log is restored from a
backup, the gateway's store is lost. Each ask is asked until it is answered. Then is checked:

  each ask has one distinct answer (duplicates have the same bytes), and it is the model's;
  no ONCE call was started twice;
  no model request cost more than one completed provider call (one more for each gateway crash
  or restored log in between);
  replicas and logs verify and agree; nothing forked; no process said that it was in trouble.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from mote_host.demo.brokers import find_mosquitto, free_port
from mote_host.demo.runtimes import runtimes

from tests.e2e import faults, storm_checks
from tests.e2e.proxy import Proxy, proxied
from tests.e2e.storm_accidents import LOSE, Accidents
from tests.e2e.storm_asker import Asker
from tests.e2e.storm_model import KINDS, Asked, Model, served
from tests.e2e.storm_site import StormDevice, broker_process, gateway_process

DEVICES = 16
STRIKE_EVERY_S = 3.0
RUNTIMES = ["cpython", "micropython"]
_OPEN = 3  # asks at once, each device
_ANSWER_S = 600.0
_TELL_S = 10.0
_EPILOG = """\
Progress is on standard error, the counts are on standard output. Exit codes: 0 if all was as
promised; 1 if anything was not, and then the folder with all that the processes said and kept is
left; 2 for wrong arguments, or if something is not installed; 130 after Ctrl-C. The seed decides
which fault strikes which byte and the order of accidents; what the processes make of it depends
on the machine's time.

examples:
  python -m tests.e2e.storm --asks 160               a minute
  python -m tests.e2e.storm --seed 7 --json 7.json   3000 asks, 8 minutes
  python -m tests.e2e.storm --runtime micropython --devices 2 --asks 100
"""


@dataclass(slots=True)
class Storm:
    """What runs, and what was done to it. `broken` says what was not as promised."""

    folder: Path
    seed: int
    model: Model
    accidents: Accidents
    devices: list[StormDevice]
    proxies: list[Proxy]
    asker: Asker
    asks: dict[str, Asked] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    _all_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, asks: int, strike_every_s: float = STRIKE_EVERY_S) -> None:
        """Ask while accidents happen; then be calm, and check. A death by itself is the end.

        Accidents end when the last ask is asked: else the last few are struck by all of them.
        """
        accidents = asyncio.create_task(self.accidents.run(strike_every_s))
        answered = asyncio.create_task(self._ask_all(asks))
        running = [asyncio.create_task(self.asker.run()), asyncio.create_task(self._tell(asks))]
        handed = [asyncio.create_task(self._all_asked.wait()), answered]
        running += [accidents, *handed]
        try:
            await asyncio.wait((accidents, *handed), return_when=asyncio.FIRST_COMPLETED)
            await self.accidents.end(accidents)
            if not self.accidents.dead():
                await answered
            self.broken += self.accidents.dead()
            if not self.broken:
                for proxy in self.proxies:
                    proxy.mix = faults.CALM
                await self._check()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _ask_all(self, asks: int) -> None:
        """Whichever device is free is asked next: one that is down keeps nobody waiting."""
        chance = random.Random(f"{self.seed}/asks")
        drawn = ((n, chance.choice(KINDS)) for n in range(asks))

        async def keep_asking(device: str) -> None:
            for n, kind in drawn:
                asked = self.asks[f"{device}-{n}"] = Asked(device, n, kind)
                await self.asker.ask(asked, f"{device}-{n}", _ANSWER_S)
            self._all_asked.set()

        await asyncio.gather(
            *(keep_asking(device.name) for device in self.devices for _ in range(_OPEN))
        )

    async def _check(self) -> None:
        if self.accidents.counts[LOSE]:  # a device that has nothing to say does not notice
            for device in self.devices:
                await device.kill()
                await device.start()
        self.broken += await storm_checks.settled(self.folder, self.devices)
        self.broken += storm_checks.answers(self.asker, self.asks.items())
        self.broken += storm_checks.once(self.devices)
        accidents = self.accidents
        self.broken += storm_checks.provider(self.model, accidents.crashes, accidents.restores)
        self.broken += await storm_checks.audits(
            self.folder, self.devices, accidents.restores, bool(accidents.counts[LOSE])
        )
        self.broken += storm_checks.logs(self.folder, self.devices)

    async def _tell(self, asks: int) -> None:
        began = monotonic()
        while True:
            await asyncio.sleep(_TELL_S)
            done, all_faults = len(self.asker.answers), sum(self.faults().values())
            struck = sum(self.accidents.counts.values())
            text = f"{done} of {asks} answered, {struck} accidents, {all_faults} faults"
            print(f"{monotonic() - began:5.0f} s: {text}", file=sys.stderr)

    def faults(self) -> Counter[str]:
        """What the proxies did, by kind."""
        return sum((proxy.counts for proxy in self.proxies), Counter())

    def counts(self) -> dict[str, Any]:
        """All numbers, for people and programs."""
        tokens: Counter[str] = sum((device.tokens() for device in self.devices), Counter())
        answers = self.asker.answers
        completed = self.model.completed
        return {
            "seed": self.seed,
            "devices": [f"{device.name} {device.runtime.name}" for device in self.devices],
            "asks": len(self.asks),
            "asks published": self.asker.published,
            "answers": len(answers),
            "distinct answers": sum(len(found) for found in answers.values()),
            "answers that came again": sum(sum(found.values()) - 1 for found in answers.values()),
            "how they ended": dict(self.asker.statuses),
            "refused": dict(self.asker.refused),
            "seconds to an answer": _spread(self.asker.waited_s),
            "ONCE calls started": len(tokens),
            "ONCE calls started twice": sum(n > 1 for n in tokens.values()),
            "model requests": len(completed),
            "provider calls": sum(completed.values()),
            "provider calls that failed": self.model.refused,
            "accidents": dict(sorted(self.accidents.counts.items())),
            "connections": sum(proxy.connections for proxy in self.proxies),
            "faults": dict(sorted(self.faults().items())),
            "broken": self.broken,
        }


@asynccontextmanager
async def storm(
    folder: Path, seed: int, runtime: str | None = None, devices: int = DEVICES
) -> AsyncIterator[Storm]:
    """Everything started in `folder`, ended with the context. `runtime` None: both in turn."""
    names = [runtime] if runtime else RUNTIMES
    known = runtimes()
    async with AsyncExitStack() as stack:
        port = free_port()
        model = await stack.enter_async_context(served(seed))
        broker = broker_process(folder, port)
        stack.push_async_callback(broker.end)
        await broker.start()

        async def proxy(name: str, mix: faults.Mix) -> Proxy:
            return await stack.enter_async_context(proxied(name, port, mix, seed))

        proxies = [await proxy("gateway", faults.GATEWAY), await proxy("asker", faults.ASKER)]
        gateway = gateway_process(folder, proxies[0].port, model.port)
        made = []
        for n in range(devices):
            name = f"device-{n + 1}"
            proxies.append(await proxy(name, faults.DEVICE))
            kind = known[names[n % len(names)]]
            made.append(StormDevice(name, kind, folder, proxies[-1].port))
        stack.push_async_callback(gateway.end)
        await gateway.start()
        for device in made:
            stack.push_async_callback(device.kill)
            await device.start()
        asker = Asker(proxies[1].port)
        accidents = Accidents(folder, seed, broker, gateway, made)
        yield Storm(folder, seed, model, accidents, made, proxies, asker)


async def weather(
    folder: Path,
    asks: int,
    seed: int,
    runtime: str | None = None,
    devices: int = DEVICES,
    strike_every_s: float = STRIKE_EVERY_S,
) -> Storm:
    """A whole storm; returns it when it is over."""
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with storm(folder, seed, runtime, devices) as made:
        await made.run(asks, strike_every_s)
        return made


def main(arguments: list[str]) -> int:
    """Run what the command line says; returns the exit code."""
    given = _parser().parse_args(arguments)
    if missing := _missing(given.runtime):
        print(f"storm: {missing}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="mote-storm-"))
    began = monotonic()
    try:
        made = asyncio.run(weather(folder, given.asks, given.seed, given.runtime, given.devices))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("storm: stopped; all its processes are ended", file=sys.stderr)
        shutil.rmtree(folder)
        return 130
    counts = made.counts() | {"seconds": round(monotonic() - began)}
    for name, value in counts.items():
        if name != "broken":
            print(f"{name:28}{_shown(value)}")
    for line in made.broken:
        print(f"BROKEN: {line}")
    if given.json:
        given.json.write_text(json.dumps(counts, indent=1) + "\n")
    if made.broken or given.keep:
        print(f"what they said and kept is in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if made.broken else 0


def _missing(runtime: str | None) -> str | None:
    """What must be installed first."""
    if find_mosquitto() is None:
        return "mosquitto is needed: apt-get install mosquitto"
    known = runtimes()
    wants = (known[name].missing() for name in ([runtime] if runtime else RUNTIMES))
    return next((text for text in wants if text), None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e.storm",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--asks", type=_count, default=3000, help="how many; default: 3000")
    parser.add_argument("--seed", type=int, default=1, help="of faults and accidents; default: 1")
    parser.add_argument("--runtime", choices=RUNTIMES, help="default: both")
    text = f"how many, of both runtimes in turn; default: {DEVICES}"
    parser.add_argument("--devices", type=_count, default=DEVICES, help=text)
    text = "a file that the counts are written to as well"
    parser.add_argument("--json", type=Path, metavar="FILE", help=text)
    parser.add_argument("--keep", action="store_true", help="leave the folder in any case")
    return parser


def _count(text: str) -> int:
    """A number above zero. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds) or [0.0]
    at = {"median": 0.5, "99 %": 0.99, "most": 1.0}
    return {name: round(ordered[int((len(ordered) - 1) * q)], 1) for name, q in at.items()}


def _shown(value: object) -> str:
    """A line for people: what is counted by kind, as "9 this, 3 that"."""
    if isinstance(value, dict):
        return ", ".join(f"{n} {what}" for what, n in value.items()) or "none"
    return ", ".join(value) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
