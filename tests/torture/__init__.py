"""Exhaustive runs: power cuts and exceptions at every place there is. `python -m tests.torture`.

What one run does is in the portable tests/core/life.py and cuts.py, which the tests use too.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "core")]
