"""Hostile input for every parser that reads what others wrote. `python -m tests.fuzz --help`.

Theory of operation. A *target* makes inputs from a grammar and checks any bytes at all: `check`
returns a short word for what came of them, and raises if something is not as promised. An engine
mutates what the grammar made and what was new so far, and calls `check`. Whatever `check` raises
is a finding; it is made small, and printed with the command that replays it.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "core"), str(TESTS / "host")]
