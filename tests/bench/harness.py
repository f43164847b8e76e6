"""What the benchmarks share: their result and its JSON file, runs in turn, quartiles, processes.

A time says little on a machine that is busy with other things. So a subject is measured beside a
reference in the same run, one after the other, again and again; medians are compared.
"""

import json
import select
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mote_host.errors import MoteError
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
_READY_S = 30.0

Figures = dict[str, int | float]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a benchmark found: figures by name, one line on how, and a table for people."""

    figures: Figures
    method: str
    table: Table


Bench = Callable[[], Outcome]


def write(name: str, outcome: Outcome) -> Path:
    """Write build/bench/NAME.json; returns its path."""
    path = BUILD / "bench" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"name": name, "figures": outcome.figures, "method": outcome.method}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def show(console: Console, name: str, outcome: Outcome, path: Path) -> None:
    """Print the table, and under it the method and where the figures are."""
    outcome.table.title = name
    outcome.table.title_justify = "left"
    console.print(outcome.table)
    console.print(outcome.method, style="dim", highlight=False)
    console.print(str(path.relative_to(ROOT)), style="dim", highlight=False)
    console.print()


def table(*columns: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    made = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for at, column in enumerate(columns):
        made.add_column(column, justify="right" if at else "left", no_wrap=True)
    return made


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of several runs, in the unit of the runs."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least two values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def interleave(subjects: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run all subjects in turn, `rounds` times after one that does not count."""
    found: dict[str, list[T]] = {name: [] for name in subjects}
    for turn in range(rounds + 1):
        for name, subject in subjects.items():
            value = subject()
            if turn:
                found[name].append(value)
    return found


def milliseconds_to_exit(command: Sequence[str], env: Mapping[str, str]) -> float:
    """Wall time from before the process is started until it has ended. Raises MoteError."""
    began = time.perf_counter()
    with _spawn(command, env) as process:
        said = process.communicate()[1]
    took = time.perf_counter() - began
    if process.returncode:
        raise MoteError(f"{command[0]}: exit code {process.returncode}: {said.decode()}")
    return took * 1000


@dataclass(frozen=True, slots=True)
class Ready:
    """A process at its first line on standard error: time until then, peak memory until then."""

    ms: float
    rss_kib: int


def until_ready(command: Sequence[str], env: Mapping[str, str], line: str = "") -> Ready:
    """Run `command` until its first line on standard error, which must hold `line`; kill it.

    Raises MoteError for another line, or for none in 30 s.
    """
    began = time.perf_counter()
    with _spawn(command, env) as process:
        try:
            assert process.stderr is not None
            readable, _, _ = select.select([process.stderr], [], [], _READY_S)
            said = process.stderr.readline() if readable else b""
            took = time.perf_counter() - began
            if not said.endswith(b"\n") or line.encode() not in said:
                shown = said + (process.stderr.read() if said or readable else b"")
                raise MoteError(f"{command[0]} did not get ready: {shown.decode()}")
            return Ready(took * 1000, _peak_kib(process.pid))
        finally:
            process.kill()


def _spawn(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def _peak_kib(pid: int) -> int:
    # Not ru_maxrss: the kernel counts the memory of the process that forked into it.
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise MoteError(f"process {pid} ended before its memory was read")
