"""A device's tool declarations as a model may see them: JSON Schema."""

import math
from typing import Any, Literal

from mote import records as r
from mote.msgpack import FormatError, Unpacker
from mote.tools import Param, Tool, Toolset

from mote_host.providers.base import ToolSpec

MAX_PARAMETERS = 32

_EFFECTS: dict[int, Literal["READ", "IDEMPOTENT", "ONCE"]] = {
    r.READ: "READ",
    r.IDEMPOTENT: "IDEMPOTENT",
    r.ONCE: "ONCE",
}
_TYPES = {
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "text": "string",
    "choice": "string",
}


def read_declaration(data: bytes) -> ToolSpec:
    """The tool in the bytes of one declaration. Raises FormatError."""
    u = Unpacker(data)
    u.array(6)
    name, about, effect = u.str(), u.str(), u.int()
    u.int()  # its time-out
    u.value()  # what it touches
    if effect not in _EFFECTS:
        raise FormatError(f"{name} has the unknown effect class {effect}")
    count = u.array()
    if count > MAX_PARAMETERS:
        raise FormatError(f"{name} has {count} parameters; the limit is {MAX_PARAMETERS}")
    properties = dict(_parameter(u) for _ in range(count))
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return ToolSpec(name, about, schema, _EFFECTS[effect])


def is_one(data: bytes) -> bool:
    """Whether these are the bytes of one declaration: neither less nor more than its array.

    A set of tools is known by the hash of all its declarations, one after the other: the same
    bytes cut elsewhere are other tools under the same hash.
    """
    u = Unpacker(data)
    try:
        whole = isinstance(u.value(), list) and not u.more()
    except FormatError:
        return False
    return whole


def toolset(declarations: list[bytes]) -> Toolset:
    """The declared tools as the core has them, to check arguments with. Raises FormatError."""
    return Toolset([_tool(data) for data in declarations], max(map(len, declarations), default=0))


def _tool(data: bytes) -> Tool:
    u = Unpacker(data)
    u.array(6)
    name, about, effect, timeout_s, touches = u.str(), u.str(), u.int(), u.int(), u.value()
    params = []
    for _ in range(u.array()):
        u.array(6)
        params.append(Param(u.str(), u.str(), u.value(), u.value(), u.str(), u.str()))
    return Tool(None, name, about, effect, params, timeout_s, touches)


def _parameter(u: Unpacker) -> tuple[str, dict[str, Any]]:
    u.array(6)
    name, kind, low, high = u.str(), u.str(), u.value(), u.value()
    unit, about = u.str(), u.str()
    if kind not in _TYPES:
        raise FormatError(f"parameter {name} is of the unknown type {kind}")
    schema: dict[str, Any] = {"type": _TYPES[kind]}
    if kind in ("integer", "number"):
        schema |= {key: n for key, n in (("minimum", low), ("maximum", high)) if _finite(n)}
    elif kind == "text" and _finite(high):
        schema["maxLength"] = high
    elif kind == "choice":
        schema["enum"] = _options(name, low)
    if unit:
        schema["unit"] = unit
    # A model that ignores the key `unit` reads it here.
    words = f"{about} (in {unit})" if about and unit else about or (unit and f"in {unit}")
    if words:
        schema["description"] = words
    return name, schema


def _finite(n: object) -> bool:
    """Whether JSON can carry it as a bound."""
    return isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n)


def _options(name: str, low: object) -> list[str]:
    if not isinstance(low, list) or not all(isinstance(option, str) for option in low):
        raise FormatError(f"the options of {name} are not a list of strings")
    return low
