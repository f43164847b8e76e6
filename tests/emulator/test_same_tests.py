"""That boards run the same tests as the other runtimes, and which wait for the long run."""

import subprocess
import sys
from pathlib import Path

import pytest
from mote_emulator.toolchain import BOARDS

pytestmark = pytest.mark.emulator

TESTS = Path(__file__).resolve().parents[1]
CORE = TESTS / "core"
LONG = {"cuts", "flash_failures", "log_power", "ring", "rot", "short_memory"}


def _files(runtime: str, *options: str) -> set[str]:
    """The files of tests/core with an item for the runtime."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *options, str(CORE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TESTS.parent)
    items = [line for line in done.stdout.splitlines() if f"[{runtime}]" in line]
    return {Path(item.partition("::")[0]).stem.removeprefix("test_") for item in items}


def test_what_runs_on_micropython_runs_on_every_board() -> None:
    whole = _files("micropython")
    assert len(whole) > 30
    for board in BOARDS:
        assert _files(board, "--all-on-boards") == whole
        assert _files(board) == whole - LONG
