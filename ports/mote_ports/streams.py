"""Byte streams to the broker: TCP, with TLS if its files are given, through asyncio.

What goes wrong is an OSError whose last argument has the words for it: what, and where it helps
what to do.
"""

import asyncio
import time

_CONNECT_S = 20
_IPPROTO_TCP = 6  # MP: names neither
_TCP_NODELAY = 1  # MP: lwIP's is another one, and it has the name
_HUNG_UP = (0, 32, 104)  # nothing came; EPIPE, ECONNRESET


class Stream:
    """A connection; reads go into the caller's buffer. `target` is (host, port, CAs or "")."""

    def __init__(self, reader, writer, target):
        self._reader = reader
        self._writer = writer
        self._target = target
        self._began = False  # something came
        # MP: streams can read into a buffer; CPython's can't, and copying is cheap there
        self._readinto = getattr(reader, "readinto", None)

    async def read(self, buf):
        """Wait for bytes; returns how many came, 0 at the end of the stream. Raises OSError."""
        try:
            n = await self._read(buf)
        except (OSError, ValueError) as e:
            raise self._told(e) from None
        if not n and self._target[2] and not self._began:
            raise self._told(OSError(0))
        self._began = True
        return n

    async def _read(self, buf):
        if self._readinto:
            return await self._readinto(buf) or 0
        data = await self._reader.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def write(self, data):
        """Queue `data`; the caller may use its buffer again at once. Raises OSError."""
        try:
            # MP: sends or copies; CPython 3.12 would keep the view
            self._writer.write(data if self._readinto else bytes(data))
        except (OSError, ValueError) as e:
            raise self._told(e) from None

    async def drain(self):
        """Wait until what was queued is with the kernel. One caller at a time. Raises OSError.

        MP: the handshake of TLS happens here, or in write and read.
        """
        try:
            await self._writer.drain()
        except (OSError, ValueError) as e:
            raise self._told(e) from None

    def close(self):
        """Drop the connection, and what the kernel does not have yet."""
        socket = getattr(self._reader, "s", None)
        if socket:  # MP: close() of its streams does nothing
            socket.close()
        else:  # close() would wait for a peer that reads no more
            self._writer.transport.abort()

    def _told(self, error):
        return _told(error, self._target, self._began)


def _told(error, target, began=False, cert=None):
    """An OSError in words."""
    from .reasons import error_number, network_reason  # only a failing connection loads it

    host, _, trusted = target
    number = error_number(error)
    by_tls = _is_of_tls(error, number)
    hung_up = not began and number in _HUNG_UP and not by_tls
    if trusted and (hung_up or by_tls):
        from .refusals import HUNG_UP, refusal  # only a failing connection loads it

        said = OSError(0, HUNG_UP) if hung_up else error
        return refusal(said, target, cert, time.gmtime())
    return OSError(number, network_reason(error, host))


def _is_of_tls(error, number):
    # ssl.SSLError; MP: mbedTLS's own codes, and how it refuses a certificate
    return hasattr(error, "library") or isinstance(error, ValueError) or number < -100


def _send_at_once(reader):
    """TCP_NODELAY, or each exchange waits for delayed acknowledgements (40 ms on Linux)."""
    end = getattr(reader, "s", None)  # MP: has it; asyncio on CPython sets it by itself
    if hasattr(end, "setsockopt"):
        import socket

        end.setsockopt(_IPPROTO_TCP, getattr(socket, "TCP_NODELAY", _TCP_NODELAY), 1)


async def connect(host, port, tls=None):
    """Open a Stream. Raises OSError, or asyncio.TimeoutError after 20 s.

    `tls` is None, or where the CAs are that are trusted, for people, and a function that makes a
    context and may raise ValueError. With it, the server must prove to be `host`; without a clock
    that can be right there is no connection.
    MP: a refused connection shows only at the first read.
    """
    target = (host, port, tls[0] if tls else "")
    context = _context(tls[1]) if tls else None
    try:
        opening = asyncio.open_connection(
            host, port, ssl=context, server_hostname=host if tls else None
        )
        reader, writer = await asyncio.wait_for(opening, _CONNECT_S)
        _send_at_once(reader)
    except asyncio.TimeoutError:  # on CPython it is an OSError
        raise
    except (OSError, ValueError) as e:
        cert = await _look(e, host, port) if tls else None
        raise _told(e, target, False, cert) from None
    return Stream(reader, writer, target)


def _context(make):
    from .refusals import clock_fault

    fault = clock_fault(time.gmtime())
    if fault:
        raise OSError(0, fault)
    try:
        return make()
    except ValueError as e:
        raise OSError(0, str(e)) from None


async def _look(error, host, port):
    """The certificate that was refused, if it helps to have it."""
    from .refusals import is_about_dates_or_names

    if not is_about_dates_or_names(error):
        return None
    from .system import certificate_of  # a board has none

    return await certificate_of(host, port)
