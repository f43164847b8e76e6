"""The daemon: an agent on what a device has, for as long as it lives.

It is the same on Linux and on a board. What is particular to either comes in as a *device*, which
`process` and `firmware` put together:

    name, key                       as they are in topics; the device's key, 32 bytes
    limits, record_bytes            the core's Limits, [log] record_bytes
    user, password                  at the broker, or None
    keepalive_s, session_expiry_s   of MQTT
    gather_bytes                    that are read from and written to the stream at once
    tools                           a Toolset
    facts                           the Facts whose tools are among them
    board                           `reset_outputs()` names the outputs that the start switched off
    lives                           how many may fail one after the other until the daemon ends, 0:
                                    any number; and `advice`, what else helps then
    now_ms()                        milliseconds, never going back
    open_medium()                   the log's medium; closed after each life if it has `close`
    dial()                          a coroutine: a stream to the broker
"""

import asyncio
import gc
import os

from mote import __version__, mqtt, wire
from mote.agent import Agent, UnknownRecord
from mote.link import Link
from mote.log import Log, LogError, genesis
from mote_ports.driver import OFFLINE, Driver

_RESTART_S = 5
_LASTING_MS = 60000  # a life that was longer was a good one
_RESERVE = 256  # bytes that are given back when memory runs out
_ASK_ROOM = 256  # of a packet around an ask or a part: topic, JSON, MQTT's properties, MAC
_UP_ROOM = 96  # of a packet around what goes up: topic, MQTT
_CONNECT = 64  # more than that in CONNECT beside user and password: identifier, will


class Daemon:
    """One device, until `stop`. `report(text, detail=False)` tells a person."""

    def __init__(self, device, report):
        self._device = device
        self._report = report
        self._stopping = False
        self._why = None
        self._began_ms = 0
        self._failed = 0  # lives in a row that did not last
        self._culprit = 0  # the ask whose turn ran out of memory last,
        self._again = False  # and whether it did so twice in a row
        self._medium = None
        self._driver = None

    @property
    def stuck(self):
        """Whether a tool did not end when it had to."""
        return self._driver is not None and self._driver.stuck

    async def run(self):
        """Until `stop`. A log that can't go on is opened anew after a pause, as at a reboot."""
        while not self._stopping and not 0 < self._device.lives <= self._failed:
            await self._live()

    def stop(self):
        """End `run`."""
        self._stopping = True
        if self._driver:
            self._driver.stop()

    async def _live(self):
        """One life: from opening the log to a signal, or to what makes another opening due."""
        reserve = bytearray(_RESERVE)
        self._driver = None
        self._began_ms = self._device.now_ms()
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
            close = getattr(self._medium, "close", None)
            if close:
                close()
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
        lasted = self._device.now_ms() - self._began_ms > _LASTING_MS
        self._failed = 1 if lasted else self._failed + 1
        if why != self._why or lasted:
            self._report("%s; trying again every %d s" % (why, _RESTART_S))
            self._report("if that does not help: " + self._device.advice)
        self._why = why

    async def _pause(self):
        for _ in range(10 * _RESTART_S):
            if not self._stopping:
                await asyncio.sleep(0.1)

    def _open(self):
        """The agent as the log says it is, and a driver for it."""
        device = self._device
        self._medium = device.open_medium()
        sign = wire.subkey(device.key, "log").sign
        log = Log(self._medium, genesis(device.name), sign, device.record_bytes)
        agent = Agent(log, device.tools, device.limits)
        device.facts.agent = agent
        try:
            agent.open(
                device.now_ms(), os.urandom(wire.NONCE), device.board.reset_outputs(), __version__
            )
        finally:
            for note in log.notes:
                self._report("log: " + note)
        self._end_culprit(agent)
        self._report(
            "%s, epoch %d, %d records, %d open turns"
            % (device.name, agent.epoch, log.seq, len(agent.turns))
        )
        link = Link(agent, device.key, os.urandom)
        gc.collect()  # what opening took, before what lasts is allocated behind it
        return Driver(
            device.name,
            agent,
            link,
            self._session(link.message_bytes),
            device.dial,
            self._report,
            device.now_ms,
            device.keepalive_s * 3 // 2,
            device.session_expiry_s,
            device.gather_bytes,
        )

    def _session(self, up_bytes):
        device = self._device
        limits = device.limits
        secrets = len((device.user or "").encode()) + len((device.password or "").encode())
        return mqtt.Session(
            "mote-" + device.name,
            user=device.user,
            password=device.password,
            keepalive_s=device.keepalive_s,
            will=("mote/%s/state" % device.name, OFFLINE, True),
            expiry_s=device.session_expiry_s,
            rx_bytes=max(limits.ask_bytes, limits.part_bytes) + _ASK_ROOM,
            tx_bytes=max(up_bytes, secrets + _CONNECT) + _UP_ROOM,
        )


__all__ = ("Daemon", "UnknownRecord")
