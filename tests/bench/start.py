"""`start`: process start until the agent is ready, beside the bare interpreter's start.

Ready: moted prints its first line, so it has read its configuration and key, imported everything
that it runs on, opened the log, replayed it, and recorded the boot. The network comes after that.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mote_emulator import debian
from mote_host.config import BrokerSettings
from mote_host.demo.runtimes import MicroPython, package_folders
from mote_host.enrolment import write_device
from mote_host.errors import MoteError

from tests.bench.harness import (
    BUILD,
    Figures,
    Outcome,
    Ready,
    interleave,
    milliseconds_to_exit,
    spread,
    table,
    until_ready,
)
from tests.bench.mpy import compiled

ROUNDS = 25
SUITE, ARCH = "trixie", "amd64"
PACKAGES = ("micropython", "libc6", "libffi8", "libmbedtls21", "libmbedcrypto16", "libmbedx509-7")

_DEVICE = "bench"
_HOLD = "import sys\nprint('up', file=sys.stderr)\nsys.stdin.read()\n"
_SUBJECTS = ("py", "mpy", "cpython")
_REFERENCES = {"py": "bare", "mpy": "bare", "cpython": "asyncio"}
_NAMES = {
    "bare": "micropython, empty program",
    "py": "micropython, moted as .py",
    "mpy": "micropython, moted as .mpy",
    "asyncio": "cpython, import asyncio",
    "cpython": "cpython, moted",
}


@dataclass(frozen=True, slots=True)
class _Program:
    """A command and its environment; `line` is what moted says when it is ready."""

    command: list[str]
    env: dict[str, str]
    line: str = ""

    def with_arguments(self, *arguments: str) -> "_Program":
        return replace(self, command=[*self.command, *arguments])


def run() -> Outcome:
    """Start each variant 25 times, in turn."""
    interpreter, what = _micropython()
    bare = _Program(interpreter, dict(os.environ))
    cpython = _Program([sys.executable], _cpython_environment())
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_build()) as scratch:
        folder = Path(scratch)
        starts = {
            "bare": lambda: milliseconds_to_exit([*bare.command, "-c", ""], bare.env),
            "py": _started(_on_micropython(bare, package_folders()), folder / "py"),
            "mpy": _started(_on_micropython(bare, [str(compiled())]), folder / "mpy"),
            "asyncio": lambda: milliseconds_to_exit(
                [*cpython.command, "-c", "import asyncio"], cpython.env
            ),
            "cpython": _started(replace(cpython, line=_DEVICE), folder / "cpython"),
        }
        found = interleave(starts, ROUNDS)
        memory = {
            "bare": until_ready([*bare.command, "-c", _HOLD], bare.env).rss_kib,
            "asyncio": until_ready(
                [*cpython.command, "-c", "import asyncio\n" + _HOLD], cpython.env
            ).rss_kib,
        }
    return _outcome(found, memory, what)


def _build() -> Path:
    # Beside the other output, so on a disk like a user's: /tmp may be memory.
    BUILD.mkdir(exist_ok=True)
    return BUILD


def _cpython_environment() -> dict[str, str]:
    """Nothing of the caller's Python settings; compiled files are kept, under build/."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env["PYTHONPATH"] = os.pathsep.join(package_folders())
    env["PYTHONPYCACHEPREFIX"] = str(BUILD / "pycache")
    return env


def _micropython() -> tuple[list[str], str]:
    """The interpreter's command, and what it is."""
    try:
        root = debian.fetch(PACKAGES, SUITE, ARCH, BUILD / "debian")
    except MoteError as exc:
        print(f"start: no MicroPython of Debian's: {exc}", file=sys.stderr)
        program = MicroPython().command(Path())[0]
        if not shutil.which(program):
            raise
        # It embeds a CPython that starts first: its times say nothing about MicroPython.
        return [program], "the virtual environment's micropython, which starts a CPython first"
    version = debian.versions(root)["micropython"]
    return debian.command(root, "usr/bin/micropython"), f"Debian {SUITE}'s micropython {version}"


def _on_micropython(bare: _Program, folders: list[str]) -> _Program:
    env = {**bare.env, "MICROPYPATH": ":".join([*folders, ".frozen"])}
    return replace(bare, env=env, line=_DEVICE)


def _started(program: _Program, folder: Path) -> Callable[[], Ready]:
    """Starts moted with a new, empty log each time, until it is ready."""
    folder.mkdir()
    config = write_device(folder, _DEVICE, bytes(32), BrokerSettings(), "none")
    moted = program.with_arguments("-m", "mote_device", "--config", str(config))

    def start() -> Ready:
        shutil.rmtree(folder / "state", ignore_errors=True)
        return until_ready(moted.command, moted.env, moted.line)

    return start


def _outcome(found: dict[str, list], memory: dict[str, int], what: str) -> Outcome:
    shown = table("", "ms", "quartiles", "more", "ratio", "RSS KiB")
    figures: Figures = {}
    medians: dict[str, float] = {}
    for name, runs in found.items():
        ready = name in _SUBJECTS
        times = spread([run.ms for run in runs] if ready else runs)
        kib = int(spread([run.rss_kib for run in runs]).median) if ready else memory[name]
        medians[name] = times.median
        figures[f"{name}_ms"] = round(times.median, 2)
        figures[f"{name}_rss_kib"] = kib
        over = ratio = ""
        if ready:
            reference = medians[_REFERENCES[name]]
            over, ratio = f"{times.median - reference:+.2f}", f"{times.median / reference:.2f}"
            key = "cpython_ready_to_import_asyncio" if name == "cpython" else f"{name}_to_bare"
            figures[key] = round(times.median / reference, 3)
        quartiles = f"{times.low:.2f} .. {times.high:.2f}"
        shown.add_row(_NAMES[name], f"{times.median:.2f}", quartiles, over, ratio, str(kib))
    method = (
        f"process start until moted's first line (a new log opened, boot recorded), median of "
        f"{ROUNDS} runs in turn with their references (a process from start to end); peak RSS; "
        f"{what}; CPython {sys.version.split()[0]}"
    )
    return Outcome(figures, method, shown)
