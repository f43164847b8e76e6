"""`heap`: the smallest heap of MicroPython's unix port in which the demo's turn completes.

Found by bisection in steps of 1 KiB, each probe a device of its own on a fresh stage; a device
that ends, or that has not answered when its time is up, has failed. What is found is confirmed.
Pointers and objects have 64 bits there: the figure is no board's, but moves as a board's does.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mote_host.demo.runtimes import MicroPython
from mote_host.demo.stage import DEVICE, Stage
from mote_host.errors import DeviceError, MoteError

from tests.bench.harness import Figures, Outcome, table
from tests.bench.mpy import compiled
from tests.bench.stages import TimedOffline, answered, bench_stage

_LOW_KIB, _HIGH_KIB = 32, 1024
_CONFIRMATIONS = 3
_PROBE_S = 12.0  # a turn takes less than one

_METHOD = (
    "smallest -X heapsize with which the demo's turn (two tool calls, over mosquitto) completes, "
    f"steps of 1 KiB, confirmed {_CONFIRMATIONS} times; MicroPython's unix port of the virtual "
    "environment, 64-bit objects; .py sources are compiled on the device, in the same heap"
)


class _MpyFiles(MicroPython):
    """MicroPython with the packages as .mpy files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def environment(self) -> dict[str, str]:
        """Only the compiled packages and the frozen modules."""
        return {"MICROPYPATH": f"{self._folder}:.frozen"}


@dataclass(slots=True)
class _Search:
    """Finds the smallest heap for one runtime, and counts the probes."""

    runtime: MicroPython
    probes: int = 0

    def smallest_kib(self) -> int:
        """Raises MoteError if even the largest heap does not do."""
        if not self._works(_HIGH_KIB):
            raise MoteError(f"the turn does not complete in {_HIGH_KIB} KiB either")
        low, high = _LOW_KIB, _HIGH_KIB  # `low` is taken to fail
        while high - low > 1:
            middle = (low + high) // 2
            if self._works(middle):
                high = middle
            else:
                low = middle
        # Near the limit it may be luck what a collection finds: go up until it always works.
        while not all(self._works(high) for _ in range(_CONFIRMATIONS)):
            high += 1
        return high

    def _works(self, kib: int) -> bool:
        self.probes += 1
        return asyncio.run(_completes(self.runtime, kib))


async def _completes(runtime: MicroPython, kib: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="mote-bench-") as scratch:
        options = ("-X", f"heapsize={kib * 1024}")
        async with bench_stage(Path(scratch), runtime, TimedOffline(), options) as stage:
            await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
            await stage.device.start()
            turn = asyncio.create_task(_turn(stage))
            died = asyncio.create_task(_ended(stage))
            done, _ = await asyncio.wait(
                (turn, died), timeout=_PROBE_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in (turn, died):
                task.cancel()
            await asyncio.wait((turn, died))
            return turn in done and not turn.cancelled() and turn.exception() is None


async def _turn(stage: Stage) -> None:
    # The broker keeps no ask for a device that it has never seen: wait until it is there.
    await stage.online()
    await answered(stage)
    await stage.settled()
    process = stage.device.process
    if process is None or process.returncode is not None:
        raise DeviceError("the device ended after its answer")


async def _ended(stage: Stage) -> None:
    process = stage.device.process
    assert process is not None
    await process.wait()


def run() -> Outcome:
    """Search for both forms of the code."""
    shown = table("MicroPython, unix, 64 bits", "smallest heap, KiB", "probes")
    figures: Figures = {}
    for key, name, runtime in (
        ("heap_smallest", "sources as .py", MicroPython()),
        ("heap_smallest_mpy", "compiled to .mpy", _MpyFiles(compiled())),
    ):
        search = _Search(runtime)
        kib = search.smallest_kib()
        figures[key] = kib * 1024
        shown.add_row(name, str(kib), str(search.probes))
    return Outcome(figures, _METHOD, shown)
