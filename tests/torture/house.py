"""A whole daemon on a chip, a broker and a gateway in memory, on virtual time. CPython.

    with House(folder, script) as house:
        house.run(house.answered("1"))

Each `run` is one process of the daemon: `Process.run` from its lock to its end, however often it
opens the log anew meanwhile. Folder, chip, broker and gateway go on to the next one.
"""

import asyncio
import os
from pathlib import Path

import virtual
from broker import Broker
from gateway import Gateway
from helpers import DEVICE, KEY, Random, bench_tools, chain_holds, opened
from mote_device import process as module
from mote_device.config import load_config
from mote_device.process import Process

_PATIENCE_MS = 1200000

_CONFIG = """
[device]
name = "%s"
key_file = "key"
[log]
segments = %d
segment_kib = %d
%s
[limits]
open_turns = 2
steps = 3
calls = 4
reply_bytes = 2048
seen_asks = 4
sessions = 2
facts = 2
asks_burst = 1000
asks_per_hour = 100000
"""


class House:
    """`chip` is the log's medium, None: real files in the folder. `log` is added to [log]."""

    def __init__(self, folder, gateway=None, chip=None, log="", segments=6, segment_kib=20):
        self.runs = []  # (tool, n)
        self.said = []
        self.gateway = gateway or Gateway()
        self.broker = Broker(self.gateway)
        self.chip = chip
        self.folder = Path(folder)
        self.daemon = None
        self.tools = bench_tools(self.runs)
        self._random = Random(5)
        self._config = _CONFIG % (DEVICE, segments, segment_kib, log)
        self._saved = []

    def __enter__(self):
        key = self.folder / "key"
        key.write_text(KEY.hex())
        key.chmod(0o600)
        (self.folder / "moted.toml").write_text(self._config)
        self._patch(module, "now_ms", virtual.now_ms)
        self._patch(module, "exit_signals", self._started)
        self._patch(module, "connect", self._connect)
        self._patch(os, "urandom", self._random.bytes)
        if self.chip:
            self._patch(module, "FileMedium", lambda *_: _Medium(self.chip))
        return self

    def __exit__(self, *_):
        for owner, name, value in reversed(self._saved):
            setattr(owner, name, value)

    def _patch(self, owner, name, value):
        self._saved.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _started(self, stop):
        self.daemon = stop.__self__

    async def _connect(self, *_):
        return await self.broker.dial()

    def report(self, text, detail=False):
        """What the daemon tells a person."""
        if not detail:
            self.said.append(text)

    @property
    def agent(self):
        """That of the life that goes on; None while none does."""
        driver = self.daemon._driver
        return driver.agent if driver else None

    def run(self, coroutine, most_ms=3600000):
        """One process, until the coroutine has ended; returns what that returned."""
        return virtual.run(self._process(coroutine), most_ms)

    async def _process(self, coroutine):
        process = Process(load_config(str(self.folder / "moted.toml")))
        process.tools = self.tools
        task = asyncio.create_task(process.run(self.report))
        await asyncio.sleep(0)  # it begins
        try:
            found = await coroutine
            assert not task.done(), "the daemon ended by itself"
            return found
        finally:
            self.daemon.stop()
            await task

    async def until(self, true, step_s=0.05):
        """Wait for it, looking at every `step_s`. Fails after 20 minutes, virtual."""
        begun = virtual.now_ms()
        while not true():
            assert virtual.now_ms() - begun < _PATIENCE_MS, f"it does not come: {self.said[-3:]}"
            await asyncio.sleep(step_s)

    async def asked(self, name, text="do it"):
        """Ask, again while it is refused; returns (status, text) once the turn is closed."""
        while not self.broker.answers(name):
            del self.broker.refused[:]
            self.broker.ask(text, name)
            await self.until(lambda: self.broker.answers(name) or self.broker.refused)
        await self.until(self.at_rest)
        found = self.broker.answers(name)
        assert len(found) == 1, found
        return found[0]

    def at_rest(self):
        """True if no turn is open and the gateway holds the whole log."""
        agent = self.agent
        if not agent or agent.turns or len(self.gateway.frames) != agent.log.seq:
            return False
        return self.gateway.hashes[-1] == agent.log.head

    def check(self):
        """The chain on the chip holds, and the gateway took all that it got."""
        assert not self.broker.faults, self.broker.faults
        log = opened(self.chip.copy(), 1024)
        assert chain_holds(log)
        assert not log.owed


class _Medium:
    """The chip, for one life: what another life programs after its end is an error."""

    def __init__(self, chip):
        self._chip = chip
        self._closed = False
        self.unit, self.segments, self.segment_bytes = chip.unit, chip.segments, chip.segment_bytes
        self.read = chip.read

    def program(self, segment, offset, data):
        self._check()
        self._chip.program(segment, offset, data)

    def erase(self, segment):
        self._check()
        self._chip.erase(segment)

    def sync(self):
        self._check()
        self._chip.sync()

    def _check(self):
        assert not self._closed, "a life that is over writes to the log"

    def close(self):
        self._closed = True
