"""`client`: RAM and speed of the MQTT client, beside umqtt.simple and paho-mqtt.

All publish 64 bytes with QoS 1 to mosquitto on loopback, from one thread, over a plain socket.
umqtt.simple comes from PyPI when the benchmark runs; it has one message under way at a time, so
that is what is compared, and further down what several at once give.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mote_host.demo.brokers import running_broker
from mote_host.demo.runtimes import MicroPython
from mote_host.errors import MoteError
from rich.table import Table

from tests.bench.harness import BUILD, ROOT, Figures, Outcome, interleave, spread, table
from tests.bench.mpy import compile_file, compiled

_HEAP_MESSAGES = 10_000
_ROUNDS = 7
_SHORT, _LONG = 500, 4500  # messages of two runs; their difference has no start in it
_WINDOW = 20  # messages under way at once, as paho has it by default
_TIMEOUT_S = 120

_METHOD = (
    "QoS 1, 64 bytes, mosquitto on loopback; mote's Session in MQTT 5.0 with buffers of 1,280 "
    "bytes each way, over a socket; umqtt.simple (3.1.1, no buffers of its own); paho-mqtt (5.0) "
    "with loop() on one thread; heap: MicroPython's unix port, 64-bit objects, .mpy, "
    "gc.mem_alloc() after gc.collect(), less that before the import, code included; peak: after a "
    f"publish that follows a collection, in {_HEAP_MESSAGES:,}; times: runs of {_LONG} less runs "
    f"of {_SHORT}, medians of {_ROUNDS} in turn; CPU time is user and system of the process"
)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A client on a runtime, and how many messages it has under way."""

    client: str
    runtime: str
    window: int

    @property
    def name(self) -> str:
        """For figures."""
        window = "" if self.window == 1 else f"_w{self.window}"
        return f"{self.client}_{self.runtime}{window}"


_SUBJECTS = (
    _Subject("mote", "micropython", 1),
    _Subject("umqtt", "micropython", 1),
    _Subject("mote", "cpython", 1),
    _Subject("paho", "cpython", 1),
    _Subject("mote", "micropython", _WINDOW),
    _Subject("mote", "cpython", _WINDOW),
    _Subject("paho", "cpython", _WINDOW),
)
_NAMES = {"mote": "mote", "umqtt": "umqtt.simple", "paho": "paho-mqtt"}


@dataclass(frozen=True, slots=True)
class _Run:
    """Seconds of one run: by the clock while it published, and of CPU in all."""

    wall: float
    cpu: float


@dataclass(slots=True)
class _Rig:
    """Runs clients against one broker."""

    port: int
    path: str
    micropython: str = field(default_factory=lambda: MicroPython().command(Path())[0])

    def heap(self, client: str) -> dict[str, int]:
        """Bytes that the client holds on MicroPython."""
        found, _ = self._run(_Subject(client, "micropython", 1), _HEAP_MESSAGES, "heap")
        return found

    def per_message(self, subject: _Subject) -> _Run:
        """Seconds a message."""
        short, long = self._timed(subject, _SHORT), self._timed(subject, _LONG)
        n = _LONG - _SHORT
        return _Run((long.wall - short.wall) / n, (long.cpu - short.cpu) / n)

    def _timed(self, subject: _Subject, count: int) -> _Run:
        found, cpu = self._run(subject, count)
        return _Run(found["ns"] / 1e9, cpu)

    def _run(self, subject: _Subject, count: int, *more: str) -> tuple[dict[str, int], float]:
        """What it printed, and its seconds of CPU. Raises MoteError."""
        program = sys.executable if subject.runtime == "cpython" else self.micropython
        command = [program, "-m", "tests.bench.publishers", subject.client]
        command += [str(self.port), str(count), str(subject.window), *more]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "MICROPYPATH": self.path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        with process.stdout:
            said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise MoteError(f"{subject.name}: {said.decode()}")
        return json.loads(said.splitlines()[-1]), used.ru_utime + used.ru_stime


def run() -> Outcome:
    """Heap, then time."""
    path = f"{compiled()}:{_umqtt()}:{ROOT}:.frozen"
    with _broker() as port:
        rig = _Rig(port, path)
        heaps = {client: rig.heap(client) for client in ("mote", "umqtt")}
        jobs: dict[str, Callable[[], _Run]] = {
            subject.name: partial(rig.per_message, subject) for subject in _SUBJECTS
        }
        runs = interleave(jobs, _ROUNDS)
    figures: Figures = {}
    for client, heap in heaps.items():
        figures |= {f"heap_{what}_{client}": size for what, size in heap.items()}
    for what in ("connected", "peak"):
        figures[f"heap_{what}_ratio"] = round(heaps["umqtt"][what] / heaps["mote"][what], 2)
    rows = _rows(runs, figures)
    return Outcome(figures, _METHOD, _table(heaps, rows))


@dataclass(frozen=True, slots=True)
class _Row:
    subject: _Subject
    per_s: float
    cpu_us: float
    low_us: float
    high_us: float


def _rows(runs: dict[str, list[_Run]], figures: Figures) -> list[_Row]:
    rows = []
    for subject in _SUBJECTS:
        found = runs[subject.name]
        wall = spread([run.wall for run in found])
        cpu = spread([run.cpu * 1e6 for run in found])
        rows.append(_Row(subject, 1 / wall.median, cpu.median, cpu.low, cpu.high))
        figures[f"messages_per_s_{subject.name}"] = round(1 / wall.median)
        figures[f"cpu_us_{subject.name}"] = round(cpu.median, 1)
    cpu_us = {row.subject.name: row.cpu_us for row in rows}
    for other, own in (
        ("umqtt_micropython", "mote_micropython"),
        ("paho_cpython", "mote_cpython"),
        (f"paho_cpython_w{_WINDOW}", f"mote_cpython_w{_WINDOW}"),
    ):
        figures[f"cpu_ratio_{other}"] = round(cpu_us[other] / cpu_us[own], 2)
    return rows


def _table(heaps: dict[str, dict[str, int]], rows: list[_Row]) -> Table:
    shown = table("", "at once", "messages/s", "CPU us", "quartiles")
    for row in rows:
        shown.add_row(
            f"{_NAMES[row.subject.client]}, {row.subject.runtime}",
            str(row.subject.window),
            f"{row.per_s:,.0f}",
            f"{row.cpu_us:.1f}",
            f"{row.low_us:.1f} .. {row.high_us:.1f}",
        )
    shown.add_section()
    shown.add_row("heap, bytes", "before", "connected", "peak", f"after {_HEAP_MESSAGES:,}")
    for client, heap in heaps.items():
        values = (f"{heap[what]:,}" for what in ("before", "connected", "peak", "after"))
        shown.add_row(f"{_NAMES[client]}, micropython", *values)
    return shown


@contextmanager
def _broker() -> Iterator[int]:
    """mosquitto, without a limit of its own on what is under way; yields its port."""
    with asyncio.Runner() as runner:
        broker = running_broker("mosquitto")
        found = runner.run(broker.__aenter__())
        try:
            yield found.port
        finally:
            runner.run(broker.__aexit__(None, None, None))


def _umqtt() -> Path:
    """The folder of umqtt.simple as .mpy. Raises MoteError."""
    folder = BUILD / "umqtt"
    out = folder / "mpy" / "umqtt" / "simple.mpy"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        compile_file(_umqtt_source(folder), out, "umqtt/simple.py")
    return folder / "mpy"


def _umqtt_source(folder: Path) -> Path:
    """pip's copy: the package has no build files, so pip fetches and unpacks it, and gives up."""
    scratch = folder / "source"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--no-clean", "--no-deps", "--quiet"]
    command += ["--no-binary", ":all:", "--dest", str(scratch), "micropython-umqtt.simple==1.3.4"]
    done = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    found = list(scratch.rglob("umqtt/simple.py"))
    if not found:
        raise MoteError(f"umqtt.simple can't be fetched: {done.stderr.strip()}")
    return found[0]
