"""How a portable test file runs on an emulated board: the firmware as it ships, with the tests as
.mpy files on its flash, and the runner started from the console."""

import asyncio
import functools
import re
import subprocess
import tempfile
from pathlib import Path

from interpreter import SHARED, Outcome
from mote_emulator.console import BoardError
from mote_emulator.firmware import MODULES, build, mpy_cross
from mote_emulator.image import FlashImage
from mote_emulator.machine import Machine
from mote_emulator.toolchain import BOARDS, missing_to_build, missing_to_run

FOLDERS = ("core", "ports")
NAMES = tuple(BOARDS)
HEAP_BYTES = 6 << 20  # as on the unix port: tests hold whole simulated chips
TIMEOUT_S = 240
ALL_TIMEOUT_S = 7200
_RUN = "import runner; print('ended', runner.run(__import__('%s'), %r))"
_SLOW = re.compile(r"^# slow on boards: (.*)$", re.MULTILINE)


def runs_here(path):
    """True if the portable test file makes sense on a board."""
    return path.parent.name in FOLDERS and "# not on boards" not in path.read_text()[:2000]


def too_slow(path):
    """The tests that take an emulated board many seconds, by "# slow on boards: NAMES"."""
    return tuple(" ".join(_SLOW.findall(path.read_text()[:2000])).split())


def missing(name):
    """What must be installed for this board, or None."""
    board = BOARDS[name]
    lacks = missing_to_build(board) + missing_to_run(board)
    return f"the board {name} needs: apt-get install {' '.join(lacks)}" if lacks else None


def run(path, name, slow_too=False):
    """Run the tests of the file `path` on the board, or all but the slow ones; an Outcome."""
    if slow_too:
        return asyncio.run(_run(path, name, (), ALL_TIMEOUT_S))
    return asyncio.run(_run(path, name, too_slow(path), TIMEOUT_S))


async def _run(path, name, without, timeout_s):
    with tempfile.TemporaryDirectory(prefix="mote-board-") as folder:
        flash = FlashImage.create(Path(folder, "flash.img"))
        flash.format()
        flash.write_files(modules(path.parent))
        async with Machine(
            name, build(name, agent=MODULES).elf, flash, heap_bytes=HEAP_BYTES
        ) as machine:
            try:
                await machine.wait_for("^>>> ")
                said = await machine.execute(_RUN % (path.stem, without), timeout_s)
            except BoardError as error:
                return Outcome(f"{machine.console.transcript}\n{error}", "none")
        return Outcome(said, int("ended 0" not in said.splitlines()[-1]))


@functools.cache
def modules(folder):
    """The portable modules of the folder and the shared helpers, as files for /lib."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for path in [*SHARED.glob("*.py"), *folder.glob("*.py")]:
            out = Path(scratch, path.stem + ".mpy")
            arguments = [mpy_cross(), "-s", path.name, "-o", str(out), str(path)]
            # what only CPython can read, a board's test does not import either
            if not subprocess.run(arguments, capture_output=True, check=False).returncode:
                found["/lib/" + out.name] = out.read_bytes()
    return found
