"""A TCP proxy between MQTT clients and a broker that does to connections what networks do.

Each connection and each direction of it has a plan of its own, drawn from the seed, the proxy's
name and the number of the connection (faults.py). So the same seed gives the same faults at the
same bytes; what the two ends make of it in the meantime is theirs.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from mote_host.demo.brokers import HOST
from mote_host.demo.listening import listening

from tests.bench.packets import CONNECT, PUBLISH, Packets, again, kind, read_publish, version
from tests.e2e import faults
from tests.e2e.faults import CALM, Fault, Mix

UP, DOWN = "up", "down"
_CHUNK = 4096
_RECORDED = 16384  # bytes of a client that a clone can repeat
_RUN = 4  # packets that a delay or a slow stretch is good for
_LATE_S = (0.05, 0.8)
_SWAP_S = 0.3  # a packet that waits for another one waits no longer
_DIAL_S = 5.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


class Proxy:
    """Listens on `port`, a port of loopback, and passes on to `far_port` there.

    `counts` has what was done, by kind. `mix` may be changed at any time; with CALM, also what was
    planned already does not happen any more.
    """

    def __init__(self, name: str, far_port: int, mix: Mix, seed: int) -> None:
        self.port = 0
        self.mix = mix
        self.far_port = far_port
        self.connections = 0
        self.counts: Counter[str] = Counter()
        self._name = name
        self._seed = seed

    def chance(self, *what: object) -> random.Random:
        """Randomness of its own for `what`."""
        return random.Random(f"{self._seed}/{self._name}/{what}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        self.connections += 1
        await _Link(self, self.connections, reader, writer).run()


@asynccontextmanager
async def proxied(name: str, far_port: int, mix: Mix, seed: int) -> AsyncIterator[Proxy]:
    """A proxy that listens while the context lasts."""
    proxy = Proxy(name, far_port, mix, seed)
    async with listening(proxy.serve) as proxy.port:
        yield proxy


class _EndedError(Exception):
    """A fault ends the connection; `reset` says how."""

    def __init__(self, reset: bool) -> None:
        super().__init__(reset)
        self.reset = reset


class _Link:
    """One connection of a client, and that to the broker."""

    def __init__(
        self,
        proxy: Proxy,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.proxy = proxy
        self.level = 5
        self.recorded = b""
        self.clones: set[asyncio.Task[None]] = set()
        self._number = number
        self._near = reader, writer

    async def run(self) -> None:
        """Until one end is done, or a fault ends it."""
        reader, writer = self._near
        reset = False
        try:
            async with asyncio.timeout(_DIAL_S):
                far_reader, far_writer = await asyncio.open_connection(HOST, self.proxy.far_port)
        except OSError:
            _close(writer, True)
            return
        ways = (
            _Way(self, UP, reader, far_writer, self._number),
            _Way(self, DOWN, far_reader, writer, self._number),
        )
        pumps = [asyncio.create_task(way.run()) for way in ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            reset = any(_reset(pump) for pump in pumps if pump.done())
        finally:
            for task in (*pumps, *self.clones):
                task.cancel()
            await asyncio.gather(*pumps, *self.clones, return_exceptions=True)
            for end in (writer, far_writer):
                _close(end, reset)

    def clone(self, seconds: float) -> None:
        """Send what the client has sent on a connection of its own."""
        task = asyncio.create_task(self._repeat(seconds))
        self.clones.add(task)

    async def _repeat(self, seconds: float) -> None:
        with suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection(HOST, self.proxy.far_port)
            try:
                writer.write(self.recorded)
                async with asyncio.timeout(seconds):
                    while await reader.read(_CHUNK):
                        pass
            finally:
                writer.close()


class _Way:
    """One direction of a connection: packets in, packets out, faults in between."""

    def __init__(
        self,
        link: _Link,
        way: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self._link = link
        self._way = way
        self._reader = reader
        self._writer = writer
        self._proxy = link.proxy
        self._chance = link.proxy.chance(number, way)
        self._plan = link.proxy.mix.plan(link.proxy.chance(number, way, "plan"))
        self._fault = next(self._plan, None)
        self._passed = 0
        self._held: bytes | None = None  # swapped: waits for the packet that follows
        self._lagging = 0  # packets that a delay is still good for,
        self._lag_s = 0.0
        self._creeping = 0  # and a slow stretch
        self._turn = asyncio.Lock()
        self._late: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the stream ends. Raises _EndedError, OSError."""
        packets = Packets()
        try:
            while data := await self._read():
                for packet in packets.feed(data):
                    self._look(packet)
                    for out in self._spread(packet):
                        await self._pass(out)
            await self._release()
            await self._write(packets.rest)
        finally:
            for task in self._late:
                task.cancel()

    async def _read(self) -> bytes:
        """The next bytes; a packet that was held back goes out if none come for a while."""
        if self._held is not None:
            try:
                async with asyncio.timeout(_SWAP_S):
                    return await self._reader.read(_CHUNK)
            except TimeoutError:
                await self._release()
        return await self._reader.read(_CHUNK)

    async def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._pass(held)

    def _look(self, packet: bytes) -> None:
        if kind(packet) == CONNECT:
            self._link.level = version(packet)
        if self._way == UP and len(self._link.recorded) < _RECORDED:
            self._link.recorded += packet

    # -- messages

    def _spread(self, packet: bytes) -> list[bytes]:
        """The packets to pass on now in place of this one."""
        what = None
        if kind(packet) == PUBLISH:
            publish = read_publish(packet, self._link.level)
            # a broker has heard of an alias before it loses anything: TCP leaves nothing out
            if not (publish.aliased and publish.topic):
                what = self._proxy.mix.of_message(self._chance, publish.qos)
        held, self._held = self._held, None
        behind = [] if held is None else [held]
        if what is None:
            return [packet, *behind]
        self._proxy.counts[what] += 1
        if what == faults.DROP:
            return behind
        if what == faults.REPEAT:
            return [packet, again(packet) if packet[0] & 6 else packet, *behind]
        if what == faults.SWAP:
            self._held = packet
            return behind
        task = asyncio.create_task(self._later(packet))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return behind

    async def _later(self, packet: bytes) -> None:
        await asyncio.sleep(self._chance.uniform(*_LATE_S))
        with suppress(OSError):
            await self._write(packet)

    # -- the stream

    async def _pass(self, packet: bytes) -> None:
        """Pass a packet on, or let the fault strike that is due with it."""
        self._passed += len(packet)
        fault = self._fault
        if fault and self._passed > fault.at:
            self._fault = next(self._plan, None)
            if self._proxy.mix is not CALM:
                await self._strike(fault, packet)
        if self._lagging:
            self._lagging -= 1
            await asyncio.sleep(self._lag_s)
        await self._write(packet)

    async def _strike(self, fault: Fault, packet: bytes) -> None:
        """Do what the fault is about; what it does not end goes on. Raises _EndedError."""
        self._proxy.counts[fault.kind] += 1
        if fault.kind == faults.STALL:
            await asyncio.sleep(fault.seconds)
        elif fault.kind == faults.DELAY:
            self._lagging, self._lag_s = _RUN, fault.seconds
        elif fault.kind == faults.SLOW:
            self._creeping = _RUN
        elif fault.kind == faults.CLONE:
            self._link.clone(fault.seconds)
        else:
            if fault.kind == faults.TRUNCATE:
                await self._write(packet[: max(1, len(packet) // 2)])
            elif fault.kind == faults.HALF_OPEN:
                await self._swallow(fault.seconds)
            raise _EndedError(fault.kind not in (faults.FIN, faults.TRUNCATE))

    async def _swallow(self, seconds: float) -> None:
        """Read on, and pass nothing on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._reader.read(_CHUNK):
                    pass

    async def _write(self, packet: bytes) -> None:
        """Whole packets, one after the other: late ones come from other tasks."""
        async with self._turn:
            if self._creeping:
                self._creeping -= 1
                while len(packet) > 1:
                    size = self._chance.randint(1, 16)
                    self._writer.write(packet[:size])
                    await self._writer.drain()
                    await asyncio.sleep(0.001)
                    packet = packet[size:]
            self._writer.write(packet)
            await self._writer.drain()


def _reset(pump: "asyncio.Task[None]") -> bool:
    """Whether a pump ended by a reset: a fault's, or the other end's."""
    error = pump.exception()
    return error.reset if isinstance(error, _EndedError) else isinstance(error, OSError)


def _close(writer: asyncio.StreamWriter, reset: bool) -> None:
    """Close; behind a reset, by another one."""
    if reset and not writer.is_closing():
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
    writer.close()
