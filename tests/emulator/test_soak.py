"""Turns without end: what the agent holds does not grow."""

from pathlib import Path

import pytest
from mote_emulator.panel import Heap

from tests.emulator.soak import GROWTH, grown, soak

pytestmark = pytest.mark.emulator

TURNS = 2000


async def test_the_heap_does_not_grow(tmp_path: Path) -> None:
    found = await soak(tmp_path, TURNS, samples=8)
    assert grown(found) <= GROWTH, found


def test_growth_is_seen() -> None:
    leaking = [Heap(30000 + 100 * n, 0, 0) for n in range(9)]
    assert grown(leaking) == 600
    steady = [Heap(30000 + n % 2 * 400, 0, 0) for n in range(9)]
    assert grown(steady) == 0
