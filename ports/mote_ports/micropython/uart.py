"""A serial port on MicroPython: a character device on the unix port, for asyncio."""

import asyncio

_CLOCAL = 0x800  # of Linux, but for PowerPC and Alpha; the module has no name for it


def speeds():
    """The baud rates that can be set here, or None if that is not known."""
    termios = _termios()
    names = [name[1:] for name in dir(termios) if name[:1] == "B"] if termios else []
    return sorted([int(name) for name in names]) or None


def open_port(path, baud):
    """Open the port at `path`; see mote_ports.serial. Raises OSError.

    Where MicroPython was built without termios, the port must be as it should be already:
    `stty -F PATH BAUD raw -echo clocal min 0 time 0`.
    """
    file = open(path, "r+b")  # noqa: SIM115
    termios = _termios()
    try:
        if termios:
            _make_raw(termios, file.fileno(), getattr(termios, "B%d" % baud))
    except BaseException:
        file.close()
        raise
    return Port(file)


def _termios():
    try:
        import termios
    except ImportError:
        return None
    return termios


def _make_raw(termios, fd, speed):
    """Eight bits as they are, whatever a modem's lines say; reads return what is there.

    MP: a file's readinto() goes on until the buffer is full, so it must be told that no more came.
    """
    termios.setraw(fd)
    attributes = termios.tcgetattr(fd)
    attributes[2] |= _CLOCAL
    # VMIN and VTIME to 0; they are the ones that MP gives as numbers
    attributes[6] = [char if isinstance(char, bytes) else 0 for char in attributes[6]]
    attributes[4] = attributes[5] = speed
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


class Port:
    """A file that blocks, or a machine.UART."""

    def __init__(self, file):
        self._file = file
        self._stream = asyncio.StreamReader(file)

    async def get(self, buf):
        """Wait for bytes; returns how many came, 0 if the port is gone."""
        return await self._stream.readinto(buf)

    def writable(self):
        """Wait until there is room: for 64 bytes, as Linux sees it, or a write would block."""
        yield asyncio.core._io_queue.queue_write(self._file)

    def put(self, data):
        """Write `data`; returns how many bytes that was, or None."""
        return self._file.write(data)

    def close(self):
        """Close it."""
        self._file.close()
