"""A serial port in raw mode, for one task that reads and any that write. Linux and macOS."""

import asyncio
import errno
import fcntl
import os
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mote_host.errors import ConfigError, MoteError

READ_BYTES = 4096
_NAMES = ("ttyUSB*", "ttyACM*", "ttyAMA*", "serial*", "cu.usb*")
_GONE = (errno.ENXIO, errno.EIO, errno.ENODEV, errno.ENOENT, errno.EPERM)


class PortGone(MoteError):
    """The port does not answer any more: the adapter was unplugged."""


def speeds() -> list[int]:
    """The baud rates that this system knows."""
    names = (name[1:] for name in dir(termios) if name.startswith("B"))
    return sorted(int(name) for name in names if name.isdigit() and int(name))


class SerialPort:
    """The port at `path`; 8 data bits, no parity, and RTS/CTS flow control if `rtscts`."""

    def __init__(self, path: str, baud: int, *, rtscts: bool = False) -> None:
        if baud not in speeds():
            known = ", ".join(str(speed) for speed in speeds() if speed >= 9600)
            raise ConfigError(f"--baud {baud}: not a speed of this system; known: {known}")
        self.path = path
        self.baud = baud
        self._rtscts = rtscts
        self._fd = -1
        self._saved: list[Any] = []
        self._writing = asyncio.Lock()

    def open(self) -> None:
        """Open it for us alone. Raises ConfigError, whose text says what to do."""
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as exc:
            raise ConfigError(f"--port {self.path}: {_advice(exc)}") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.ioctl(self._fd, termios.TIOCEXCL)
            self._saved = termios.tcgetattr(self._fd)
            termios.tcsetattr(self._fd, termios.TCSANOW, self._raw())
            termios.tcflush(self._fd, termios.TCIOFLUSH)
        except (OSError, termios.error) as exc:
            # Nothing else is undone: the port may be somebody else's.
            os.close(self._fd)
            self._fd = -1
            raise ConfigError(f"--port {self.path}: {_advice(exc)}") from exc

    def close(self) -> None:
        """Give it back as it was."""
        if self._fd < 0:
            return
        with suppress(OSError, termios.error):  # it may be unplugged
            # else what waits for a reader that is not there would keep close() waiting
            termios.tcflush(self._fd, termios.TCIOFLUSH)
            termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        os.close(self._fd)
        self._fd = -1

    def discard(self) -> None:
        """Drop what the kernel has not sent yet."""
        with suppress(OSError, termios.error):
            termios.tcflush(self._fd, termios.TCOFLUSH)

    async def read(self) -> bytes:
        """Wait for bytes: 1 to READ_BYTES. Raises PortGone. Safe to cancel."""
        loop = asyncio.get_running_loop()
        while True:
            await _ready(loop.add_reader, loop.remove_reader, self._fd)
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise self._gone(exc.strerror) from exc
            if not data:
                raise self._gone("it hung up")
            return data

    async def write(self, data: bytes) -> int:
        """Wait until there is room; returns how many bytes went out, 1 or more. Raises PortGone.

        Safe to cancel: then none did.
        """
        loop = asyncio.get_running_loop()
        async with self._writing:  # an event loop has room for one writer of a descriptor
            while True:
                await _ready(loop.add_writer, loop.remove_writer, self._fd)
                try:
                    return os.write(self._fd, data)
                except BlockingIOError:
                    continue
                except OSError as exc:
                    raise self._gone(exc.strerror) from exc

    def _gone(self, why: object) -> PortGone:
        return PortGone(f"{self.path} is gone: {why}")

    def _raw(self) -> list[Any]:
        """Eight bits as they are, whatever a modem's lines say."""
        speed = getattr(termios, f"B{self.baud}")
        flags = termios.CS8 | termios.CREAD | termios.CLOCAL
        if self._rtscts:
            flags |= termios.CRTSCTS
        chars = list(self._saved[6])
        chars[termios.VMIN] = 1
        chars[termios.VTIME] = 0
        return [0, 0, flags, 0, speed, speed, chars]


async def _ready(
    add: Callable[..., None], remove: Callable[[int], object], descriptor: int
) -> None:
    """Wait until the descriptor can be read from, or written to."""
    ready = asyncio.Event()
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)


def _advice(exc: Exception) -> str:
    """What is wrong with a port, and what to do."""
    number = exc.args[0] if exc.args else 0
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK):
        return "another program has it: close the serial monitor, or the other bridge"
    if number == errno.EACCES:
        return (
            "permission denied: become a member of the group that owns it (dialout on Debian:"
            " sudo usermod -aG dialout $USER) and log in again"
        )
    if number == errno.ENOTTY:
        return "it is not a serial port"
    if number in _GONE:
        found = sorted(str(port) for name in _NAMES for port in Path("/dev").glob(name))
        there = f"there are: {', '.join(found)}" if found else "plug the adapter in"
        return f"there is no such port; {there}"
    return str(getattr(exc, "strerror", None) or exc)
