"""A TCP relay that counts the bytes each way and shows them to a listener.

All that is counted is payload of TCP: its own headers, and those of IP, come on top.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

UP, DOWN = "up", "down"
_CHUNK = 65536
_QUIET_S = 0.35  # longer than a device waits for company before it uploads a record

Listener = Callable[[str, bytes], None]


class Relay:
    """Bytes `up` to the far end and `down` from it, summed over all connections."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.up = 0
        self.down = 0
        self.listener: Listener | None = None
        self._far = (host, port)

    def counts(self) -> tuple[int, int]:
        """(up, down)."""
        return self.up, self.down

    async def quiet(self) -> None:
        """Wait until nothing was counted for a while."""
        before = None
        while before != self.counts():
            before = self.counts()
            await asyncio.sleep(_QUIET_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until either end is done with it."""
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._far)
            pumps = [
                asyncio.ensure_future(self._pump(UP, reader, far_writer)),
                asyncio.ensure_future(self._pump(DOWN, far_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                far_writer.close()
        writer.close()

    async def _pump(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if way == UP:
                    self.up += len(data)
                else:
                    self.down += len(data)
                if self.listener:
                    self.listener(way, data)
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def relaying(host: str, port: int) -> AsyncIterator[Relay]:
    """A relay on a port of loopback to `host`:`port`, while the context lasts."""
    relay = Relay(host, port)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        # the callback that asyncio makes of this may not end as cancelled
        with suppress(asyncio.CancelledError):
            await relay.serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
