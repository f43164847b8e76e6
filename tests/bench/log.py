"""`log`: storing and opening turns on files, beside SQLite and a JSON file.

The agent says what is made safe when (an ask before it is acknowledged, a request before it is
uploaded, ...); the references store the same records, or their messages, with the same commits.
Subjects take turns, turn by turn. The log's time is that of its own methods; the rest of the
agent's work is shown apart.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw
from mote_host.demo.runtimes import MicroPython
from mote_host.errors import MoteError
from rich.table import Table

from tests.bench import open_log, rig
from tests.bench.counting import CountedChip
from tests.bench.harness import BUILD, ROOT, Figures, Outcome, interleave, spread, table
from tests.bench.mpy import compiled
from tests.bench.stores import (
    Cost,
    JsonStore,
    Meter,
    MoteStore,
    SqliteStore,
    Syncs,
    file_system,
    sqlite,
)
from tests.bench.workload import TURNS, WINDOW_TURNS, Device

_SEGMENT_BYTES = 65536  # moted's default
_WARM = 1600  # turns before those that count: the ring of 1 MiB has gone round by then
_OPENINGS = 25
_FULL_TURNS = 500  # enough to fill 256 KiB
_HEAP_KIB = 256
_PROCESS_S = 60
_NAMES = {"log": "mote", "sqlite": "SQLite", "json": "JSON file"}


@dataclass(frozen=True, slots=True)
class _Opening:
    """What opening the full log of 256 KiB takes."""

    cpython_ms: float
    micropython_ms: float
    heap: int  # bytes that the open log and agent hold
    peak: int  # bytes that must be free for opening to work


def run() -> Outcome:
    """Store, then open, then open the full log on both runtimes."""
    BUILD.mkdir(exist_ok=True)
    kind = file_system(BUILD)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as scratch:
        folder = Path(scratch)
        costs, commits, agent_s = _stored(folder)
        opened = _opened(folder)
        opening = _full(folder)
    figures: Figures = {"commits": commits, "log_agent_ms": round(agent_s * 1000, 1)}
    for name, cost in costs.items():
        figures[f"{name}_fsyncs"] = cost.fsyncs
        figures[f"{name}_bytes"] = cost.bytes
        figures[f"{name}_ms"] = round(cost.seconds * 1000, 1)
        figures[f"{name}_open_ms"] = round(opened[name], 3)
    for name in ("sqlite", "json"):
        own, other = costs["log"], costs[name]
        figures[f"fsync_ratio_{name}"] = round(own.fsyncs / other.fsyncs, 4)
        figures[f"bytes_ratio_{name}"] = round(own.bytes / other.bytes, 4)
        figures[f"time_ratio_{name}"] = round(own.seconds / other.seconds, 4)
        figures[f"open_ratio_{name}"] = round(opened["log"] / opened[name], 3)
    figures["open_256k_ms_cpython"] = round(opening.cpython_ms, 2)
    figures["open_256k_ms_micropython"] = round(opening.micropython_ms, 2)
    figures["open_256k_heap_micropython"] = opening.heap
    figures["open_256k_heap_peak_micropython"] = opening.peak
    return Outcome(figures, _method(kind), _table(costs, opened, agent_s, opening))


# -- storing


def _stored(folder: Path) -> tuple[dict[str, Cost], int, float]:
    """(costs by subject, commits, seconds that the agent took all in all)."""
    syncs = Syncs()
    meter = Meter(syncs)
    costs = {name: Cost() for name in _NAMES}
    commits = 0
    with syncs.of_this_process():
        mote = MoteStore(folder / "log", _SEGMENT_BYTES)
        database = SqliteStore(folder / "log.db", syncs)
        file = JsonStore(folder / "log.json")
        for _ in range(_WARM):
            mote.turn()
        before_s = mote.log_seconds
        for _ in range(TURNS):
            with meter.measured(costs["log"]):
                turn = mote.turn()
            commits += len(turn.commits)
            with meter.measured(costs["sqlite"]):
                for commit in turn.commits:
                    database.commit(commit)
            file.begin()
            with meter.measured(costs["json"]):
                for commit in turn.commits:
                    file.commit(commit)
        mote.close()
        with meter.measured(costs["sqlite"]):
            database.close()
    agent_s = costs["log"].seconds
    costs["log"].seconds = mote.log_seconds - before_s
    return costs, commits, agent_s


# -- opening what was stored


def _opened(folder: Path) -> dict[str, float]:
    """Median milliseconds by subject."""
    subjects: dict[str, Callable[[], float]] = {
        "log": lambda: _open_copy(folder / "log", _SEGMENT_BYTES),
        "sqlite": lambda: _timed(lambda: _open_sqlite(folder / "log.db")),
        "json": lambda: _timed(lambda: json.loads((folder / "log.json").read_bytes())),
    }
    found = interleave(subjects, _OPENINGS)
    return {name: spread(times).median for name, times in found.items()}


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def _open_copy(folder: Path, segment_bytes: int) -> float:
    """Milliseconds to open the log; a copy, since opening appends to it."""
    copy = _copied(folder)
    return _timed(lambda: open_log.opened(str(copy), segment_bytes))


def _copied(folder: Path) -> Path:
    copy = folder.with_name(folder.name + "-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    os.sync()  # else the fsync of opening writes the copy's bytes
    return copy


def _open_sqlite(path: Path) -> list[object]:
    db = sqlite(path)
    rows: list[object] = list(db.execute("select * from log order by seq desc limit 64"))
    db.close()
    return rows


# -- opening a full log on both runtimes


def _full(folder: Path) -> _Opening:
    log = folder / "full"
    _fill(log)
    cpython = spread([_open_copy(log, rig.SEGMENT_BYTES) for _ in range(_OPENINGS)]).median
    probe = _Probe(log)
    runs = [probe.run() for _ in range(_OPENINGS)]
    return _Opening(
        cpython,
        spread([run["us"] / 1000 for run in runs]).median,
        int(runs[0]["heap"]),
        probe.peak(),
    )


def _fill(folder: Path) -> None:
    """A ring as full as it gets: one turn more would begin another segment."""
    chip = CountedChip(1, rig.SEGMENTS, rig.SEGMENT_BYTES)
    device = Device.on(chip)
    for _ in range(_FULL_TURNS):
        device.turn()
    begun = chip.begun
    while chip.begun == begun:
        device.turn()
    store = MoteStore(folder, rig.SEGMENT_BYTES)
    for _ in range(device.turns - 1):
        store.turn()
    store.close()


class _Probe:
    """Runs `open_log` on MicroPython, with the packages as .mpy."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._program = MicroPython().command(Path())[0]
        self._env = {**os.environ, "MICROPYPATH": f"{compiled()}:{ROOT}:.frozen"}

    def run(self) -> dict[str, float]:
        """Open a copy. Raises MoteError."""
        done = self._process()
        if done.returncode:
            raise MoteError(f"log: {done.stdout}{done.stderr}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    def peak(self) -> int:
        """Bytes that must be free, by bisection in steps of a quarter KiB."""
        low, high = 0, 4 * _HEAP_KIB
        while high - low > 1:
            middle = (low + high) // 2
            if self._process(str(middle * 256)).returncode:
                low = middle
            else:
                high = middle
        return high * 256

    def _process(self, *free: str) -> subprocess.CompletedProcess[str]:
        options = ["-X", f"heapsize={_HEAP_KIB}k", "-m", "tests.bench.open_log"]
        return subprocess.run(
            [self._program, *options, str(_copied(self._log)), *free],
            env=self._env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_PROCESS_S,
            check=False,
        )


# -- results


def _method(kind: str) -> str:
    return (
        f"{TURNS} turns in files on {kind}, subjects in turn, the commits of the agent; bytes "
        f"handed to write calls; mote: {rig.SEGMENTS} segments of {_SEGMENT_BYTES // 1024} KiB, "
        f"full before, time in the log's methods; SQLite {apsw.sqlite_lib_version()}: WAL, "
        "synchronous=FULL, a row a record, checkpoints included; JSON: "
        f"{WINDOW_TURNS} turns, written to a new file, synced, renamed, folder synced; opening: "
        "mote with its BOOT and fsync, SQLite with the last 64 rows, median of "
        f"{_OPENINGS}; 256 KiB: {rig.SEGMENTS} segments of {rig.SEGMENT_BYTES // 1024} KiB, the "
        "newest as full as it gets; MicroPython: unix port of the virtual environment, 64 bits, "
        f".mpy; CPython {sys.version.split()[0]}"
    )


def _table(
    costs: dict[str, Cost], opened: dict[str, float], agent_s: float, opening: _Opening
) -> Table:
    shown = table("", "fsyncs", "bytes", "ms", "time x", "open ms")
    own = costs["log"]
    for name, cost in costs.items():
        shown.add_row(
            _NAMES[name],
            str(cost.fsyncs),
            str(cost.bytes),
            f"{cost.seconds * 1000:.0f}",
            f"{cost.seconds / own.seconds:.2f}",
            f"{opened[name]:.2f}",
        )
    shown.add_row("mote with all of the agent", "", "", f"{agent_s * 1000:.0f}", "", "")
    shown.add_section()
    for name, ms in (("CPython", opening.cpython_ms), ("MicroPython", opening.micropython_ms)):
        shown.add_row(f"full 256 KiB, {name}", "", "", "", "", f"{ms:.2f}")
    held, peak = f"{opening.heap / 1024:.1f}", f"{opening.peak / 1024:.1f}"
    shown.add_row(f"  heap KiB: held {held}, peak {peak}", "", "", "", "", "")
    return shown
