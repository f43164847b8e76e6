"""The Messages API with tool use.

Source: Anthropic API reference, "Create a Message" (version 2023-06-01) and the guide "Tool use".
Roles alternate, so the results of one turn's calls, and the user's next words, travel in a single
user message; results come first in it.
"""

import json
from typing import Any

import httpx
from pydantic import BaseModel

from mote_host.providers.base import Arguments, Call, Message, Reply, Request
from mote_host.providers.http import Endpoint
from mote_host.providers.translate import arguments_object, make_ids

DEFAULT_BASE_URL = "https://api.anthropic.com"
API_VERSION = "2023-06-01"

Block = dict[str, Any]


class _Block(BaseModel):
    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Usage(BaseModel):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Answer(BaseModel):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None


class Anthropic:
    """A model behind the Messages API at `base_url`; None is Anthropic's own.

    `timeout_s` bounds each exchange. A `client` that is passed in stays the caller's to close.
    Raises ConfigError for an unusable URL or key.
    """

    def __init__(
        self,
        base_url: str | None,
        model: str,
        api_key: str | None = None,
        name: str = "anthropic",
        *,
        timeout_s: float = 60,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.name = name
        self._model = model
        self._endpoint = Endpoint(
            name,
            # The path below adds /v1; people copy the base URL with and without it.
            (base_url or DEFAULT_BASE_URL).strip().rstrip("/").removesuffix("/v1"),
            api_key=api_key,
            auth={"x-api-key": "{key}"},
            timeout_s=timeout_s,
            client=client,
        )

    async def complete(self, request: Request) -> Reply:
        """Return the model's reply. Raises ProviderError."""
        data = await self._endpoint.post(
            "/v1/messages", lambda: self._body(request), {"anthropic-version": API_VERSION}
        )
        return self._reply(self._endpoint.parse(_Answer, data), request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": request.max_tokens,
            "messages": _messages(request.messages),
        }
        if request.system:
            body["system"] = request.system
        if request.tools:
            body["tools"] = [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": tool.parameters,
                }
                for tool in request.tools
            ]
        return body

    def _reply(self, answer: _Answer, request: Request) -> Reply:
        ordered = [block for block in answer.content if block.type == "tool_use"]
        if not all(block.name for block in ordered):
            raise self._endpoint.shape_error("content", "a tool_use block without a name")
        ids = make_ids((block.id for block in ordered), request)
        usage = answer.usage or _Usage()
        # Tokens that came from the cache are not counted in input_tokens, but were read.
        tokens_in = (
            (usage.input_tokens or 0)
            + (usage.cache_creation_input_tokens or 0)
            + (usage.cache_read_input_tokens or 0)
        )
        return Reply(
            text="".join(b.text or "" for b in answer.content if b.type == "text"),
            calls=tuple(
                Call(new, block.name or "", _arguments(block.input))
                for new, block in zip(ids, ordered, strict=True)
            ),
            tokens_in=max(tokens_in, 0),
            tokens_out=max(usage.output_tokens or 0, 0),
            truncated=answer.stop_reason in ("max_tokens", "model_context_window_exceeded"),
        )


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if not blocks:  # an empty message is refused
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"].extend(blocks)
        else:
            merged.append({"role": role, "content": blocks})
    return merged


def _blocks(message: Message) -> list[Block]:
    if message.role == "tool":
        return [
            {"type": "tool_result", "tool_use_id": message.call_id, "content": message.text},
        ]
    # A text block that is blank is refused by the API.
    blocks: list[Block] = [{"type": "text", "text": message.text}] if message.text.strip() else []
    for call in message.calls:
        blocks.append(
            {
                "type": "tool_use",
                "id": call.id,
                "name": call.name,
                "input": arguments_object(call.arguments),
            }
        )
    return blocks


def _arguments(sent: Any) -> Arguments:
    if sent is None:
        return {}
    return sent if isinstance(sent, dict) else json.dumps(sent)
