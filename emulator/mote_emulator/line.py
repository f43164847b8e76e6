"""The line from a board's UART to this machine: a pseudo terminal that outlives power cuts.

As with an adapter in a USB socket, the port stays while the board behind it is switched off and
on. `mote bridge --port PATH` joins it to a broker.
"""

import os
import tty
from contextlib import suppress

_CHUNK = 65536


class Line:
    """QEMU writes and reads one end, `file`; programs of this machine open the other, `path`."""

    def __init__(self) -> None:
        self.file, self._port = os.openpty()
        self.path = os.ttyname(self._port)
        tty.setraw(self._port)
        os.set_blocking(self.file, False)

    def lose(self) -> None:
        """Drop what was sent to a board that is off."""
        with suppress(BlockingIOError):
            while os.read(self.file, _CHUNK):
                pass

    def close(self) -> None:
        """Give the terminal back. While it is open, the port never hangs up."""
        os.close(self._port)
        os.close(self.file)
