"""The same firmware, flash, clock and entropy give the same log, byte for byte."""

from hashlib import sha256
from pathlib import Path

import boards
import pytest
from mote_emulator.firmware import MODULES, build
from mote_emulator.image import FlashImage
from mote_emulator.machine import Machine

pytestmark = pytest.mark.emulator

CORE = Path(__file__).parents[1] / "core"
SHIFT = 3  # 8 ns an instruction
NOON = 1_767_225_600_000_000  # 2026-01-01, in microseconds
LOG_BYTES = 16 * 16384
HEAP_BYTES = 2 << 20


def entropy(path: Path, seed: bytes) -> Path:
    """A file of bytes that look random."""
    path.write_bytes(b"".join(sha256(seed + bytes([n])).digest() for n in range(128)))
    return path


async def run(board: str, folder: Path, random: Path) -> tuple[str, bytes]:
    """What the program said last, and the log that it left."""
    folder.mkdir()
    flash = FlashImage.create(folder / "flash.img")
    flash.format()
    program = Path(__file__).with_name("transcript.py").read_bytes()
    flash.write_files({**boards.modules(CORE), "/main.py": program + b"\nrun()\n"})
    async with Machine(
        *(board, build(board, agent=MODULES).elf, flash),
        heap_bytes=HEAP_BYTES,
        entropy=random,
        icount=SHIFT,
        time_us=NOON,
    ) as machine:
        # what is typed comes when the host gets round to it, so nothing is typed
        said = await machine.wait_for(r"head \d+ \w{64}|^>>> ", timeout_s=60)
    assert said.startswith("head"), said
    return said, flash.read_log(LOG_BYTES)


async def test_the_same_run_gives_the_same_log(board_name: str, tmp_path: Path) -> None:
    random = entropy(tmp_path / "random", b"one")
    first = await run(board_name, tmp_path / "a", random)
    second = await run(board_name, tmp_path / "b", random)
    assert first == second
    assert first[1].count(b"it is ") == 8


async def test_other_entropy_gives_another_log(board_name: str, tmp_path: Path) -> None:
    one = await run(board_name, tmp_path / "a", entropy(tmp_path / "one", b"one"))
    two = await run(board_name, tmp_path / "b", entropy(tmp_path / "two", b"two"))
    assert one[0] != two[0]
    assert len(one[1]) == len(two[1])
