"""The power goes, again and again, at random moments of turns that must not happen twice."""

import pytest

from tests.emulator.cuts import survive

pytestmark = pytest.mark.emulator

CUTS = {"rv32": 200, "cortex-m3": 40}


async def test_no_power_cut_loses_a_record_or_dispenses_twice(
    board_name: str, firmware, tmp_path
) -> None:
    found = await survive(tmp_path, board_name, CUTS[board_name])
    assert found.broken == []
    assert found.survived >= CUTS[board_name]
