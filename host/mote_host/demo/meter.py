"""A TCP relay between a device and its broker that counts the bytes each way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_CHUNK = 65536


@dataclass(slots=True)
class Meter:
    """Payload bytes of TCP, as counted at the relay: `up` from the device, `down` to it."""

    port: int = 0
    up: int = 0
    down: int = 0
    connections: int = 0


@asynccontextmanager
async def metered(host: str, port: int) -> AsyncIterator[Meter]:
    """A meter that listens on loopback and relays to `host`:`port` while the context lasts."""
    meter = Meter()
    relays: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            relays.add(task)
            task.add_done_callback(relays.discard)
        meter.connections += 1
        # the callback that asyncio makes of this may not end as cancelled
        with suppress(asyncio.CancelledError):
            await _relay(meter, reader, writer, host, port)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    meter.port = server.sockets[0].getsockname()[1]
    try:
        yield meter
    finally:
        server.close()
        for task in tuple(relays):
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)


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
                group.create_task(_pump(meter, "up", reader, far_writer))
                group.create_task(_pump(meter, "down", far_reader, writer))
        except* OSError:
            pass
        finally:
            far_writer.close()
    writer.close()


async def _pump(
    meter: Meter, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while data := await reader.read(_CHUNK):
        setattr(meter, way, getattr(meter, way) + len(data))
        writer.write(data)
        await writer.drain()
    writer.write_eof()
