"""A serial line in memory: the far end of a port, and on request a bridge to a test's broker."""

import asyncio


class Line:
    """A port as mote_ports.serial opens it, and what happens to the wire.

    Without a broker `sent` has what the device wrote. With `dial`, that of the broker, it does as
    a bridge does: a CONNECT opens a connection, bytes go both ways, and nobody is told of an end.
    `spoil(data)` may change what comes down the line.
    """

    def __init__(self, dial=None):
        self.sent = b""
        self.opened = 0
        self.room = 1 << 30  # bytes that the line still takes; widen() if there was none
        self.fault = None  # what every call raises
        self.closed = False
        self.spoil = None
        self._dial = dial
        self._stream = None  # to the broker
        self._waiting = b""  # for the device
        self._news = None
        self._room = None
        self._task = None

    def open(self, path, baud):
        """What SerialPort calls."""
        self._check()
        self.opened += 1
        self.closed = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        return self

    def feed(self, data):
        """Bytes for the device."""
        self._waiting += data
        if self._news:
            self._news.set()

    def widen(self):
        """The line takes bytes again."""
        self.room = 1 << 30
        self._room.set()

    # -- the port

    async def get(self, buf):
        """Wait for bytes."""
        while not self._waiting:
            self._check()
            self._news.clear()
            await self._news.wait()
        self._check()
        n = min(len(buf), len(self._waiting))
        buf[:n] = self._waiting[:n]
        self._waiting = self._waiting[n:]
        return n

    async def writable(self):
        """Wait for room."""
        if not self.room:
            self._room.clear()
            await self._room.wait()

    def put(self, data):
        """Take what there is room for."""
        self._check()
        n = min(len(data), self.room)
        self.room -= n
        self.sent += data[:n]
        if self._dial:
            at = self.sent.find(b"\x04MQTT")
            if at >= 0:
                self.sent = self.sent[max(0, at - 3) :]
                self._stream = None
                self._task = asyncio.create_task(self._connect())
            self._forward()
        return n

    def close(self):
        """The port is given back."""
        self.closed = True

    def _check(self):
        if self.fault:
            raise self.fault

    # -- the bridge

    async def _connect(self):
        stream = self._stream = await self._dial()
        self._forward()
        buf = memoryview(bytearray(4096))
        n = 1
        while n and stream is self._stream:
            n = await stream.read(buf)
            data = bytes(buf[:n])
            self.feed(self.spoil(data) if self.spoil else data)

    def _forward(self):
        if self._stream:
            sent, self.sent = self.sent, b""
            try:
                self._stream.write(sent)
            except OSError:
                self._stream = None  # the broker hung up
