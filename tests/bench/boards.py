"""`boards`: what the agent takes on the emulated boards: heap, time to the first answer, size.

The clock is the host's and the boards are emulated, so times say how fast this emulation is, not
how fast such a chip would be; the same turn on MicroPython's unix port stands beside them. Bytes
of heap and of firmware are those of a 32-bit chip.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from mote_emulator.device import Options
from mote_emulator.firmware import build
from mote_emulator.image import FlashImage
from mote_emulator.machine import Machine
from mote_emulator.panel import Panel
from mote_emulator.site import site
from mote_emulator.sizes import measure
from mote_emulator.toolchain import BOARDS
from mote_host.asking import DONE, Answer, ask
from mote_host.demo.runtimes import MicroPython
from mote_host.demo.stage import DEVICE as STAGED
from mote_host.demo.stage import staged
from mote_host.errors import MoteError
from mote_host.providers import Call, Reply, Request

from tests.bench.harness import Figures, Outcome, table
from tests.emulator import heaps
from tests.emulator.cuts import survive

_TURNS = 20
_LIMITS = "\n[limits]\nasks_burst = 1000\n"
_CUTS = 50
_SIDE_BY_SIDE = 8
_IDLE_S = 5.0
_LOW, _HIGH = 24 * 1024, 192 * 1024
_FREE = "import gc; gc.collect(); print(gc.mem_free())"
_PROMPT = "^>>> "
_METHOD = (
    "QEMU TCG, clock of the host; heap_smallest by bisection (steps of 1 KiB, 8 turns with two "
    "tool calls and 2 KB replies in 4 sessions); heap_connected after a collection, 4 sessions, "
    f"8 tools; turn: median of {_TURNS}, two tool calls; {_SIDE_BY_SIDE} boards idle for "
    f"{_IDLE_S:g} s; cuts: SIGKILL at random moments of a workload of ONCE calls"
)


@dataclass(slots=True)
class _Board:
    """The figures of one board, by their name without the board's."""

    name: str
    found: Figures = field(default_factory=dict)

    async def measure(self, folder: Path) -> None:
        """Everything."""
        self._firmware()
        await self._boot(folder / "boot")
        await self._first_answer(folder / "first")
        options = Options(self.name)
        self.found["heap_connected"] = await heaps.in_use(folder / "use", options)
        self.found["heap_smallest"] = await heaps.smallest(folder / "least", options, _LOW, _HIGH)
        files = Options(self.name, frozen=False)
        self.found["files_heap_smallest"] = await heaps.smallest(
            folder / "files", files, 64 * 1024, _HIGH
        )
        outcome = await survive(folder / "cuts", self.name, _CUTS)
        self.found["power_cuts_survived"] = outcome.survived
        await self._side_by_side(folder / "many")

    def _firmware(self) -> None:
        sizes = measure(build(self.name))
        self.found["firmware_bytes"] = sizes.text + sizes.data
        self.found["ram_static_bytes"] = sizes.data + sizes.bss

    async def _boot(self, folder: Path) -> None:
        folder.mkdir()
        flash = FlashImage.create(folder / "flash.img")
        flash.format()
        elf = build(self.name).elf
        times = []
        for _ in range(5):
            began = time.perf_counter()
            async with Machine(self.name, elf, flash) as machine:
                await machine.wait_for(_PROMPT)
                times.append(time.perf_counter() - began)
                self.found["repl_free_bytes"] = int(await machine.execute(_FREE))
        self.found["repl_ms"] = round(statistics.median(times) * 1000, 1)

    async def _first_answer(self, folder: Path) -> None:
        """Process start to agent ready and to the first answer, and turns after that."""
        ready, first = [], []
        for number in range(3):
            async with site(folder / str(number), _ReadTwice(), config=_LIMITS) as made:
                machine = await made.power_on(Options(self.name))  # its flash is made, and then
                await machine.kill()
                began = time.perf_counter()
                await machine.start()
                await machine.wait_for(r"epoch \d+")
                ready.append(time.perf_counter() - began)
                if number == 0:  # a measurement takes its time
                    self.found["ready_free_bytes"] = (await machine.panel.heap()).free
                await made.online()
                await made.ask("how is it?")
                first.append(time.perf_counter() - began)
                if number == 0:
                    self.found["answer_free_bytes"] = (await machine.panel.heap()).free
                    self.found["turn_ms"] = await _turn_ms(lambda: made.ask("how is it?"))
        self.found["ready_ms"] = round(statistics.median(ready) * 1000, 1)
        self.found["first_answer_ms"] = round(statistics.median(first) * 1000, 1)

    async def _side_by_side(self, folder: Path) -> None:
        """Idle boards that are up at once: their CPU and memory, as the host sees them."""
        folder.mkdir()
        machines = []
        elf = build(self.name).elf
        try:
            for number in range(_SIDE_BY_SIDE):
                flash = FlashImage.create(folder / f"{number}.img")
                flash.format()
                machine = Machine(self.name, elf, flash, panel=Panel())
                machines.append(machine)
                await machine.start()
            for machine in machines:
                await machine.wait_for(_PROMPT)
            before = sum(machine.cpu_seconds() for machine in machines)
            await asyncio.sleep(_IDLE_S)
            used = sum(machine.cpu_seconds() for machine in machines) - before
            self.found["side_by_side"] = len(machines)
            self.found["idle_cpu_percent"] = round(100 * used / _IDLE_S / len(machines), 2)
            rss = statistics.median(machine.rss_bytes() for machine in machines)
            self.found["rss_mb"] = round(rss / 1e6, 1)
        finally:
            for machine in machines:
                await machine.close()
                machine.panel.close()


class _ReadTwice:
    """A provider: two readings, then a line of text."""

    name = "read twice"

    async def complete(self, request: Request) -> Reply:
        """By what came after the newest ask."""
        if request.messages[-1].role == "user":
            soil, air = "read_soil_moisture", "read_temperature"
            return Reply("", (Call("a", soil, {}), Call("b", air, {})))
        return Reply("all is well")

    async def aclose(self) -> None:
        """Nothing to close."""


async def _turn_ms(turn: Callable[[], Awaitable[Answer]]) -> float:
    times = []
    for _ in range(_TURNS):
        began = time.perf_counter()
        answer = await turn()
        times.append(time.perf_counter() - began)
        if answer.status != DONE:
            raise MoteError(f"a turn went wrong: {answer.status}: {answer.text}")
    return round(statistics.median(times) * 1000, 1)


async def _unix_turn_ms(folder: Path) -> float:
    """The same turn on MicroPython's unix port."""
    async with staged(
        folder, MicroPython(), _ReadTwice(), broker="mosquitto", device_config=_LIMITS
    ) as stage:
        await stage.device.start()
        await stage.online()
        return await _turn_ms(lambda: ask(stage.client, STAGED, "how is it?"))


async def _run() -> Outcome:
    made = table("", *BOARDS)
    figures: Figures = {}
    found = []
    with tempfile.TemporaryDirectory(prefix="mote-bench-") as folder:
        reference = await _unix_turn_ms(Path(folder, "unix"))
        for name in BOARDS:
            board = _Board(name)
            Path(folder, name).mkdir()
            await board.measure(Path(folder, name))
            board.found["turn_of_unix_port"] = round(board.found["turn_ms"] / reference, 1)
            prefix = name.replace("-", "_")
            figures.update({f"{prefix}_{key}": value for key, value in board.found.items()})
            found.append(board.found)
    figures["unix_turn_ms"] = reference
    for key in found[0]:
        made.add_row(key, *(f"{board[key]:,}" for board in found))
    return Outcome(figures, _METHOD, made)


def run() -> Outcome:
    """Measure all boards. Raises MoteError."""
    return asyncio.run(_run())
