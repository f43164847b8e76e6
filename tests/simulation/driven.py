"""A device with the whole driver: MQTT packets over streams, asyncio, the outbox.

The stream ends in the model of the broker, which gets packets taken apart and put together here.
"""

import asyncio
import json
from typing import Any

from chip import PowerCut
from mote import mqtt
from mote import records as r
from mote.log import LogError
from mote.mqtt.packets import Reader, Writer
from mote.turn import CALL
from mote_ports.driver import Driver

from tests.simulation.broker import Connection
from tests.simulation.clock import Loop
from tests.simulation.device import Device
from tests.simulation.invariants import check_bounds
from tests.simulation.violation import Violation, hold

_KEEPALIVE_S = 60
_NEVER_S = 1e9


class Driven:
    """One life of a device whose brain is the driver."""

    def __init__(self, device: Device, agent: Any, link: Any) -> None:
        self.agent, self.link = agent, link
        self.device = device
        self._loop = Loop(device.clock, self._broke)
        device.loops.append(self._loop)
        device.chip.died = self._died
        self._stream: Stream | None = None
        limits = device.limits
        session = mqtt.Session(
            "mote-" + device.name,
            keepalive_s=_KEEPALIVE_S,
            rx_bytes=max(limits.ask_bytes, limits.part_bytes) + 256,
            tx_bytes=max(limits.result_bytes, link.message_bytes) + 256,
        )
        self.driver = Driver(
            device.name,
            agent,
            link,
            session,
            self._dial,
            self._report,
            device.now,
            _KEEPALIVE_S * 3 // 2,
        )

    def begin(self) -> None:
        """The life begins."""
        next_effect = self.agent.next_effect
        self.agent.next_effect = lambda: self._with_world(next_effect())
        self._loop.create_task(self._run())

    def end(self) -> None:
        """It is over."""
        self._loop.kill()
        self._stream = None

    def stall(self, ms: int) -> None:
        """Do nothing for so long."""
        self._loop.stall(ms)

    async def _run(self) -> None:
        try:
            await self.driver.run()
        except LogError as error:
            self.device.trace(self.device.name, "log-error", error)
            self.device.restart()
        except Exception as error:
            self.device.clock.failure = error  # in a daemon: start again from the log

    def _broke(self, text: str) -> None:
        self.device.clock.failure = Violation(f"{self.device.name}: {text}")

    def _report(self, text: str, detail: bool = False) -> None:
        self.device.trace(self.device.name, "detail" if detail else "says", text)

    def _died(self) -> None:
        """The power is gone: nothing runs any more, at once."""
        if self.device.brain is self:
            self.end()
            clock = self.device.clock
            clock.at(clock.now, self._powered_off)

    def _powered_off(self) -> None:
        if self.device.brain is self:
            self.device.power_off("in the flash, or by a tool")

    # -- tools

    def _with_world(self, effect: Any) -> Any:
        """The same effect; a call that is begun there is one in the simulated world."""
        if effect and effect[0] == CALL:
            _, turn, tool, args = effect
            return CALL, turn, _Called(self, tool, (turn.id, turn.index)), args
        return effect

    # -- the broker's client

    async def _dial(self) -> "Stream":
        link = self.device.broker.connect(self.device)
        if not link:
            raise OSError(111, "refused")
        self._stream = Stream(self, link)
        return self._stream

    def arrived(self, tail: str, payload: bytes, pid: int) -> None:
        """A message from the broker."""
        if self._stream:
            self._stream.publish(tail, payload, pid)

    def acknowledged(self, pid: int) -> None:
        """The broker has an answer."""
        if self._stream:
            self._stream.feed(b"\x40\x02" + pid.to_bytes(2, "big"))

    def hung_up(self, link: Connection) -> None:
        """The connection is gone."""
        if self._stream and self._stream.link is link:
            self._stream.over()

    def answered(self, pid: int, payload: bytes) -> None:
        """An answer goes out as that packet."""
        seq, answer = self.driver._out._flying[pid]
        device = self.device
        device.history.answer(seq, answer, payload)
        device.trace(device.name, "answer", f"to {seq}: {json.loads(payload)['status']}")

    def check(self) -> None:
        """RAM is bounded."""
        name, limits = self.device.name, self.device.limits
        check_bounds(name, self.agent, limits)
        hold(len(self.driver._running) <= limits.open_turns, name, "tools that run")
        most = limits.open_turns + limits.seen_asks
        hold(len(self.driver._out._flying) <= most, name, "answers on their way")
        hold(len(self.driver._out._due) <= most, name, "answers that are due")


class _Called:
    """A tool, for one call of it."""

    def __init__(self, life: Driven, tool: Any, key: tuple[bytes, int]) -> None:
        self.name, self.effect, self.timeout_s = tool.name, tool.effect, tool.timeout_s
        self._life, self._tool, self._key = life, tool, key

    async def run(self, **args: int) -> str:
        """Take as long as it takes."""
        tools = self._life.device.tools
        try:
            ms = tools.begin(self._tool, args, self._key)
        except PowerCut:
            self._life._died()
            await asyncio.sleep(_NEVER_S)
        await asyncio.sleep(ms / 1000)
        status, text = tools.finish(self._tool, args)
        if status != r.OK:
            raise ValueError(text)
        return text


class Stream:
    """The device's end of a connection; what is not a whole packet yet waits."""

    def __init__(self, life: Driven, link: Connection) -> None:
        self.link = link
        self._life = life
        self._device = life.device
        self._sent = b""
        self._ready = b""
        self._held: list[bytes] | None = []  # until CONNECT
        self._news = asyncio.Event()
        self._over = False
        self._v5 = 1

    # -- the device's side

    async def read(self, buf: Any) -> int:
        """Wait for bytes; returns how many came, 0 at the end."""
        while not self._ready and not self._over:
            self._news.clear()
            await self._news.wait()
        n = min(len(buf), len(self._ready))
        if n > 1 and self._device.random.random() < 0.2:
            n = self._device.random.randrange(1, n)
        buf[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n

    def write(self, data: Any) -> None:
        """Take bytes."""
        if self._over:
            raise OSError(32, "broken pipe")
        if self._device.brain is not self._life or self._life._stream is not self:
            return
        sent = self._sent + bytes(data)
        reader = Reader(memoryview(sent))
        at = 0
        while len(sent) - at >= 2:
            size, start = _length(sent, at + 1)
            if start < 0 or start + size > len(sent):
                break
            reader.start(start, start + size)
            head, at = sent[at], start + size
            self._take(head, reader)
        self._sent = sent[at:]
        self._life.check()

    async def drain(self) -> None:
        """All is on its way already."""
        await asyncio.sleep(0)

    def close(self) -> None:
        """Drop the connection."""
        self._over = True
        self._news.set()
        connections = self._device.broker.connections
        if connections.get(self._device.name) is self.link:
            self._device.broker.drop(self._device.name)

    # -- the broker's side

    def over(self) -> None:
        """The broker hung up."""
        self._over = True
        self._news.set()
        self._life._loop.pump()

    def feed(self, data: bytes) -> None:
        """Bytes for the device."""
        if self._held is not None:
            self._held.append(data)
            return
        self._ready += data
        self._news.set()
        self._life._loop.pump()

    def publish(self, tail: str, payload: bytes, pid: int) -> None:
        """A PUBLISH for the device."""
        tx = Writer(4096)
        tx.data(f"mote/{self._device.name}/{tail}")
        if pid:
            tx.uint(pid, 2)
        tx.uint(0, self._v5)
        tx.raw(payload)
        self.feed(bytes(tx.end(0x30 | (2 if pid else 0))))

    def _take(self, head: int, reader: Any) -> None:
        broker, kind = self._device.broker, head >> 4
        if kind == 1:
            self._connect(reader)
        elif kind == 3:
            self._publish(head, reader)
        elif kind == 4:
            broker.acknowledge(self.link, reader.pid())
        elif kind == 8:
            pid = reader.pid()
            suback = pid.to_bytes(2, "big") + bytes(self._v5) + b"\x01"
            self._later(bytes([0x90, len(suback)]) + suback)
        elif kind == 12:
            self._later(b"\xd0\0")

    def _later(self, packet: bytes) -> None:
        broker = self._device.broker
        self._device.clock.after(broker.latency(), self._give, packet)

    def _give(self, packet: bytes) -> None:
        if self.link.alive:
            self.feed(packet)

    def _connect(self, reader: Any) -> None:
        reader.text()
        self._v5 = reader.uint(1) - 4
        properties = b""
        if self._v5:
            most = self._device.packet_max
            properties = b"\x27" + most.to_bytes(4, "big") if most else b""
            properties = bytes([len(properties)]) + properties
        held, self._held = self._held or [], None
        self._ready += bytes([0x20, 2 + len(properties), self.link.present, 0]) + properties
        for packet in held:
            self._ready += packet
        self._news.set()

    def _publish(self, head: int, reader: Any) -> None:
        tail = reader.text().rpartition("/")[2]
        pid = reader.pid() if head & 6 else 0
        if self._v5:
            reader.properties()
        payload = bytes(reader.raw(reader.left()))
        device = self._device
        if tail == "up":
            device.up(payload)
        elif tail == "out" and pid:
            self._life.answered(pid, payload)
        if tail != "state":
            device.broker.publish(self.link, device.name, tail, payload, pid)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """(remaining length, where the body begins), -1 if that is not there yet."""
    value = shift = 0
    for n in range(at, min(at + 4, len(data))):
        value |= (data[n] & 127) << shift
        if data[n] < 128:
            return value, n + 1
        shift += 7
    return 0, -1
