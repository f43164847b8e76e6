"""Chat Completions with tools: OpenAI, and the many servers that speak its format.

Source: OpenAI API reference, "Create chat completion", and the `tools` and `tool_calls` objects
in it. Groq, Ollama, llama.cpp, vLLM and OpenRouter document the same under their own base URLs.
"""

import json
from typing import Any

import httpx
from pydantic import BaseModel, Field

from mote_host.providers.base import Arguments, Call, Message, Reply, Request, ToolSpec
from mote_host.providers.http import Endpoint
from mote_host.providers.translate import arguments_object, make_ids, read_arguments


class _Function(BaseModel):
    name: str = Field(min_length=1)
    arguments: str | dict[str, Any] | None = None


class _ToolCall(BaseModel):
    id: str | None = None
    function: _Function


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class OpenAI:
    """A model behind a Chat Completions API at `base_url`, such as https://api.openai.com/v1.

    Without a key no Authorization header is sent. `timeout_s` bounds each exchange. A `client`
    that is passed in stays the caller's to close. Raises ConfigError for an unusable URL or key.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        name: str = "openai",
        *,
        timeout_s: float = 60,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.name = name
        self._model = model
        self._endpoint = Endpoint(
            name,
            base_url,
            api_key=api_key,
            auth={"authorization": "Bearer {key}"},
            timeout_s=timeout_s,
            client=client,
        )
        # OpenAI's reasoning models refuse max_tokens; many other servers know nothing else.
        ours = httpx.URL(base_url.strip()).host == "api.openai.com"
        self._limit_key = "max_completion_tokens" if ours else "max_tokens"

    async def complete(self, request: Request) -> Reply:
        """Return the model's reply. Raises ProviderError."""
        data = await self._endpoint.post("/chat/completions", lambda: self._body(request), {})
        return _reply(self._endpoint.parse(_Completion, data), request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": _messages(request),
            self._limit_key: request.max_tokens,
        }
        if request.tools:  # an empty list is refused by OpenAI
            body["tools"] = [_tool(tool) for tool in request.tools]
        return body


def _messages(request: Request) -> list[dict[str, Any]]:
    head = [{"role": "system", "content": request.system}] if request.system else []
    return head + [_message(message) for message in request.messages]


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if not message.calls:
        return {"role": message.role, "content": message.text}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": json.dumps(
                    arguments_object(call.arguments),
                    ensure_ascii=False,
                    allow_nan=False,
                    separators=(",", ":"),
                ),
            },
        }
        for call in message.calls
    ]
    return {"role": "assistant", "content": message.text or None, "tool_calls": calls}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function}


def _reply(completion: _Completion, request: Request) -> Reply:
    choice = completion.choices[0]
    message = choice.message
    ordered = message.tool_calls or []
    ids = make_ids((call.id for call in ordered), request)
    usage = completion.usage or _Usage()
    return Reply(
        text=message.content or message.refusal or "",
        calls=tuple(
            Call(new, call.function.name, _arguments(call.function.arguments))
            for new, call in zip(ids, ordered, strict=True)
        ),
        tokens_in=max(usage.prompt_tokens or 0, 0),
        tokens_out=max(usage.completion_tokens or 0, 0),
        truncated=choice.finish_reason == "length",
    )


def _arguments(sent: str | dict[str, Any] | None) -> Arguments:
    # The format says a JSON string; some servers send the object itself.
    return sent if isinstance(sent, dict) else read_arguments(sent or "")
