"""Joins a serial port to a broker: the packets of the device there, the bytes of the broker back.

Theory of operation. Neither side can see the other one end: TCP ends, and a UART has no carrier; a
device is reset, and TCP goes on. So connections to the broker follow the device's CONNECT packets:
each one opens a new TCP connection and ends the one before, if there is any. When TCP ends, what
was under way is dropped and the device is told in MQTT, between two packets of the broker: with
"server unavailable" in answer to a CONNECT, else with DISCONNECT. These are the only bytes that
are the bridge's own.

Bounds. To the broker: a packet (at most mqtt_framing.MAX_PACKET_BYTES) and 6 KiB here, a packet
and BUFFER_BYTES in the connection, KERNEL_BYTES in the kernel; beyond that the port is not read.
To the device: BUFFER_BYTES, and what asyncio reads at once, at most 256 KiB; beyond that the
connection is not read. Whoever takes nothing for STALL_S loses the connection.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from mote_host.config import BrokerSettings
from mote_host.errors import ConfigError
from mote_host.mqtt_framing import BrokerStream, farewell, refusal
from mote_host.mqtt_stream import Broken, Connect, DeviceStream, Event
from mote_host.serial_port import PortGone, SerialPort

BUFFER_BYTES = 16384
KERNEL_BYTES = 65536  # what the kernel holds for the broker; Linux takes it twice
DIAL_S = 10.0
STALL_S = 30.0
RETRY_S = 1.0

Tell = Callable[[str, str], None]
"""Called with a word for what changed (connected, reset, lost, ...) and a line for people."""


@dataclass(eq=False)
class _Link:
    """A connection to the broker, and the task that brings its bytes to the device."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    version: int
    down: BrokerStream = field(default_factory=BrokerStream)
    task: asyncio.Task[None] | None = None


class Bridge:
    """Serves one port until it is cancelled; `tell` hears of each change."""

    def __init__(self, port: SerialPort, broker: BrokerSettings, tell: Tell) -> None:
        self._port = port
        self._broker = broker
        self._where = f"{broker.host}:{broker.port}"
        self._tell = tell
        self._tls = _tls(broker)
        self._stream = DeviceStream()
        self._group: asyncio.TaskGroup  # while the port is served
        self._link: _Link | None = None
        self._why = ""
        self._useless = 0

    async def run(self) -> None:
        """Never returns. Raises ConfigError if the port can't be had at the beginning.

        A port that goes away later is waited for. Cancelled, it gives the port back as it was.
        """
        port = self._port
        port.open()
        try:
            while True:
                self._tell("listening", f"{port.path} at {port.baud} baud, for {self._where}")
                await self._serve()
                await self._replugged()
        finally:
            port.close()

    async def _replugged(self) -> None:
        self._port.close()
        while True:
            await asyncio.sleep(RETRY_S)
            with suppress(ConfigError):
                self._port.open()
                return

    async def _serve(self) -> None:
        """Relay until the port is gone."""
        self._stream = stream = DeviceStream()
        async with asyncio.TaskGroup() as self._group:
            try:
                while True:
                    await self._receive(stream)
                    while event := stream.next_event():
                        await self._handle(event)
            except PortGone as exc:
                self._tell("unplugged", f"{exc}; waiting for it to come back")
            finally:
                await self._drop()

    async def _receive(self, stream: DeviceStream) -> None:
        due = stream.deadline()
        left_s = None if due is None else max(0.0, (due - _now_ms()) / 1000)
        try:
            async with asyncio.timeout(left_s):
                data = await self._port.read()
        except TimeoutError:
            stream.poll(_now_ms())
        else:
            stream.receive(data, _now_ms())

    async def _handle(self, event: Event) -> None:
        if isinstance(event, Connect):
            await self._connect(event)
        elif isinstance(event, Broken):
            # Most likely it starts anew: what it was told now, it would take for an answer later.
            await self._lost(self._link, f"the device sends no MQTT: {event.why}", tell=False)
        elif self._link:
            await self._forward(self._link, event.data)
        else:
            self._useless += len(event.data)  # the device has yet to hear that nobody is there

    # -- the connection to the broker

    async def _connect(self, event: Connect) -> None:
        """Dial for the device, and hand its CONNECT over."""
        if self._link and not self._stream.leaving:
            self._tell("reset", "the device connects anew: it was reset, or it gave up waiting")
        await self._drop()
        # what is left of the connection before is nothing that the device waits for
        self._port.discard()
        try:
            self._link = link = await self._dial(event.version)
        except OSError as exc:  # TimeoutError too
            self._unreachable(_words(exc))
            await self._say(refusal(event.version))
            return
        link.task = self._group.create_task(self._pump(link))
        self._why = ""
        dropped, self._useless = event.dropped + self._useless, 0
        before = f" ({dropped} bytes before it went nowhere)" if dropped else ""
        self._tell("connected", f"the device to {self._where}{before}")
        await self._forward(link, event.packet)

    async def _dial(self, version: int) -> _Link:
        async with asyncio.timeout(DIAL_S):
            reader, writer = await asyncio.open_connection(
                self._broker.host,
                self._broker.port,
                ssl=self._tls,
                limit=BUFFER_BYTES // 2,  # it stops reading at twice that
            )
        writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        # or the kernel takes megabytes for a broker that takes nothing
        kernel = writer.get_extra_info("socket")
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        return _Link(reader, writer, version)

    def _unreachable(self, why: str) -> None:
        """Say it once: the device tries again and again."""
        if why != self._why:
            self._tell("unreachable", f"{self._where}: {why}; the device may try again")
        self._why = why

    async def _forward(self, link: _Link, data: bytes) -> None:
        try:
            link.writer.write(data)
            async with asyncio.timeout(STALL_S):
                await link.writer.drain()
        except OSError as exc:  # TimeoutError too
            await self._lost(link, _words(exc, "the broker takes nothing"))

    async def _pump(self, link: _Link) -> None:
        """Bring the broker's bytes to the device until one of them ends."""
        try:
            while data := await link.reader.read(BUFFER_BYTES):
                await self._write(data, link.down)
            why = "the device disconnected" if self._stream.leaving else "the broker hung up"
        except PortGone:
            return  # who reads from the port finds out too, and ends this connection
        except OSError as exc:  # TimeoutError too
            why = _words(exc, "the device takes nothing")
        await self._lost(link, why)

    async def _lost(self, link: _Link | None, why: str, *, tell: bool = True) -> None:
        """End a connection, unless it ended before, and tell the device if it can be told."""
        if link is None or link is not self._link:
            return
        await self._drop()
        self._tell("lost", why)
        if tell and link.down.between and not self._stream.leaving:
            with suppress(PortGone):  # who reads from the port finds out too
                await self._say(farewell(link.version))

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        link.writer.transport.abort()
        if link.task and link.task is not asyncio.current_task():
            link.task.cancel()
            await asyncio.wait([link.task])

    async def _say(self, data: bytes) -> None:
        """A word of our own to the device, if it listens."""
        with suppress(TimeoutError):
            await self._write(data)

    async def _write(self, data: bytes, stream: BrokerStream | None = None) -> None:
        """Write all of it to the port. Raises PortGone, and TimeoutError after STALL_S."""
        while data:
            async with asyncio.timeout(STALL_S):
                n = await self._port.write(data)
            if stream:
                stream.receive(data[:n])
            data = data[n:]


def _tls(broker: BrokerSettings) -> ssl.SSLContext | None:
    if not broker.tls:
        return None
    try:
        return ssl.create_default_context(cafile=broker.ca_file or None)
    except OSError as exc:
        raise ConfigError(
            f"--ca {broker.ca_file}: {_words(exc)}: a file in PEM form is due"
        ) from exc


def _words(exc: OSError, slow: str = "no answer") -> str:
    """Why a connection failed; `slow` for a time-out of our own."""
    if isinstance(exc, TimeoutError) and not exc.args:
        return f"{slow} in time"
    if isinstance(exc, ConnectionError) and exc.errno:
        return os.strerror(exc.errno)  # asyncio puts the address there
    return getattr(exc, "verify_message", None) or exc.strerror or str(exc)


def _now_ms() -> int:
    return time.monotonic_ns() // 1000000
