"""A serial port instead of a network: MQTT on a UART, which `mote bridge` joins to a broker.

Theory of operation. A UART has no carrier: no end of a connection is ever seen, neither ours nor
the broker's. So a connection begins by making the line quiet: what comes in is dropped until
nothing came for 100 ms, which takes what is left of the connection before, boot messages and
noise. It ends when the session finds it dead (silence, or what is no MQTT); the port stays open
for the next one. Only a port that fails (its adapter was unplugged) is closed, and opened anew.

Nothing is read ahead: what nobody reads stays in the kernel's buffer, or the chip's, and from
there stops the sender where the line has flow control. What is written goes out in a task.
"""

import asyncio
import sys

if sys.implementation.name == "micropython":
    from .micropython.uart import open_port, speeds
else:
    from .cpython.uart import open_port, speeds

QUIET_MS = 100
NOISE_MS = 2000  # then it won't get quiet; the session will see to it
UNSENT_BYTES = 32768  # that wait; when there are more, the line takes too little
_CHUNK = 64  # bytes that a port takes at once if it says that it takes any


class SerialPort:
    """The port at `path`, 8 data bits, no parity; for one stream at a time.

    `open(path, baud)` gives what stands for the port: get(buf), a coroutine that waits and returns
    how many bytes came, 0 if the port is gone; writable(), one that waits for room; put(data),
    which returns how many bytes it took or None; close(). They raise OSError.
    """

    def __init__(self, path, baud, now_ms, open=open_port):
        self._path = path
        self._baud = baud
        self._now_ms = now_ms
        self._open = open
        self._port = None
        self._buf = memoryview(bytearray(64))

    async def dial(self):
        """A Stream on a line that is quiet, or won't get quiet. Raises OSError."""
        try:
            if not self._port:
                self._port = self._open(self._path, self._baud)
            await self._hush()
        except OSError as e:
            raise self.failed(e) from None
        return Stream(self, self._port)

    async def _hush(self):
        end = self._now_ms() + NOISE_MS
        try:
            while self._now_ms() < end:
                n = await asyncio.wait_for(self._port.get(self._buf), QUIET_MS / 1000)
                if n == 0:
                    raise OSError(19, "unplugged")
        except asyncio.TimeoutError:
            pass

    def failed(self, error):
        """Close the port, since it raised that; returns an OSError in words."""
        from .reasons import os_reason

        port, self._port = self._port, None
        if port:
            port.close()
        number = error.args[0] if error.args else 0
        return OSError(number, "%s: %s" % (self._path, os_reason(error)))


class Stream:
    """A connection over a port; like mote_ports.streams.Stream."""

    def __init__(self, owner, port):
        self._owner = owner
        self._port = port
        self._out = bytearray()
        self._at = 0  # of what in it is sent
        self._sending = None  # the task that sends it
        self._reading = None  # the task of who reads
        self._sent = asyncio.Event()
        self._sent.set()
        self._fault = None

    async def read(self, buf):
        """Wait for bytes; returns how many came. Raises OSError, also if it is closed then."""
        n = None
        while n is None:  # MP: a UART may say that there is something when there is nothing
            self._check()
            n = await self._get(buf)
        if n == 0:
            self._fail(OSError(19, "unplugged"))
        self._check()
        return n

    async def _get(self, buf):
        # In a task, which close() can cancel: there is no end that would wake up who reads.
        self._reading = asyncio.create_task(self._port.get(buf))
        try:
            return await self._reading
        except asyncio.CancelledError:
            self._check()  # it was close(), else it is for who reads
            raise
        except OSError as e:
            self._fail(e)

    def write(self, data):
        """Queue `data`; the caller may use its buffer again at once. Raises OSError."""
        self._check()
        if len(self._out) - self._at > UNSENT_BYTES:
            raise OSError(0, "the serial line takes less than we have to say")
        self._out += data
        if self._sent.is_set():
            self._sent.clear()
            self._sending = asyncio.create_task(self._flush())

    async def drain(self):
        """Wait until what was queued is with the kernel. Raises OSError."""
        await self._sent.wait()
        self._check()

    def close(self):
        """Send no more. The port stays open; whatever is on its way comes to the next stream."""
        self._fault = self._fault or OSError(0, "closed")
        for task in (self._sending, self._reading):
            if task:
                task.cancel()
        self._sent.set()  # who drains it hears of that

    async def _flush(self):
        try:
            while self._at < len(self._out):
                await self._port.writable()
                chunk = self._out[self._at : self._at + _CHUNK]
                self._at += self._port.put(chunk) or 0
        except OSError as e:
            self._fail(e)
        self._out = bytearray()  # MP: it can't be emptied
        self._at = 0
        self._sent.set()

    def _fail(self, error):
        if self._reading:
            self._reading.cancel()  # MP: before the file that it waits for is closed
        self._fault = self._fault or self._owner.failed(error)

    def _check(self):
        if self._fault:
            raise self._fault


__all__ = ("SerialPort", "Stream", "speeds")
