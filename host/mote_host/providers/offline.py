"""A stand-in for a model that needs no key and no network, and says so."""

import json
from itertools import takewhile

from mote_host.providers.base import Call, Message, Reply, Request, ToolSpec
from mote_host.providers.plan import Order, plan
from mote_host.providers.translate import make_ids

PREFIX = "(offline planner) "
MAX_RESULT_CHARS = 300
CHARS_PER_TOKEN = 4

_FAILURES = ("error", "refused", "denied", "outcome unknown", "time-out", "timeout", "timed out")


class Offline:
    """A deterministic planner: it picks tools by the words of the ask and reports their results.

    Every text it writes begins with PREFIX. Token counts are estimates of four characters each.
    """

    name = "offline"

    async def complete(self, request: Request) -> Reply:
        """Return calls for what the ask orders, then a report of their results. Never raises."""
        ask, since = _last_ask(request.messages)
        called = [call for message in since for call in message.calls]
        done = {call.name for call in called}
        made = plan(ask, request.tools)
        orders = [order for order in made.orders if order.tool.name not in done]
        sentences = [] if orders else [*_report(called, since)]
        sentences += made.notes
        if not sentences and not orders:
            sentences.append(_abilities(request.tools))
        return _reply(request, orders, " ".join(sentences))

    async def aclose(self) -> None:
        """Nothing to give back."""


def _last_ask(messages: tuple[Message, ...]) -> tuple[str, list[Message]]:
    """The last user message's text, and the messages after it."""
    since = list(takewhile(lambda message: message.role != "user", reversed(messages)))
    at = len(messages) - len(since) - 1
    return (messages[at].text if at >= 0 else ""), since[::-1]


def _reply(request: Request, orders: list[Order], text: str) -> Reply:
    ids = make_ids((None for _ in orders), request)
    calls = tuple(
        Call(new, order.tool.name, order.arguments) for new, order in zip(ids, orders, strict=True)
    )
    # Beside calls a remark is optional; alone, the answer must never be empty.
    full = PREFIX + text if text or not calls else ""
    limit = request.max_tokens * CHARS_PER_TOKEN
    written = len(full) + sum(
        len(call.name) + len(json.dumps(call.arguments, ensure_ascii=False)) for call in calls
    )
    read = len(request.system) + sum(len(message.text) for message in request.messages)
    return Reply(
        text=full[:limit],
        calls=calls,
        tokens_in=_tokens(read),
        tokens_out=_tokens(min(written, limit)),
        truncated=len(full) > limit,
    )


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)


def _report(called: list[Call], since: list[Message]) -> list[str]:
    """One sentence with the result of each call, in the order asked; none without calls."""
    results = {message.call_id: message.text for message in since if message.role == "tool"}
    told = [_result(call.name, results.get(call.id)) for call in called]
    return ["; ".join(told) + "."] if told else []


def _result(name: str, text: str | None) -> str:
    if text is None:
        return f"{name}: no result"
    shown = " ".join(text.split())
    if len(shown) > MAX_RESULT_CHARS:
        shown = shown[: MAX_RESULT_CHARS - 3] + "..."
    shown = shown.rstrip(".") or "done"
    return f"{name} failed: {shown}" if _is_failure(text) else f"{name}: {shown}"


def _is_failure(text: str) -> bool:
    """A result's own words for failure; `Message` has no mark for it."""
    if text.lstrip().lower().startswith(_FAILURES):
        return True
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value.get("error"))


def _abilities(tools: tuple[ToolSpec, ...]) -> str:
    if not tools:
        return "I only pick tools by the words of the ask, and this device declares none."
    shown = ", ".join(f"{tool.name}({', '.join(_keys(tool))})" for tool in tools)
    return f"I only pick tools by the words of the ask, and none fits. I can call: {shown}."


def _keys(tool: ToolSpec) -> list[str]:
    return list(tool.parameters.get("properties") or {})
