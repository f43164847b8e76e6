"""A board that is none: chip, pins, network and configuration, on virtual time. Portable.

    board = Board(board="greenhouse")
    board.run(coroutine)        # firmware.main() until the coroutine ends, then Ctrl-C

Each `run` is one power-on. The flash, the broker and the gateway go on to the next.
"""

import asyncio
import gc
import os
import sys
import time
from binascii import crc32

import virtual
from blockdev import BlockDevice
from broker import Broker
from gateway import Gateway
from helpers import DEVICE, KEY
from mote.msgpack import Packer
from mote.turn import Limits

SEGMENTS, SEGMENT_BYTES = 4, 32768


class Reset(Exception):
    """machine.reset() was called."""


class Pin:
    """machine.Pin."""

    OUT = 1
    levels = {}  # noqa: RUF012 (a chip has its pins once)
    highs = {}  # noqa: RUF012 (how often each was driven from 0 to 1)

    def __init__(self, number, mode, value=0):
        self._number = number
        self.value(value)

    def value(self, level=None):
        """Read or drive it."""
        if level is None:
            return self.levels[self._number]
        if level and not self.levels.get(self._number):
            self.highs[self._number] = self.highs.get(self._number, 0) + 1
        self.levels[self._number] = int(level)
        return None


class Adc:
    """machine.ADC."""

    raw = 24903  # 38 %

    def __init__(self, channel):
        assert channel == 0

    def read_u16(self):
        """0..65535."""
        return self.raw


class I2c:
    """machine.I2C, with an LM75 at 0x48."""

    raw = 0x1580  # 21.5 degrees

    def __init__(self, number):
        assert number == 0

    def readfrom_mem(self, address, register, n):
        """The bytes of a register."""
        if self.raw is None:
            raise OSError(19, "ENODEV")
        assert (address, register, n) == (0x48, 0, 2)
        return self.raw.to_bytes(2, "big")


class Watchdog:
    """machine.WDT: `late` is set if it would have reset the board. None has more than 400 s."""

    timeout_ms = 0
    fed_ms = 0
    late = False

    def __init__(self, timeout):
        if timeout > 400000:
            raise ValueError
        self.feed()
        Watchdog.timeout_ms = timeout

    def feed(self):
        """Not yet."""
        now = virtual.now_ms()
        if self.timeout_ms and now - self.fed_ms > self.timeout_ms:
            Watchdog.late = True
        Watchdog.fed_ms = now


class Machine:
    """The module `machine`."""

    WDT_RESET = 3
    Pin, ADC, I2C, WDT = Pin, Adc, I2c, Watchdog

    def __init__(self):
        self.cause = 1

    def reset_cause(self):
        """Why the board started."""
        return self.cause

    def reset(self):
        """Does not come back."""
        raise Reset


class Lan:
    """network.LAN: up when it was asked `patience` times whether it is."""

    patience = 3

    def __init__(self):
        self._left = self.patience

    def active(self, on):
        """Switch it on."""
        assert on

    def isconnected(self):
        """Whether there is an address."""
        self._left -= 1
        return self._left < 0

    def ipconfig(self, what):
        """The address."""
        assert what == "addr4"
        return "10.0.2.15", "255.255.255.0"


class Network:
    """The module `network`."""

    LAN = Lan


class MoteBoard:
    """The module `mote_board`."""

    UNIT = 4
    chip = None

    @classmethod
    def Flash(cls, offset, size):
        """The region of the log."""
        assert (offset, size) == (0x100000, SEGMENTS * SEGMENT_BYTES)
        cls.chip = cls.chip or BlockDevice(4096, size // 4096, 4)
        return cls.chip


class Asyncio:
    """The module `asyncio`, whose `run` has a second coroutine to run, and its end is Ctrl-C."""

    def __init__(self, other):
        self._other = other
        self.create_task = asyncio.create_task

    def sleep_ms(self, ms):
        """A coroutine."""
        return asyncio.sleep(ms / 1000)

    def run(self, coroutine):
        """Until either ends."""
        return virtual.run(self._both(coroutine))

    async def _both(self, coroutine):
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0)
        waiting = asyncio.create_task(self._other)
        while not task.done() and not waiting.done():  # noqa: ASYNC110 (either may end)
            await asyncio.sleep(0.01)
        if waiting.done():
            await waiting
            task.cancel()
            raise KeyboardInterrupt
        waiting.cancel()
        await task


def _complete():
    """Give CPython what only MicroPython has."""
    for module, name, value in (
        (time, "ticks_ms", virtual.now_ms),
        (time, "ticks_diff", lambda a, b: a - b),
        (asyncio, "sleep_ms", lambda ms: asyncio.sleep(ms / 1000)),
        (gc, "threshold", lambda n: None),
        (sys, "print_exception", lambda e: None),
    ):
        if not hasattr(module, name):
            setattr(module, name, value)


machine = Machine()
sys.modules["machine"] = machine
sys.modules["network"] = Network
sys.modules["mote_board"] = MoteBoard
_complete()

from mote_device import firmware, settings  # noqa: E402 (it imports what is made above)
from mote_ports.micropython import lan as lan_module  # noqa: E402


def limits():
    """Those of a small board."""
    made = Limits()
    made.open_turns, made.sessions, made.seen_asks, made.facts = 2, 4, 16, 8
    made.ask_bytes = made.result_bytes = 384
    return made


def values(changes):
    """Values of a board's configuration."""
    found = {
        "name": DEVICE,
        "key": KEY,
        "limits": limits().values(),
        "part_bytes": 384,
        "drop": False,
        "record_bytes": 512,
        "segments": SEGMENTS,
        "segment_bytes": SEGMENT_BYTES,
        "keepalive_s": 60,
        "session_expiry_s": 86400,
        "link": ["lan", "10.0.2.2", 1883],
        "board": "none",
        "modules": [],
        "watchdog_ms": 8000,
        "verbose": False,
    }
    found.update(changes)
    return found


def packed(changes, version=settings.VERSION):
    """The bytes of a configuration file."""
    found = values(changes)
    body = Packer(bytearray(4096)).value([found.get(name) for name in settings.FIELDS]).taken()
    whole = Packer(bytearray(4096)).array(3).int(version).int(crc32(body)).bin(body)
    return bytes(whole.taken())


class Board:
    """`said` has the lines on its console; `changes` are to the values of its configuration."""

    def __init__(self, script=(), **changes):
        self.said = []
        self.gateway = Gateway(script)
        self.broker = Broker(self.gateway)
        self.path = os.getenv("MOTE_TEST_TMP") + "/mote.cfg"
        MoteBoard.chip = None
        Lan.patience = 3
        Pin.levels.clear()
        Pin.highs.clear()
        Watchdog.timeout_ms, Watchdog.late = 0, False
        machine.cause = 1
        self.configure(packed(changes))

    def configure(self, data):
        """Write the configuration file; None: there is none."""
        try:
            os.remove(self.path)
        except OSError:
            pass
        if data is not None:
            with open(self.path, "wb") as file:
                file.write(data)

    def run(self, coroutine):
        """A power-on; what the coroutine raises is raised."""
        Pin.levels.clear()
        modules = {name: sys.modules[name] for name in firmware._PASSING if name in sys.modules}
        saved = firmware.Report, firmware.asyncio, firmware.now_ms, firmware.time
        connect, sleep = lan_module.connect, lan_module.asyncio
        firmware.Report, firmware.now_ms = self._report, virtual.now_ms
        firmware.asyncio = lan_module.asyncio = Asyncio(coroutine)
        firmware.time = self
        lan_module.connect = self._connect
        try:
            firmware.main(self.path)
        finally:
            firmware.Report, firmware.asyncio, firmware.now_ms, firmware.time = saved
            lan_module.connect, lan_module.asyncio = connect, sleep
            for name, module in modules.items():  # others have what is in them already
                package, _, last = name.rpartition(".")
                sys.modules[name] = module
                setattr(sys.modules[package], last, module)

    def sleep_ms(self, ms):
        """time.sleep_ms: a while in which only time passes."""
        virtual._clock.now_ms += ms

    def _report(self, verbose=False):
        def say(text, detail=False):
            if verbose or not detail:
                self.said.append(text)

        return say

    async def _connect(self, host, port, tls):
        assert (host, port, tls) == ("10.0.2.2", 1883, None)
        return await self.broker.dial()

    async def until(self, true, most_ms=600000):
        """Wait for it. Fails if it takes longer than `most_ms`, virtual."""
        begun = virtual.now_ms()
        while not true():
            assert virtual.now_ms() - begun < most_ms, "it does not come: %s" % self.said
            await asyncio.sleep(0.02)

    async def online(self):
        """Wait until it is."""
        await self.until(lambda: any("connected" in text for text in self.said))

    async def asked(self, name, text="do it"):
        """Ask; returns (status, text) of the answer."""
        self.broker.ask(text, name)
        await self.until(lambda: self.broker.answers(name))
        found = self.broker.answers(name)
        assert len(found) == 1, found
        return found[0]
