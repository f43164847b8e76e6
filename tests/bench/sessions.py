"""`sessions`: bytes of heap that the fold holds for each session, and with a bounded number."""

import json
import os
import subprocess
import tracemalloc
from pathlib import Path

from mote_host.demo.runtimes import MicroPython
from mote_host.errors import MoteError

from tests.bench import fold_sessions
from tests.bench.harness import ROOT, Figures, Outcome, table
from tests.bench.mpy import compiled

_MANY = 1000
_LIMIT = 16  # moted's default
_PROCESS_S = 60

_METHOD = (
    f"one finished turn in each of {_MANY} sessions with names of 9 to 11 bytes: heap held with "
    f"all of them remembered, less that with one, a session; and with at most {_LIMIT}. "
    "MicroPython: unix port of the virtual environment, 64-bit objects"
)


def run() -> Outcome:
    """Measure on both runtimes. Raises MoteError."""
    figures: Figures = {}
    shown = table("", "bytes a session", f"bytes of {_MANY}", f"of {_LIMIT} at most")
    for name, held in (("micropython", _OnMicroPython()), ("cpython", _cpython)):
        one, all_of_them, bounded = held(1, 1), held(_MANY, _MANY), held(_MANY, _LIMIT)
        each = (all_of_them - one) / (_MANY - 1)
        figures[f"session_bytes_{name}"] = round(each, 1)
        figures[f"sessions_1000_bytes_{name}"] = all_of_them
        figures[f"sessions_bounded_bytes_{name}"] = bounded
        shown.add_row(name, f"{each:.0f}", str(all_of_them), str(bounded))
    return Outcome(figures, _METHOD, shown)


def _cpython(sessions: int, limit: int) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        state = fold_sessions.folded(sessions, limit)
        held = tracemalloc.get_traced_memory()[0] - before
        assert len(state.sessions) == min(sessions, limit)
        return held
    finally:
        tracemalloc.stop()


class _OnMicroPython:
    """Runs `fold_sessions` on MicroPython, with the packages as .mpy."""

    def __init__(self) -> None:
        self._program = MicroPython().command(Path())[0]
        self._env = {**os.environ, "MICROPYPATH": f"{compiled()}:{ROOT}:.frozen"}

    def __call__(self, sessions: int, limit: int) -> int:
        arguments = ["-X", "heapsize=4m", "-m", "tests.bench.fold_sessions"]
        done = subprocess.run(
            [self._program, *arguments, str(sessions), str(limit)],
            env=self._env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_PROCESS_S,
            check=False,
        )
        if done.returncode:
            raise MoteError(f"sessions: {done.stdout}{done.stderr}")
        found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        if found["remembered"] != min(sessions, limit):
            raise MoteError(f"sessions: {found['remembered']} are remembered, not {limit}")
        return found["heap"]
