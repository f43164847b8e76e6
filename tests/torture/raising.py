"""An exception at every line of the agent that runs: what a lack of memory can do at its worst.

One busy life is traced; at the nth line of the core that it executes, MemoryError is raised, for
every n. Then the same agent goes on if its state is that of its log, as the driver does (it ends
the turn that was being worked on), or the log is opened anew, as a restart does.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import mote
from chip import Chip
from cuts import shuffled
from life import Life, script
from mote.log import LogError
from outside import World

_CORE = str(Path(mote.__file__).parent)
_TRACED = "log segments writer index recovery recovered agent recorder state turn gate lookup"
_FILES = {f"{_CORE}/{name}.py" for name in _TRACED.split()}
_BEFORE = 12  # rounds of the script that fill the ring
_ROUNDS = 3  # that are traced
_GEOMETRY = (4, 8, 1024)
_EXAMPLES = 5


@dataclass
class Raised:
    """What was tried."""

    lines: int = 0  # executed in the life that is traced
    tried: int = 0
    reopened: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)


class Tracer:
    """Counts the lines of the core that run, and raises at one of them (None: at none)."""

    def __init__(self, at: int | None) -> None:
        self.lines = 0
        self.where = ""
        self._at = at

    def run(self, work: Callable[[], None]) -> None:
        """Do the work under the trace. Raises what it raises."""
        sys.settrace(self._call)
        try:
            work()
        finally:
            sys.settrace(None)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename in _FILES else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines - 1 == self._at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise MemoryError
        return self._line


class Survivor:
    """Gets a life through an exception, on a chip with a log that has been in use."""

    def __init__(self, chip: Chip, world: World, again: bool) -> None:
        self.chip, self.world = chip.copy(), world.copy()
        self.world.out = True
        self.reopened = False
        self._again = again  # open the log anew even if the agent could go on
        self._life: Life | None = None

    def live(self) -> None:
        """The part that is traced: restart, then some rounds."""
        self._life = Life(self.chip, self.world)
        for n in range(_BEFORE, _BEFORE + _ROUNDS):
            self._life.round(n)

    def recover(self) -> None:
        """After the exception: all that was begun ends, and the next life agrees."""
        life = self._life
        agent = life.agent if life else None
        if self._again or not life or not agent or agent.state.seq != agent.log.seq:
            self._reopen()
        else:
            try:
                life.go_on()
            except LogError:
                self._reopen()
        Life(self.chip, self.world).recover()

    def _reopen(self) -> None:
        self.reopened = True
        Life(self.chip, self.world).recover()


def prepared() -> tuple[Chip, World]:
    """A chip and a world to begin with."""
    chip, world = Chip(*_GEOMETRY), World()
    script(chip, world, _BEFORE)
    return chip, world.copy()


def run(seconds: float | None, seed: int) -> Raised:
    """Raise at every line, or at as many as CPU time allows."""
    chip, world = prepared()
    tracer = Tracer(None)
    tracer.run(Survivor(chip, world, False).live)
    found = Raised(lines=tracer.lines)
    began = time.process_time()
    for number, at in enumerate(shuffled(range(tracer.lines), seed)):
        _try(found, chip, world, at, number % 2 == 0)
        if seconds is not None and time.process_time() - began > seconds:
            break
    return found


def _try(found: Raised, chip: Chip, world: World, at: int, again: bool) -> None:
    survivor, tracer = Survivor(chip, world, again), Tracer(at)
    found.tried += 1
    try:
        try:
            tracer.run(survivor.live)
        except MemoryError:
            survivor.recover()
        else:
            raise AssertionError("MemoryError was swallowed")
    except Exception as error:
        found.broken += 1
        if len(found.examples) < _EXAMPLES:
            text = f"line {at} ({tracer.where}), again {again}: {type(error).__name__}: {error}"
            found.examples.append(text[:300])
    found.reopened += survivor.reopened
