"""Putting a device together from its configuration, and running it for as long as it lives."""

import asyncio
import gc
import os

from mote import __version__, mqtt, wire
from mote.agent import Agent, UnknownRecord
from mote.facts import Facts
from mote.link import Link
from mote.log import Log, LogError, genesis
from mote_ports.driver import OFFLINE, Driver
from mote_ports.files import FileMedium, make_folders
from mote_ports.lock import Lock
from mote_ports.streams import connect
from mote_ports.system import exit_signals, now_ms

from .boards import make_board
from .config import read_key, read_secret
from .limits import limits_of
from .loader import load_tools
from .transport import serial_port, tls_files, where

_RESTART_S = 5
_LASTING_MS = 60000  # a life that was longer was a good one
_RESERVE = 4096  # bytes that are given back when memory runs out
_HEAD_ROOM = 256  # of a packet: topic, MQTT and MAC around a payload


class Daemon:
    """One device. `check()` finds what is wrong with the configuration; `run()` runs it."""

    def __init__(self, config, report):
        self._config = config
        self._report = report
        self._key = read_key(config.device.key_file)
        secret = config.broker.password_file
        self._password = read_secret(secret) if secret else None
        self._serial = serial_port(config)
        self._tls = tls_files(config)
        self._board = make_board(
            config.device.board, config.device.world_file, config.device.time_scale
        )
        self._limits = limits_of(config)
        self._facts = Facts()
        own = list(self._board.tools) + (self._facts.tools() if self._limits.facts else [])
        self._tools = load_tools(own, config.tools.path, config.tools.modules)
        self._stopping = False
        self._why = None
        self._began_ms = 0
        self._culprit = 0  # the ask whose turn ran out of memory last,
        self._again = False  # and whether it did so twice in a row
        self._medium = None
        self._driver = None

    def check(self):
        """One line about what would run."""
        config = self._config
        return "%s: %d tools, broker %s, state in %s" % (
            config.device.name,
            len(self._tools.tools),
            where(config.broker),
            config.device.state_dir,
        )

    async def run(self):
        """Until a signal. A log that can't go on is opened anew after a pause, as at a reboot."""
        exit_signals(self._stop)
        state = self._config.device.state_dir
        make_folders(state + "/log")
        lock = Lock(state)
        lock.take()
        try:
            while not self._stopping:
                await self._live()
        finally:
            lock.release()
            if self._driver and self._driver.stuck:
                self._report("a tool does not end; leaving it")
                os._exit(1)

    async def _live(self):
        """One life: from opening the log to a signal, or to what makes another opening due."""
        reserve = bytearray(_RESERVE)
        self._driver = None
        self._began_ms = now_ms()
        try:
            self._driver = self._open()
            await self._driver.run()
        except MemoryError:
            reserve = None
            if not self._blame():
                self._say_why("out of memory")
                await self._pause()
        except LogError as e:
            self._say_why("log: %s" % e)
            await self._pause()
        except UnknownRecord:
            raise
        except Exception as e:  # a defect may end a turn, by its limit of restarts; not the daemon
            self._say_why("%s: %s" % (type(e).__name__, e))
            await self._pause()
        finally:
            if self._medium:
                self._medium.close()
        del reserve

    def _blame(self):
        """Find the turn that ran out of memory; False if a pause is due: it is not the first time.

        The next life ends it. One that is answered gets another try at sending that answer.
        """
        agent = self._driver.agent if self._driver else None
        seq = agent.at if agent and agent.state.turn(agent.at) else 0
        if agent:
            self._again = seq == self._culprit
            self._culprit = seq
        self._driver = agent = None
        gc.collect()
        if not seq or self._again:
            return False
        self._report("out of memory in the turn of ask %d; starting again from the log" % seq)
        return True

    def _end_culprit(self, agent):
        turn = agent.state.turn(self._culprit)
        if turn and (self._again or not turn.answer):
            agent.end(turn.seq, "out of memory")

    def _say_why(self, why):
        """Tell a person why there is a pause, once in a row."""
        if why != self._why or now_ms() - self._began_ms > _LASTING_MS:
            self._report("%s; trying again every %d s" % (why, _RESTART_S))
            self._report("if that does not help: keep the state folder, enroll the device again")
        self._why = why

    async def _pause(self):
        for _ in range(10 * _RESTART_S):
            if not self._stopping:
                await asyncio.sleep(0.1)

    def _stop(self):
        self._stopping = True
        if self._driver:
            self._driver.stop()

    def _open(self):
        """The agent as the log says it is, and a driver for it."""
        config = self._config
        limits = self._limits
        self._medium = medium = FileMedium(
            config.device.state_dir + "/log",
            config.log.segments,
            config.log.segment_kib * 1024,
            config.log.program_unit,
        )
        sign = wire.subkey(self._key, "log").sign
        log = Log(medium, genesis(config.device.name), sign, config.log.record_bytes)
        agent = Agent(log, self._tools, limits)
        self._facts.agent = agent
        try:
            agent.open(now_ms(), os.urandom(wire.NONCE), self._board.reset_outputs(), __version__)
        finally:
            for note in log.notes:
                self._report("log: " + note)
        self._end_culprit(agent)
        self._report(
            "%s, epoch %d, %d records, %d open turns"
            % (config.device.name, agent.epoch, log.seq, len(agent.turns))
        )
        link = Link(agent, self._key, os.urandom)
        return Driver(
            config.device.name,
            agent,
            link,
            self._session(limits, link.message_bytes),
            self._dial,
            self._report,
            now_ms,
            config.broker.keepalive_s * 3 // 2,
            config.broker.session_expiry_s,
        )

    def _session(self, limits, up_bytes):
        broker = self._config.broker
        return mqtt.Session(
            "mote-" + self._config.device.name,
            user=broker.user or None,
            password=self._password,
            keepalive_s=broker.keepalive_s,
            will=("mote/%s/state" % self._config.device.name, OFFLINE, True),
            expiry_s=broker.session_expiry_s,
            rx_bytes=max(limits.ask_bytes, limits.part_bytes) + _HEAD_ROOM,
            tx_bytes=up_bytes + _HEAD_ROOM,
        )

    async def _dial(self):
        if self._serial:
            return await self._serial.dial()
        broker = self._config.broker
        return await connect(broker.host, broker.port, self._tls)


__all__ = ("Daemon", "UnknownRecord")
