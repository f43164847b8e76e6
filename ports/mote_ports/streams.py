"""Byte streams to the broker: TCP, with TLS if a context is given, through asyncio."""

import asyncio

from .system import tls_context

_CONNECT_S = 20
_IPPROTO_TCP = 6  # MP: names neither
_TCP_NODELAY = 1


class Stream:
    """A connection; reads go into the caller's buffer."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer
        # MP: streams can read into a buffer; CPython's can't, and copying is cheap there
        self._readinto = getattr(reader, "readinto", None)

    async def read(self, buf):
        """Wait for bytes; returns how many came, 0 at the end of the stream."""
        if self._readinto:
            return await self._readinto(buf) or 0
        data = await self._reader.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def write(self, data):
        """Queue `data`; the caller may use its buffer again at once."""
        # MP: sends or copies; CPython 3.12 would keep the view
        self._writer.write(data if self._readinto else bytes(data))

    async def drain(self):
        """Wait until what was queued is with the kernel. One caller at a time."""
        await self._writer.drain()

    def close(self):
        """Drop the connection."""
        self._writer.close()
        socket = getattr(self._reader, "s", None)
        if socket:  # MP: close() of its streams does nothing
            socket.close()


def _send_at_once(reader):
    """TCP_NODELAY, or each exchange waits for delayed acknowledgements (40 ms on Linux)."""
    socket = getattr(reader, "s", None)  # MP: has it; asyncio on CPython sets it by itself
    if hasattr(socket, "setsockopt"):
        socket.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)


async def connect(host, port, tls=False, ca_file=""):
    """Open a Stream. Raises OSError, or asyncio.TimeoutError after 20 s.

    MP: a refused connection shows only at the first read.
    """
    try:
        context = tls_context(ca_file) if tls else None
        opening = asyncio.open_connection(
            host, port, ssl=context, server_hostname=host if tls else None
        )
        reader, writer = await asyncio.wait_for(opening, _CONNECT_S)
        _send_at_once(reader)
    except ValueError as e:  # MP: how mbedTLS refuses a certificate
        raise OSError(0, str(e))
    return Stream(reader, writer)
