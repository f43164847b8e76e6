"""The storm's model: a Chat Completions server outside of the gateway's process, which counts.

What it replies depends on nothing but the newest ask in the conversation and on how many tool
results follow it. Each call that it orders has a token of its own: what ran twice shows.
"""

import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
KINDS = ("talk", "read", "once", "both", "twice", "long")
_ASK = re.compile(r"storm (\S+) (\d+) (\w+)")
_READ = ("look", {})
_UNAVAILABLE = 0.02  # share of requests that are refused with 503
_CUT = 0.01  # and of those whose answer ends in the middle
_THINKING_S = (0.0, 0.15)
_LONG = 1500  # characters of a long answer


@dataclass(frozen=True, slots=True)
class Asked:
    """One ask: who is asked, its number, and what the model is to do about it."""

    device: str
    number: int
    kind: str

    @property
    def text(self) -> str:
        """What is published."""
        return f"storm {self.device} {self.number} {self.kind}"

    @property
    def answer(self) -> str:
        """What the model says in the end."""
        said = f"answer to {self.device} {self.number}"
        return said + " " + "x" * _LONG if self.kind == "long" else said

    def replies(self) -> list[list[tuple[str, dict[str, Any]]]]:
        """The calls of each reply before the last one."""
        token = f"{self.device}.{self.number}"
        once = [("dispense", {"token": f"{token}.{n}"}) for n in range(2)]
        return {
            "talk": [],
            "long": [],
            "read": [[_READ]],
            "once": [[once[0]]],
            "both": [[_READ, once[0]]],
            "twice": [[once[0]], [_READ], [once[1]]],
        }[self.kind]


def asked_in(text: str) -> Asked:
    """The ask that a message holds; a note on a restart may follow it."""
    found = _ASK.match(text)
    assert found, text
    return Asked(found[1], int(found[2]), found[3])


class Model:
    """Serves replies, and counts: `completed` replies, when each began and ended, by request."""

    def __init__(self, seed: int) -> None:
        self.port = 0
        self.refused = 0
        self.completed: Counter[tuple[str, int, int]] = Counter()
        self.begun: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)
        self.moments: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)
        self._chance = random.Random(f"{seed}/model")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, EOFError, asyncio.CancelledError):
            while body := await _request(reader):
                if not await self._answer(json.loads(body), writer):
                    break
        writer.close()

    async def _answer(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Answer a request; False if the connection is to end."""
        key, reply = _reply(asked["messages"])
        self.begun[key].append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._chance.uniform(*_THINKING_S))
        draw = self._chance.random()
        if draw < _UNAVAILABLE:
            self.refused += 1
            writer.write(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return True
        whole = json.dumps(reply).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        head += b"Content-Length: %d\r\n\r\n" % len(whole)
        if draw < _UNAVAILABLE + _CUT:
            self.refused += 1
            writer.write(head + whole[: len(whole) // 2])
            await writer.drain()
            return False
        writer.write(head + whole)
        await writer.drain()
        self.completed[key] += 1
        self.moments[key].append(asyncio.get_running_loop().time())
        return True


@asynccontextmanager
async def served(seed: int) -> AsyncIterator[Model]:
    """A model that listens on a port of loopback."""
    model = Model(seed)
    server = await asyncio.start_server(model.serve, HOST, 0)
    model.port = server.sockets[0].getsockname()[1]
    try:
        yield model
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    size = 0
    while line := (await reader.readline()).strip().lower():
        if line.startswith(b"content-length:"):
            size = int(line.split(b":")[1])
    return await reader.readexactly(size) if size else b""


def _reply(messages: list[dict[str, Any]]) -> tuple[tuple[str, int, int], dict[str, Any]]:
    """(device, ask and results so far: the model request), and the completion that answers it."""
    newest = max(at for at, message in enumerate(messages) if message["role"] == "user")
    asked = asked_in(messages[newest]["content"])
    results = sum(message["role"] == "tool" for message in messages[newest:])
    due = results
    calls: list[tuple[str, dict[str, Any]]] = []
    for reply in asked.replies():
        if due == 0:
            calls = reply
            break
        due -= len(reply)
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else asked.answer}
    if calls:
        message["tool_calls"] = [
            {
                "id": f"c{results}.{n}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for n, (name, arguments) in enumerate(calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    completion = {"id": "x", "object": "chat.completion", "choices": [choice]}
    return (asked.device, asked.number, results), completion
