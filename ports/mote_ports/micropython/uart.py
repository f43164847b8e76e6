"""A serial port on MicroPython, for asyncio: a board's UART, or the unix port's device."""

import asyncio

_BOARD = "UART:"  # begins the name of a board's
_BUFFER = 1024  # bytes that come while nobody reads: 90 ms at 115200 baud
_CLOCAL = 0x800  # of Linux, but for PowerPC and Alpha; the module has no name for it


def speeds():
    """The baud rates that can be set here, or None if that is not known."""
    termios = _termios()
    names = [name[1:] for name in dir(termios) if name[:1] == "B"] if termios else []
    return sorted([int(name) for name in names]) or None


def open_port(path, baud):
    """Open the port at `path`, or UART 1 of a board as "UART:1". Raises OSError.

    Where MicroPython was built without termios, the port must be as it should be already:
    `stty -F PATH BAUD raw -echo clocal min 0 time 0`.
    """
    if path.startswith(_BOARD):
        return _board_port(int(path[len(_BOARD) :]), baud)
    file = open(path, "r+b")  # noqa: SIM115
    termios = _termios()
    try:
        if termios:
            _make_raw(termios, file.fileno(), getattr(termios, "B%d" % baud))
    except BaseException:
        file.close()
        raise
    return Port(file)


def _board_port(number, baud):
    from machine import UART

    # no time-outs: a read returns what is there, a write what it took
    return Port(UART(number, baudrate=baud, timeout=0, rxbuf=_BUFFER))


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
        end = getattr(self._file, "deinit", None) or self._file.close
        end()
