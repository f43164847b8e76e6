"""A program for boards: turns with a gateway whose part is written down, on a clock that goes from
one deadline to the next; so nothing from outside has a say but the entropy and the date.

The log is the flash's own. The last line says how it ended.
"""

import os
import time

from gateway import CALLS, TEXT, Gateway, Line
from helpers import KEY, Bench, Random, bench_tools, make_log
from mote import wire
from mote.agent import Agent
from mote.link import Link
from mote.turn import Limits
from mote_board import UNIT, Flash
from mote_ports.blocks import BlockMedium

LOG_AT = 0x100000
SEGMENTS, SEGMENT_BYTES = 16, 16384
TURNS = 8


class Device(Bench):
    """A bench device on the board's flash, with its entropy."""

    def __init__(self, medium):
        self.chip = None
        self.runs = []
        self.published = []
        self.held = []
        self.stopped = []
        self.hold = self.eager = False
        self.told = None
        self.now_ms = 1000
        self.log = make_log(medium, 1024)
        self.agent = Agent(self.log, bench_tools(self.runs), Limits())
        self.agent.open(self.now_ms, os.urandom(wire.NONCE), ["pump"], "test")
        self.agent.sure = True


def run():
    """All turns; each ask says what the date is, and what the clock."""
    flash = Flash(LOG_AT, SEGMENTS * SEGMENT_BYTES)
    device = Device(BlockMedium(flash, SEGMENTS, SEGMENT_BYTES, UNIT))
    script = [(CALLS, 2, 10), (TEXT, 0, 10)] * TURNS
    line = Line(device, Link(device.agent, KEY, os.urandom), Gateway(script), Random(1))
    line.link.connected(device.now_ms)
    for number in range(TURNS):
        text = "it is %d, %d ms" % (time.time() // 3600, device.now_ms)
        device.ask(text, "s%d" % (number % 3), "ask %d" % number)
        line.until_quiet()
    device.log.sync()
    assert len(device.published) == TURNS, device.published
    print("head", device.log.seq, device.log.head.hex())
