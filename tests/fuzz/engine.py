"""The default engine: mutations of what the grammar makes and of what was new, from one seed."""

import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from tests.fuzz import target as targets
from tests.fuzz.target import Broken, Target

ROOT = Path(__file__).resolve().parents[2]
HANG_S = 20.0  # of CPU time: a busy machine is no finding
_POOL = 400  # inputs that are kept for mutation
_TRACED = 40  # one of so many inputs shows whether it reaches new lines
_TRIES = 3000  # checks to make a finding small
_FINDINGS = 10  # different ones, then a run ends
_SHOWN_S = 1.0
_NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9]+")


class Hang(Exception):
    """One input takes more than HANG_S of CPU time."""


@dataclass
class Finding:
    """A broken promise: `data` breaks it, `what` names the exception and its place."""

    what: str
    text: str
    data: bytes
    times: int = 1


@dataclass
class Report:
    """What one run of a target found."""

    target: str
    seed: int
    inputs: int = 0
    seconds: float = 0.0
    lines: int = 0  # of the product that the traced inputs reached
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def run(
    name: str, inputs: int, seed: int, tell: Callable[[Report], None] = lambda _: None
) -> Report:
    """Check that many inputs. `tell` hears of the progress every second."""
    hunt = Hunt(targets.load(name), seed)
    began = told = time.monotonic()
    while hunt.report.inputs < inputs and len(hunt.report.findings) < _FINDINGS:
        hunt.step()
        now = time.monotonic()
        hunt.report.seconds = now - began
        if now - told >= _SHOWN_S:
            told = now
            tell(hunt.report)
    return hunt.report


def told(name: str, inputs: int, seed: int) -> Report:
    """A run that tells of itself on standard error: a terminal every second, others at its end."""

    def tell(report: Report) -> None:
        rate = report.inputs / max(report.seconds, 1e-9)
        found = f", {len(report.findings)} findings" if report.findings else ""
        line = f"{name}: {report.inputs} of {inputs}, {rate:.0f} a second{found} (seed {seed})"
        print(line, file=sys.stderr, flush=True)

    report = run(name, inputs, seed, tell if sys.stderr.isatty() else lambda _: None)
    tell(report)
    return report


class Hunt:
    """A run: its pool of inputs and its report."""

    def __init__(self, target: Target, seed: int) -> None:
        self.report = Report(target.name, seed)
        self._target = target
        self._random = Random(f"{target.name} {seed}")
        self._pool = [data for _, data in targets.kept(target.name)]
        self._lines = Lines(target.sources)
        self._first = len(self._pool)  # the kept ones are tried as they are

    def step(self) -> None:
        """Check one input more."""
        report = self.report
        kept = report.inputs < self._first
        data = self._pool[report.inputs] if kept else self._next()
        trace = report.inputs % _TRACED == 0
        report.inputs += 1
        try:
            outcome, new = self._lines.run(self._target, data) if trace else (self._try(data), 0)
        except Exception as exc:
            self._found(exc, data)
            return
        report.lines = len(self._lines.seen)
        outcome = _NUMBERS.sub(lambda found: found[0] if len(found[0]) == 1 else "N", outcome)
        if new or outcome not in report.outcomes:
            self._keep(data)
        report.outcomes[outcome] = report.outcomes.get(outcome, 0) + 1

    def _try(self, data: bytes) -> str:
        return guarded(self._target, data)

    def _next(self) -> bytes:
        random = self._random
        if not self._pool or not random.randrange(3):
            data = self._target.make(random)
            if random.randrange(2):
                return data
        else:
            data = random.choice(self._pool)
        other = random.choice(self._pool) if self._pool else b""
        return self._target.mutate(data, random, other)

    def _keep(self, data: bytes) -> None:
        if len(data) > self._target.longest:
            return
        if len(self._pool) < _POOL:
            self._pool.append(data)
        else:
            self._pool[self._random.randrange(self._first, _POOL)] = data

    def _found(self, exc: Exception, data: bytes) -> None:
        what = place(exc)
        for finding in self.report.findings:
            if finding.what == what:
                finding.times += 1
                return
        small = smaller(self._target, data, what)
        self.report.findings.append(Finding(what, f"{type(exc).__name__}: {exc}"[:400], small))


def guarded(target: Target, data: bytes) -> str:
    """`target.check` with an end: raises Hang."""

    def hang(*_: object) -> None:
        raise Hang(f"over {HANG_S:g} s")

    signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, HANG_S)
    try:
        return target.check(data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def place(exc: BaseException) -> str:
    """What makes two findings the same: the exception and the place in the project's code."""
    frames = traceback.extract_tb(exc.__traceback__)
    own = [f for f in frames if f.filename.startswith(str(ROOT)) and "/.venv/" not in f.filename]
    product = [f for f in own if "/tests/" not in f.filename] or own or list(frames)
    # who reads with it tells more
    product = [f for f in product if not f.filename.endswith("/mote/msgpack.py")] or product
    places = [f"{f.filename.removeprefix(f'{ROOT}/')}:{f.lineno}" for f in product[:-3:-1]]
    said = _NUMBERS.sub("N", str(exc))[:60] if isinstance(exc, (AssertionError, Broken)) else ""
    return f"{type(exc).__name__} at {' from '.join(places)} {said}".strip()


def smaller(target: Target, data: bytes, what: str) -> bytes:
    """The shortest input that breaks the same promise and is reached by leaving bytes out."""
    left = _TRIES

    def same(candidate: bytes) -> bool:
        nonlocal left
        left -= 1
        try:
            guarded(target, candidate)
        except Exception as exc:
            return place(exc) == what
        return False

    size = max(1, len(data) // 2)
    while left > 0:
        at, before = 0, len(data)
        while at < len(data) and left > 0:
            candidate = data[:at] + data[at + size :]
            if same(candidate):
                data = candidate
            else:
                at += size
        if size == 1 and len(data) == before:
            break
        size = max(1, size // 2)
    return _plainer(data, same)


def _plainer(data: bytes, same: Callable[[bytes], bool]) -> bytes:
    """The same with as many bytes 0 as can be."""
    for at in range(min(len(data), 200)):
        if data[at] and same(data[:at] + b"\0" + data[at + 1 :]):
            data = data[:at] + b"\0" + data[at + 1 :]
    return data


class Lines:
    """Which lines of the product were reached."""

    def __init__(self, sources: tuple[str, ...]) -> None:
        self.seen: set[tuple[str, int]] = set()
        self._sources = tuple(str(ROOT / source) for source in sources)

    def run(self, target: Target, data: bytes) -> tuple[str, int]:
        """(what `check` says, how many lines are new). Raises what it raises."""
        before = len(self.seen)
        sys.settrace(self._call)
        try:
            outcome = guarded(target, data)
        finally:
            sys.settrace(None)
        return outcome, len(self.seen) - before

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._sources else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.seen.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line
