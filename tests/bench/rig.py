"""The device that the storage benchmarks measure. Portable: MicroPython opens its log as well."""

from mote import wire
from mote.agent import Agent
from mote.log import Log
from mote.records import ONCE, READ
from mote.segments import genesis
from mote.tools import Toolset, integer, number, tool
from mote.turn import Limits

RECORD_BYTES = 1024
SEGMENTS = 16
SEGMENT_BYTES = 16384  # four erase blocks

PLANTS = ("basil", "tomatoes", "cucumbers", "mint", "aubergines", "chillies", "leek", "lettuce")
"""What grows in beds 1 to 8: names of several lengths, so that padding has no favourite."""

_NAME = "bench"
_KEY = bytes(range(32))


def read_moisture(bed: int) -> str:
    """Percent."""
    return f"{PLANTS[bed - 1]}: {20 + bed} % moist"


def run_pump(bed: int, seconds: float) -> str:
    """What was pumped."""
    return f"{PLANTS[bed - 1]}: pumped {50 * seconds:.0f} ml in {seconds:.1f} s at 1.8 bar"


def make_log(medium: object, make: type = Log) -> Log:
    """The rig's unopened log on `medium`, of class `make`."""
    log = make(medium, genesis(_NAME), wire.subkey(_KEY, "log").sign, RECORD_BYTES)
    assert isinstance(log, Log)
    return log


def make_agent(log: Log, now_ms: int) -> Agent:
    """The rig's agent, open, over an unopened `log`."""
    limits = Limits()
    limits.open_turns = 4
    limits.seen_asks = 8
    bed = integer("bed", 1, 8)
    look = tool("Soil moisture of a bed.", READ, bed)(read_moisture)
    pour = tool("Water a bed.", ONCE, bed, number("seconds", 0.1, 30, "s"))(run_pump)
    agent = Agent(log, Toolset([look, pour]), limits)
    agent.open(now_ms, b"12345678", ["pump"], "bench")
    return agent
