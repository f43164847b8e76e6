"""Gates: the heap that the agent takes on rv32. A build that needs more fails here."""

import sys
from pathlib import Path

import pytest
from mote_emulator.device import Options

from tests.emulator import heaps

pytestmark = pytest.mark.emulator

KIB = 1024
IN_USE = 36 * KIB  # connected, 4 sessions, 8 tools, frozen
FROZEN = 56 * KIB  # in which turns with two tool calls and replies of 2 KB complete
FILES = 192 * KIB  # the same, with the agent as .mpy files on the flash
MPY_BYTES = 64 * 1024  # all of those files


async def test_what_is_in_use_when_connected(tmp_path: Path) -> None:
    used = await heaps.in_use(tmp_path, Options("rv32"))
    print(f"{used} bytes in use", file=sys.stderr)
    assert used <= IN_USE


async def test_turns_complete_in_the_smallest_heap(tmp_path: Path) -> None:
    assert await heaps.suffices(tmp_path, Options("rv32"), FROZEN)


async def test_turns_complete_with_the_agent_on_the_file_system(tmp_path: Path) -> None:
    options = Options("rv32", frozen=False)
    assert await heaps.suffices(tmp_path, options, FILES)
    flash = heaps.flash_files(tmp_path)
    assert sum(size for path, size in flash.items() if path.endswith(".mpy")) <= MPY_BYTES
    assert "/main.py" in flash


async def test_too_small_a_heap_is_seen(tmp_path: Path) -> None:
    assert not await heaps.suffices(tmp_path, Options("rv32"), 24 * KIB)
