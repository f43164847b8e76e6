"""The bytes of a reply, as devices keep them: calls, then text (`mote.body` has the layout)."""

import math
from typing import Any

from mote.msgpack import FormatError, Packer, Unpacker

from mote_host.providers.base import Arguments, Reply

MAX_CALL_BYTES = 480  # of one call; the device reads a reply through a window of 512
MAX_DEPTH = 6  # of arguments
MAX_NAME_CHARS = 64

_CUT = " [cut]"
_NO_TEXT = "(the model returned no text)"
_NO_ROOM = "(the model's calls do not fit into a reply of {} bytes)"


def encode_reply(reply: Reply, limit_bytes: int) -> tuple[bytes, int]:
    """(the reply in at most `limit_bytes`, calls in it).

    A call that does not fit its own limits carries a sentence that says so in place of its
    arguments: the device rejects it, and the model reads why. Calls over the limit are dropped
    from the end, text is cut there and marked.
    """
    body, ncalls = b"", 0
    for call in reply.calls:
        data = _pack_call(call.name, call.arguments)
        if len(body) + len(data) > limit_bytes:
            break
        body += data
        ncalls += 1
    text = reply.text
    if reply.truncated and not reply.calls:
        text += _CUT
    if not text and not ncalls:
        text = _NO_ROOM.format(limit_bytes) if reply.calls else _NO_TEXT
    return body + _cut(text, limit_bytes - len(body)), ncalls


def decode_reply(body: bytes, ncalls: int) -> tuple[list[tuple[str, Arguments]], str]:
    """([(tool, arguments)], text) of a reply. Raises FormatError."""
    unpacker = Unpacker(body)
    calls: list[tuple[str, Arguments]] = []
    for _ in range(ncalls):
        unpacker.array(2)
        name, arguments = unpacker.str(), unpacker.value()
        calls.append((name, arguments if isinstance(arguments, dict) else str(arguments)))
    return calls, bytes(unpacker.rest()).decode(errors="replace")


def _pack_call(name: str, arguments: Arguments) -> bytes:
    name = name.encode(errors="replace").decode()[:MAX_NAME_CHARS]
    try:
        return _pack(name, arguments)
    except (ValueError, TypeError) as exc:  # FormatError is a ValueError, as is a lone surrogate
        return _pack(name, f"the arguments can't be sent to the device: {exc}"[:120])


def _pack(name: str, arguments: Arguments) -> bytes:
    packer = Packer(bytearray(MAX_CALL_BYTES)).array(2).str(name)
    packer.value(arguments, MAX_DEPTH)
    _check_finite(arguments)
    return bytes(packer.taken())


def _check_finite(value: Any) -> None:
    """Raises FormatError for NaN and infinities. The value was packed: it is not deep."""
    if isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"{value} is not a number")
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(inner, (list, tuple, type({}.values()))):
        for item in inner:
            _check_finite(item)


def _cut(text: str, most: int) -> bytes:
    """`text` in at most `most` bytes of UTF-8, with a mark where it was cut."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data
    mark = _CUT.encode()
    if most < len(mark):
        return b""
    return data[: most - len(mark)].decode(errors="ignore").encode() + mark
