"""The agent as firmware: a device that is a board, from /mote.cfg to its watchdog.

`main()` is all that a board runs. It comes back, to the REPL, where nothing is left for it to do:
the configuration is no good, or somebody pressed Ctrl-C on the console. Whatever else ends it
resets the board, with words and after a pause.
"""

import asyncio
import gc
import sys
import time

import machine
from mote.facts import Facts
from mote.turn import Limits
from mote_ports.micropython.clock import now_ms

from . import ConfigError
from .daemon import Daemon
from .report import Report

PATH = "/mote.cfg"
LOG_AT = 0x100000  # where the log's region begins on the flash; the file system is before it
_PAUSE_S = 10  # between an end that nobody wanted and the reset
_COLLECT_BYTES = 8192  # allocated between two collections
_TEND_MS = 1000
_CONSOLE_MS = (1800000, 300000, 60000, 8000)  # a watchdog's time while a person is there
# Modules that are needed for a moment, or in a turn only. Files stay out of this: what they import
# again and again breaks a heap into pieces; the bundle for them has what turns need.
_PASSING = (
    "mote.body",
    "mote.lookup",
    "mote.recovered",
    "mote.recovery",
    "mote_device.loader",
    "mote_device.settings",
    "mote_ports.answers",
    "mote_ports.inbox",
    "mote_ports.reasons",
    "mote_ports.text",
)


class Board:
    """What Daemon takes for a device, from the Settings of /mote.cfg. Raises ConfigError."""

    advice = "reset the board, or write it a new image"
    lives = 3  # that fail one after the other, then a reset may help
    gather_bytes = 128  # longer packets are written as they are

    def __init__(self, settings, report):
        from .loader import load_tools

        self.name = settings.name
        self.key = settings.key
        self.user = settings.user
        self.password = settings.password
        self.keepalive_s = settings.keepalive_s
        self.session_expiry_s = settings.session_expiry_s
        self.record_bytes = settings.record_bytes
        self.limits = limits = Limits.of(settings.limits)
        limits.part_bytes = settings.part_bytes
        limits.drop = settings.drop
        self._segments = settings.segments
        self._segment_bytes = settings.segment_bytes
        self.now_ms = now_ms
        self.dial = _link(settings, report)
        self.board = _hardware(settings.board)
        self.facts = Facts()
        own = list(self.board.tools) + (self.facts.tools() if limits.facts else [])
        self.tools = load_tools(own, (), settings.modules)

    def open_medium(self):
        """The log's region of the flash."""
        from mote_board import UNIT, Flash
        from mote_ports.blocks import BlockMedium

        flash = Flash(LOG_AT, self._segments * self._segment_bytes)
        return BlockMedium(flash, self._segments, self._segment_bytes, UNIT)


def _link(settings, report):
    """What dials the broker: a coroutine function that gives a stream."""
    link, path = settings.link, settings.path
    if link[0] == "uart":
        from mote_ports.serial import SerialPort

        return SerialPort("UART:%d" % link[1], link[2], now_ms).dial
    from mote_ports.micropython.lan import Lan

    def tls_context():  # the certificates are read anew each time, and take no room in between
        from mote_ports.micropython.trust import trusting

        return trusting(_settings(path).ca)

    return Lan(link[1], link[2], (path, tls_context) if settings.ca else None, report).dial


def _hardware(name):
    """The board of that name in `[device] board`."""
    if name == "greenhouse":
        from .greenhouse_pins import Greenhouse

        return Greenhouse()
    from .boards import NoBoard

    return NoBoard()


def _settings(path):
    from .settings import Settings

    return Settings(path)


def _unload():
    """Drop the modules that are needed for a moment only: they are imported again then."""
    for name in _PASSING:
        if sys.modules.pop(name, None):
            package, _, last = name.rpartition(".")
            delattr(sys.modules[package], last)


class Watchdog:
    """The chip's watchdog. Nothing stops it once it runs, so somebody must go on feeding it."""

    def __init__(self):
        self.pause_ms = _TEND_MS  # between two feeds
        self._chip = None

    def start(self, timeout_ms):
        """Reset the board if it is not fed for so long; 0: never."""
        if timeout_ms:
            self._chip = machine.WDT(timeout=timeout_ms)
            self.pause_ms = min(timeout_ms // 4, _TEND_MS)

    def feed(self):
        """The board is well."""
        if self._chip:
            self._chip.feed()

    def relax(self):
        """Give a person at the console time; returns what to tell about that."""
        for timeout_ms in _CONSOLE_MS if self._chip else ():
            try:
                self.start(timeout_ms)
                return "; the watchdog resets in %d s" % (timeout_ms // 1000)
            except (ValueError, OSError):
                pass  # more than this chip can wait
        return ""


def main(path=PATH):
    """Run the board as the file at `path` says."""
    report = Report()
    watchdog = Watchdog()
    try:
        if machine.reset_cause() == machine.WDT_RESET:
            report("the watchdog has reset this board: something kept it busy for too long")
        _run(path, watchdog)
    except ConfigError as e:
        report("%s%s" % (e, watchdog.relax()))
        return
    except KeyboardInterrupt:
        report("stopped%s; machine.reset() starts again" % watchdog.relax())
        return
    except Exception as e:
        sys.print_exception(e)
    _reset(report, watchdog)


def _run(path, watchdog):
    settings = _settings(path)
    watchdog.start(settings.watchdog_ms)
    report = Report(settings.verbose)
    device = Board(settings, report)
    del settings
    _unload()
    gc.threshold(_COLLECT_BYTES)
    gc.collect()
    asyncio.run(_live(Daemon(device, report), watchdog))


async def _live(daemon, watchdog):
    tending = asyncio.create_task(_tend(watchdog))
    try:
        await daemon.run()
    finally:
        tending.cancel()


async def _tend(watchdog):
    """What must go on for as long as the agent's loop goes round."""
    while True:
        watchdog.feed()
        _unload()
        await asyncio.sleep_ms(watchdog.pause_ms)


def _reset(report, watchdog):
    report("this should not end; resetting in %d s, Ctrl-C for the console" % _PAUSE_S)
    for _ in range(2 * _PAUSE_S):
        watchdog.feed()
        time.sleep_ms(500)
    machine.reset()
