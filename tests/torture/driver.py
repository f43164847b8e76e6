"""An exception at any line that a turn executes: the daemon goes on, and the turn is answered.

One turn (a READ, a ONCE and an IDEMPOTENT call, then text) is watched, and every line of the core
and of the driver that it executes is a *moment*. Then it is run again, in a daemon of its own, for
each moment that was chosen, and at that moment the line raises instead of being executed.
"""

import linecache
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from chip import Chip
from cuts import shuffled
from gateway import TEXT, Gateway
from helpers import Random, pack_reply
from mote import records as r

from .house import House

ROOT = Path(__file__).resolve().parents[2]
ERRORS = (MemoryError, OSError, RuntimeError)
CALLS = pack_reply([("look", {"n": 1}), ("pour", {"n": 2}), ("put", {"n": 3})])
DONE = ("done", "done " * 300)
OUT_OF_MEMORY = ("failed", "out of memory")

_EXAMPLES = 5

_FILES = [
    *ROOT.glob("core/mote/**/*.py"),
    *[ROOT / "ports/mote_ports" / name for name in ("driver.py", "connection.py", "inbox.py")],
]
_WATCHED = frozenset(str(path) for path in _FILES)
# what stands for the world uses the core as well, and is not to fail
_WORLD = tuple(str(ROOT / "tests/core" / name) for name in ("broker.py", "gateway.py"))


@dataclass
class Struck:
    """What a sweep tried."""

    planned: int = 0  # faults that there are
    tried: int = 0
    struck: int = 0  # faults whose line was executed again
    broken: int = 0  # faults behind which something was not as it must be
    seconds: float = 0.0  # of CPU time
    examples: list = field(default_factory=list)


class Model(Gateway):
    """A gateway whose model orders three calls, and says something when it has their results."""

    def choose(self):
        results = 0
        for frame in self.frames:
            kind = frame[2] if frame else 0
            results = 0 if kind == r.ASK else results + (kind == r.RESULT)
        return (TEXT, 0, 10) if results >= 3 else (CALLS, 3, 10)


class Fault:
    """Traces: counts the lines that are executed, and raises `error` at number `moment`.

    Without an error it only keeps the place of each line in `places`.
    """

    def __init__(self, moment=0, error=None):
        self.places = []
        self.struck = ""  # where it was raised
        self._left = moment
        self._error = error

    def __enter__(self):
        sys.settrace(self._call)

    def __exit__(self, *_):
        sys.settrace(None)

    def _call(self, frame, event, arg):
        return self._line if frame.f_code.co_filename in _WATCHED else None

    def _line(self, frame, event, arg):
        if event != "line" or _does_nothing(frame):
            return self._line
        place = (frame.f_code.co_filename, frame.f_lineno)
        if not self._error:
            self.places.append(None if _in_world(frame) else place)
            return self._line
        self._left -= 1
        if self._left < 0 and not self.struck and not _in_world(frame):
            self.struck = f"{Path(place[0]).name}:{place[1]}"
            raise self._error("thrown in")
        return self._line


def _does_nothing(frame):
    """True at a `try:`, which is traced as a line of its own, outside of what it guards."""
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "try:"


def _in_world(frame):
    while frame:
        if frame.f_code.co_filename in _WORLD:
            return True
        frame = frame.f_back
    return False


def moments(seed=1, each=3):
    """The moments to strike: of each line the first, the last, and others up to `each`."""
    fault = Fault()
    with tempfile.TemporaryDirectory() as folder, _house(folder) as house:
        house.run(_watched(house, fault))
    of = {}
    for moment, place in enumerate(fault.places):
        if place:
            of.setdefault(place, []).append(moment)
    random = Random(seed)
    found = set()
    for all_ in of.values():
        found.update([all_[0], all_[-1]] if each > 1 else [all_[random.below(len(all_))]])
        found.update(all_[random.below(len(all_))] for _ in range(each - 2))
    return sorted(found)


async def _watched(house, fault):
    with fault:
        await house.asked("1")


def _house(folder):
    return House(folder, Model(), Chip(1, 6, 20480))


def strike(moment, error):
    """One daemon with a fault; fails if anything that must hold does not. Returns the place."""
    fault = Fault(moment, error)
    with tempfile.TemporaryDirectory() as folder, _house(folder) as house:
        try:
            house.run(_turns(house, fault))
            house.check()
        except Exception as e:
            raise AssertionError(
                f"moment {moment}, {error.__name__} at {fault.struck}: {e!r}"
            ) from e
    return fault.struck


async def _turns(house, fault):
    with fault:
        answer = await house.asked("1")
    assert answer in (DONE, OUT_OF_MEMORY), answer
    pours = house.runs.count(("pour", 2))
    assert pours <= 1, "started twice"
    assert await house.asked("2") == DONE
    assert house.runs.count(("pour", 2)) == pours + 1


def run(seconds, seed, report):
    """Strike every line that a turn executes, three times with each error: `Struck`.

    In an order that the seed gives; `seconds` bounds the CPU time. `report(text)` is told how far
    it is.
    """
    jobs = [(moment, error) for error in ERRORS for moment in moments(seed)]
    found = Struck(planned=len(jobs))
    warnings.simplefilter("ignore", RuntimeWarning)  # a fault leaves coroutines that nobody awaits
    began = time.process_time()
    for moment, error in shuffled(jobs, seed):
        found.tried += 1
        try:
            found.struck += bool(strike(moment, error))
        except AssertionError as broken:
            found.broken += 1
            if len(found.examples) < _EXAMPLES:
                found.examples.append(str(broken)[:300])
        if found.tried % 100 == 0:
            report(f"driver: {found.tried} of {found.planned} faults, {found.broken} broken")
        found.seconds = time.process_time() - began
        if seconds is not None and found.seconds > seconds:
            break
    return found
