"""Many seeds, one after the other or in several processes, and those that are kept."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

from tests.simulation.faults import ANY
from tests.simulation.simulation import MINUTES, Outcome, simulate

KEPT = Path(__file__).with_name("kept.json")
DEVICES = 4
_AHEAD = 2  # jobs for each process, so that none waits


@dataclass(frozen=True, slots=True)
class Job:
    """One world: what it takes to run it again exactly, with the same code."""

    seed: int
    mix: str = ANY
    devices: int = DEVICES
    minutes: int = MINUTES

    def command(self) -> str:
        """The line that runs it and shows its trace."""
        text = f"python -m tests.simulation --mix {self.mix} --seed {self.seed} --trace"
        text += f" --devices {self.devices}" if self.devices != DEVICES else ""
        return text + (f" --minutes {self.minutes}" if self.minutes != MINUTES else "")


def kept() -> list[tuple[Job, str]]:
    """The seeds that found a bug once, each with a sentence on that bug."""
    found = []
    for entry in json.loads(KEPT.read_text()):
        text = entry.pop("found")
        found.append((Job(**entry), text))
    return found


def fresh(mix: str, devices: int, minutes: int, seconds: float) -> Iterator[Job]:
    """Seeds that nobody chose, until the time is up. The first one is said on standard error."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"fresh seeds from {seed} on, mix {mix}", file=sys.stderr, flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield Job(seed, mix, devices, minutes)
        seed += 1


def run(jobs: Iterator[Job], processes: int) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs as they come; outcomes in the order in which they end.

    What is under way when the caller stops, or is interrupted, is given up.
    """
    if processes == 1:
        for job in jobs:
            yield job, simulate(**asdict(job))
        return
    done: SimpleQueue[tuple[Job, Outcome] | BaseException] = SimpleQueue()
    with get_context("spawn").Pool(processes, _uninterrupted) as pool:
        running, more = 0, True
        while True:
            while more and running < processes * _AHEAD:
                job = next(jobs, None)
                if job is None:
                    more = False
                else:
                    pool.apply_async(_run, (job,), callback=done.put, error_callback=done.put)
                    running += 1
            if not running:
                return
            found = done.get()
            running -= 1
            if isinstance(found, BaseException):
                raise found
            yield found


def _run(job: Job) -> tuple[Job, Outcome]:
    return job, simulate(**asdict(job))


def _uninterrupted() -> None:
    """Ctrl-C goes to all processes of a terminal; the first one ends the others in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
