"""A board's console: all that it said, waiting for a text, and running Python on its REPL.

The raw REPL (MicroPython documentation, "REPL") takes a program up to Ctrl-D, says OK, and then
sends what the program printed, Ctrl-D, the traceback if there was one, and Ctrl-D.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

from mote_host.errors import MoteError

_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
_INTERRUPT_TO_RAW = b"\r\x03\x03\x01"
_END = b"\x04"
_TAIL = 600  # bytes of the console that an error shows
_CHUNK = 65536
_WAIT_S = 20.0

Listener = Callable[[bytes], None]
"""Called with what the board printed, as it comes."""


class BoardError(MoteError):
    """The emulated board or its emulator did not do what it should."""


class BoardTimeout(BoardError):
    """The board did not say in time what was waited for."""


class BoardTraceback(BoardError):
    """A program on the board raised; the text is the board's traceback."""


class Console:
    """The console of one board over all its power cuts; `listener` gets what comes.

    A text is found once: each wait looks behind what the one before it found.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener
        self._said = bytearray()
        self._seen = 0
        self._arrived = asyncio.Event()
        self._running = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def transcript(self) -> str:
        """All that the board has printed since the first power-on."""
        return self._said.decode(errors="replace").replace("\r\n", "\n")

    async def attach(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Go on with the streams of a QEMU that starts."""
        await self.detach()
        self._writer = writer
        self._seen = len(self._said)  # what a board said before its power cut is no answer
        self._task = asyncio.create_task(self._receive(reader))
        self._task.add_done_callback(lambda _: self._arrived.set())

    async def detach(self) -> None:
        """End the reader task, after it has taken what is there, and the connection."""
        if self._writer is None or self._task is None:
            return
        done, _ = await asyncio.wait([self._task], timeout=1.0)
        if not done:
            self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        self._writer = None

    async def send(self, data: str | bytes) -> None:
        """Type on the board's console. Raises BoardError if the board is off."""
        if self._writer is None:
            raise BoardError("the board is off")
        self._writer.write(data.encode() if isinstance(data, str) else data)
        with suppress(OSError):  # it has ended: whoever waits for its answer will hear why
            await self._writer.drain()

    async def wait_for(self, pattern: str, timeout_s: float = _WAIT_S) -> str:
        r"""Wait until the regular expression is found; returns what matched.

        `^.*ready.*\n` is a whole line. Raises BoardTimeout, or BoardError if QEMU ends.
        """
        found = await self._find(re.compile(pattern.encode(), re.MULTILINE), pattern, timeout_s)
        return _text(found[0])

    async def execute(self, code: str, timeout_s: float = _WAIT_S) -> str:
        """Run a program on the REPL, ending what runs there; returns what it printed.

        Raises BoardTraceback if it raises, BoardTimeout if it does not end in time.
        """
        async with self._running:
            await self._enter(code, timeout_s)
            printed = await self._until(_END, "the program's end", timeout_s)
            raised = await self._until(_END, "the program's end", timeout_s)
        if raised:
            raise BoardTraceback(_text(raised))
        return _text(printed)

    async def submit(self, code: str, timeout_s: float = _WAIT_S) -> None:
        """Start a program that need not end: one that resets the board, or hangs."""
        async with self._running:
            await self._enter(code, timeout_s)

    async def _enter(self, code: str, timeout_s: float) -> None:
        await self.send(_INTERRUPT_TO_RAW)
        await self._until(_BANNER, "the raw REPL", timeout_s)
        await self.send(code.encode() + b"\n" + _END)  # without a line it would be a soft reset
        await self._until(b"OK", "the program's start", timeout_s)

    async def _until(self, mark: bytes, what: str, timeout_s: float) -> bytes:
        start = self._seen
        found = await self._find(re.compile(re.escape(mark)), what, timeout_s)
        return bytes(self._said[start : found.start()])

    async def _find(
        self, wanted: re.Pattern[bytes], what: str, timeout_s: float
    ) -> re.Match[bytes]:
        try:
            async with asyncio.timeout(timeout_s):
                while not (found := wanted.search(self._said, self._seen)):
                    self._check_alive(what)
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise BoardTimeout(f"no {what!r} in {timeout_s:g} s; {self._tail()}") from None
        self._seen = found.end()
        return found

    def _check_alive(self, what: str) -> None:
        if self._task is None or self._task.done():
            raise BoardError(f"the board is off, no {what!r} will come; {self._tail()}")

    def _tail(self) -> str:
        return f"the console ends with {_text(self._said[-_TAIL:])!r}"

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self._said += data
                self._arrived.set()
                if self._listener:
                    self._listener(data)


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="replace").replace("\r\n", "\n")
