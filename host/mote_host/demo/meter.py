"""A TCP relay between a client and its server that counts the bytes each way.

All that is counted is payload of TCP: its own headers, and those of IP, come on top.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from mote_host.demo.listening import listening

UP, DOWN = "up", "down"
_CHUNK = 65536

Listener = Callable[[str, bytes], None]
"""Called with UP or DOWN and the bytes that went that way."""


@dataclass(slots=True)
class Meter:
    """Bytes as counted at the relay: `up` from the client, `down` to it."""

    port: int = 0
    up: int = 0
    down: int = 0
    connections: int = 0
    listener: Listener | None = None

    @property
    def total(self) -> int:
        """Both ways together."""
        return self.up + self.down

    def count(self, way: str, data: bytes) -> None:
        """Bytes went that way."""
        if way == UP:
            self.up += len(data)
        else:
            self.down += len(data)
        if self.listener:
            self.listener(way, data)


@asynccontextmanager
async def metered(host: str, port: int) -> AsyncIterator[Meter]:
    """A meter that listens on loopback and relays to `host`:`port` while the context lasts."""
    meter = Meter()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meter.connections += 1
        await _relay(meter, reader, writer, host, port)

    async with listening(serve) as meter.port:
        yield meter


async def _relay(
    meter: Meter,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
) -> None:
    with suppress(OSError):
        far_reader, far_writer = await asyncio.open_connection(host, port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(meter, UP, reader, far_writer))
                group.create_task(_pump(meter, DOWN, far_reader, writer))
        except* OSError:
            pass
        finally:
            far_writer.close()
    writer.close()


async def _pump(
    meter: Meter, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while data := await reader.read(_CHUNK):
        meter.count(way, data)
        writer.write(data)
        await writer.drain()
    writer.write_eof()
