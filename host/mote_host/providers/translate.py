"""What every chat API's translation needs: tool arguments as JSON, and ids for calls."""

from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

from mote_host.providers.base import Arguments, Request

UNREADABLE = "unreadable_arguments"
"""The key under which a model gets back arguments that were not a JSON object."""


def read_arguments(text: str) -> Arguments:
    """A JSON object from `text`, or `text` itself if it isn't one.

    Blank text is an empty object: several servers send it for tools without parameters. NaN,
    which JSON does not have, and lone surrogates, which no device can store, are unreadable.
    """
    if not text.strip():
        return {}
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def arguments_object(arguments: Arguments) -> dict[str, Any]:
    """Arguments as an object. Servers parse those of earlier turns and refuse what isn't one."""
    return arguments if isinstance(arguments, dict) else {UNREADABLE: arguments}


def make_ids(given: Iterable[str | None], request: Request) -> list[str]:
    """An id for each call of a reply, unique in its conversation.

    A given id is kept if it is not empty and not taken; the others become call_N, where N counts
    the conversation's calls: the same conversation gives the same ids.
    """
    taken = {call.id for message in request.messages for call in message.calls}
    number = sum(len(message.calls) for message in request.messages)
    ids: list[str] = []
    for item in given:
        new = item or ""
        while not new or new in taken:
            new = f"call_{number}"
            number += 1
        taken.add(new)
        ids.append(new)
    return ids
