"""A deterministic simulator: devices, broker, gateways, people and accidents on one clock.

`python -m tests.simulation` runs it. What runs is the product: the agent and its link (or the
whole driver) on a simulated flash chip, the gateway's service on its store. All else, from the
network to the clock, is a model that draws from one seed, so that a run can be repeated exactly.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "core")]
