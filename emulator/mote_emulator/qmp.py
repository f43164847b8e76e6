"""QEMU's machine protocol: commands with answers, and events, as lines of JSON on a stream.

QEMU documentation, "QEMU Machine Protocol Specification". A reader task sorts what comes: what has
an `event` is kept in `events`, the rest answers the one command that is under way.
"""

import asyncio
import json
from contextlib import suppress
from typing import Any

from mote_emulator.console import BoardError

_ANSWER_S = 10.0


class Qmp:
    """One connection to a QEMU that has just started; `events` holds the names of all so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.events: list[str] = []
        self._reader = reader
        self._writer = writer
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._asking = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._receive())

    async def open(self) -> None:
        """Take QEMU's greeting and leave the negotiation. Raises BoardError if it has ended."""
        await self._answer("its greeting")
        await self.execute("qmp_capabilities")

    async def execute(self, command: str, **arguments: object) -> Any:
        """Run a command; returns what it returned. Raises BoardError with QEMU's reason."""
        async with self._asking:
            request = {"execute": command, "arguments": arguments}
            try:
                self._writer.write(json.dumps(request).encode() + b"\n")
                await self._writer.drain()
            except OSError as exc:
                raise BoardError(f"QEMU has ended: {exc}") from exc
            answer = await self._answer(command)
        if error := answer.get("error"):
            raise BoardError(f"QEMU refuses {command}: {error.get('desc')}")
        return answer.get("return")

    async def wait_for(self, event: str, timeout_s: float = _ANSWER_S) -> None:
        """Wait until that event has come since the start. Raises BoardError."""
        try:
            async with asyncio.timeout(timeout_s):
                while event not in self.events:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise BoardError(f"no event {event} of QEMU in {timeout_s:g} s") from None

    async def close(self) -> None:
        """End the reader task and the connection."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()

    async def _answer(self, what: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await self._answers.get()
        except TimeoutError:
            raise BoardError(f"QEMU does not answer: {what}") from None
        if answer is None:
            self._answers.put_nowait(None)  # for whoever asks next
            raise BoardError(f"QEMU ended before {what}")
        return answer

    async def _receive(self) -> None:
        with suppress(OSError):
            while line := await self._reader.readline():
                message = json.loads(line)
                if "event" in message:
                    self.events.append(message["event"])
                    self._arrived.set()
                else:
                    self._answers.put_nowait(message)
        self._answers.put_nowait(None)
