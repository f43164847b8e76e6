"""A serial port on Linux, in raw mode, for asyncio."""

import asyncio
import os
import termios

_GONE = (5, 6)  # EIO, ENXIO


def speeds():
    """The baud rates that can be set here, or None if that is not known."""
    names = [name[1:] for name in dir(termios) if name[:1] == "B"]
    return sorted([int(name) for name in names if name.isdigit() and int(name)])


def open_port(path, baud):
    """Open the port at `path`; see mote_ports.serial. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _make_raw(fd, getattr(termios, "B%d" % baud))
    except BaseException:
        os.close(fd)
        raise
    return Port(fd)


def _make_raw(fd, speed):
    """Eight bits as they are, whatever a modem's lines say."""
    try:
        chars = termios.tcgetattr(fd)[6]
        chars[termios.VMIN] = 1
        chars[termios.VTIME] = 0
        flags = termios.CS8 | termios.CREAD | termios.CLOCAL
        termios.tcsetattr(fd, termios.TCSANOW, [0, 0, flags, 0, speed, speed, chars])
    except termios.error as e:
        raise OSError(*e.args) from None


class Port:
    """An open descriptor."""

    def __init__(self, fd):
        self._fd = fd
        self._loop = asyncio.get_running_loop()

    async def get(self, buf):
        """Wait for bytes; returns how many came, 0 if the port is gone."""
        await self._ready(self._loop.add_reader, self._loop.remove_reader)
        try:
            return os.readv(self._fd, [buf])
        except BlockingIOError:
            return None

    async def writable(self):
        """Wait until there is room."""
        await self._ready(self._loop.add_writer, self._loop.remove_writer)

    def put(self, data):
        """Write what there is room for; returns how many bytes that was, or None."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return None

    def close(self):
        """Close it; whoever waits for it goes on waiting."""
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        os.close(self._fd)
        self._fd = -1

    async def _ready(self, add, remove):
        if self._fd < 0:
            raise OSError(_GONE[0], "closed")
        ready = self._loop.create_future()
        add(self._fd, _resolve, ready)
        try:
            await ready
        finally:
            if self._fd >= 0:  # else its number may be somebody else's
                remove(self._fd)


def _resolve(future):
    if not future.done():
        future.set_result(None)
