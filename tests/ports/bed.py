"""A device on a chip, a broker and a gateway in memory, on virtual time. Portable.

    bed = Bed()
    bed.run(bed.until(lambda: bed.broker.outs))

Each `run` is one life of the device: the log is opened, a `Driver` runs until the given coroutine
has ended, and stops. The chip, the broker and the gateway go on to the next life.
"""

import asyncio

import virtual
from broker import Broker
from chip import Chip
from gateway import CALLS, TEXT, Gateway
from helpers import DEVICE, KEY, Random, bench_tools, make_log
from mote import mqtt
from mote import records as r
from mote.agent import Agent
from mote.link import Link
from mote.tools import Toolset
from mote.turn import Limits
from mote_ports.driver import Driver

TURN = [(CALLS, 2, 10), (TEXT, 0, 10)]


class Bed:
    """`script` is the gateway's; `tools` a list of tools in place of the bench's three."""

    def __init__(self, script=(), tools=None, chip=None, limits=None):
        self.runs = []  # (tool, n)
        self.said = []  # what was reported
        self.chip = chip or Chip(1, 8, 32768)
        self.gateway = Gateway(script)
        self.broker = Broker(self.gateway)
        self.level = 5  # of MQTT
        self.agent = self.link = self.driver = None
        self._limits = limits or Limits()
        self._tools = Toolset(tools) if tools else bench_tools(self.runs)
        self._random = Random(7)

    def report(self, text, detail=False):
        """What the driver tells a person."""
        if not detail:
            self.said.append(text)

    def open(self):
        """Open the log; returns a Driver for it."""
        log = make_log(self.chip, 1024)
        self.agent = Agent(log, self._tools, self._limits)
        self.agent.open(virtual.now_ms(), self._random.bytes(8), [], "test")
        self.link = Link(self.agent, KEY, self._random.bytes)
        session = mqtt.Session("d", keepalive_s=60, rx_bytes=1280, tx_bytes=8192)
        session.level = self.level
        self.driver = Driver(
            DEVICE,
            self.agent,
            self.link,
            session,
            self.broker.dial,
            self.report,
            virtual.now_ms,
            90,
        )
        return self.driver

    def run(self, coroutine):
        """One life, until the coroutine has ended; returns what that returned."""
        return virtual.run(self._live(coroutine))

    async def _live(self, coroutine):
        driver = self.open()
        task = asyncio.create_task(driver.run())
        try:
            return await coroutine
        finally:
            driver.stop()
            await task

    def results(self):
        """The frames of all RESULT records that the gateway holds."""
        return [bytes(frame) for frame in self.gateway.frames if frame[2] == r.RESULT]

    async def until(self, true, most_ms=600000):
        """Wait for it. Fails if it takes longer than `most_ms`, virtual."""
        begun = virtual.now_ms()
        while not true():
            assert virtual.now_ms() - begun < most_ms, "it does not come"
            await asyncio.sleep(0.02)

    async def answered(self, n=1):
        """Wait until `n` answers came, all turns are closed and the gateway has the log."""
        await self.until(lambda: len(self.broker.outs) >= n)
        await self.until(lambda: not self.agent.turns)
        await self.until(lambda: len(self.gateway.frames) == self.agent.log.seq)
        assert self.gateway.hashes[-1] == self.agent.log.head
        assert not self.broker.faults
