"""The turn whose bytes are counted: eight tools, two calls, and a model whose words are fixed.

The same `Model` answers the gateway, and, as a server that speaks Chat Completions over HTTPS, a
device that would do without one.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from mote_host.providers.base import Call, Message, Reply, Request

ASK = "Read the soil moisture, then run the pump for 3 seconds."
ANSWER = "The soil moisture was 31.5 %. I ran the pump for 3 seconds, as you asked."
MODEL = "gpt-4o-mini"
KEY = "sk-" + 48 * "x"

TOOLS = """
from mote.tools import IDEMPOTENT, ONCE, READ, boolean, integer, number, tool


@tool("Read the soil moisture.", READ)
def read_soil_moisture():
    return "31.5 %"


@tool("Read the air temperature.", READ)
def read_temperature():
    return "21.0 C"


@tool("Read the relative humidity of the air.", READ)
def read_humidity():
    return "48 %"


@tool(
    "Run the water pump: dispenses water onto the soil.",
    ONCE,
    number("seconds", 0.1, 30, "s", "how long the pump runs"),
)
def run_pump(seconds):
    return "the pump ran for %s s" % seconds


@tool("Switch the grow lamp on or off.", IDEMPOTENT, boolean("on", "whether the lamp is on"))
def set_lamp(on):
    return "done"


@tool("Switch the fan on or off.", IDEMPOTENT, boolean("on", "whether the fan is on"))
def set_fan(on):
    return "done"


@tool("Open the roof window.", IDEMPOTENT, integer("percent", 0, 100, "%", "how far it is open"))
def set_window(percent):
    return "done"


@tool("Read the level of the water tank.", READ)
def read_tank():
    return "64 %"
"""
"""A module of eight tools; what they return never changes."""

_REPLIES = (
    Reply("", (Call("a", "read_soil_moisture", {}),), 400, 20),
    Reply("", (Call("b", "run_pump", {"seconds": 3}),), 430, 20),
    Reply(ANSWER, (), 460, 25),
)
_HEAD = "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {n}"
_DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
_TIMEOUT_S = 10.0


class Model:
    """A provider that says the same in every turn; `requests` are those of the last one."""

    name = "fixed"

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Reply:
        """The reply that is due after as many tool results as the turn has."""
        at = results(request.messages)
        if at == 0:
            self.requests.clear()
        self.requests.append(request)
        return _REPLIES[at]

    async def aclose(self) -> None:
        """It has nothing to give back."""


def results(messages: tuple[Message, ...]) -> int:
    """How many tool results the newest turn has."""
    return sum(message.role == "tool" for message in own(messages))


def own(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages of the newest turn."""
    newest = max(at for at, message in enumerate(messages) if message.role == "user")
    return messages[newest:]


@asynccontextmanager
async def served(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A Chat Completions server over HTTPS that gives the model's replies; yields its port.

    It sends as few headers as the standards allow, and no field that a client could do without.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        with suppress(asyncio.CancelledError, OSError, EOFError):
            while True:
                writer.write(_respond(await _body(reader)))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _body(reader: asyncio.StreamReader) -> dict[str, Any]:
    size = 0
    while line := (await reader.readline()).strip().lower():
        if line.startswith(b"content-length:"):
            size = int(line.split(b":")[1])
    if not size:
        raise EOFError
    async with asyncio.timeout(_TIMEOUT_S):
        found: dict[str, Any] = json.loads(await reader.readexactly(size))
    return found


def _respond(asked: dict[str, Any]) -> bytes:
    roles = [message["role"] for message in asked["messages"]]
    newest = max(at for at, role in enumerate(roles) if role == "user")
    reply = _REPLIES[roles[newest:].count("tool")]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{call.id:0>24}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in reply.calls
        ]
    completion = {
        "id": "chatcmpl-" + 29 * "x",
        "object": "chat.completion",
        "created": 1772366400,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if reply.calls else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": reply.tokens_in,
            "completion_tokens": reply.tokens_out,
            "total_tokens": reply.tokens_in + reply.tokens_out,
        },
    }
    body = json.dumps(completion, separators=(",", ":")).encode()
    return f"{_HEAD.format(date=_DATE, n=len(body))}\r\n\r\n".encode() + body
