"""Tests of the emulated boards. Their fixtures come from mote_emulator.plugin."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]  # for helpers of other tests


LONGEST = ("test_power_cuts.py", "test_soak.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a compiler or an emulator: all that is here. The longest begin first."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.emulator)
