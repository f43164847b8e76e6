"""What the gateway and a model provider say to each other, in nobody's dialect.

The gateway builds a `Request` from a device's replica; a provider translates it at its edge and
returns a `Reply` or raises `ProviderError`. Nothing here knows MQTT, HTTP or a vendor's JSON.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Arguments = dict[str, Any] | str
"""A call's arguments; a string is what the model sent where a JSON object was due."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model may see it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]
    effect: Literal["READ", "IDEMPOTENT", "ONCE"]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that the model ordered; `id` pairs it with its result."""

    id: str
    name: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    user: `text`. assistant: `text` and/or `calls`. tool: `text` is the result of `call_id`.
    The order is that of the chat APIs: an assistant message with calls is followed by one tool
    message for each of its calls.
    """

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    calls: tuple[Call, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A model request. `max_tokens` is the cap of the reply that the device can take."""

    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    max_tokens: int = 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply: `text`, or `calls` (then `text` may be a remark beside them)."""

    text: str
    calls: tuple[Call, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    truncated: bool = False


class Provider(Protocol):
    """One model behind one API."""

    name: str

    async def complete(self, request: Request) -> Reply:
        """Return the model's reply. Raises ProviderError, never anything else."""

    async def aclose(self) -> None:
        """Give back connections."""
