"""Find a tool's arguments in the words of a clause: quantities, switches, choices, quotes."""

import re
from dataclasses import dataclass
from typing import Any

from mote_host.providers.base import ToolSpec
from mote_host.providers.words import FALSE, TRUE, Clause, stem, words_of

Unit = tuple[str, float]
"""What is measured, and how many base units one of it is."""

_TABLE = {
    ("time", 0.001): "ms millisecond milliseconds",
    ("time", 1.0): "s sec secs second seconds",
    ("time", 60.0): "min mins minute minutes",
    ("time", 3600.0): "h hr hrs hour hours",
    ("time", 86400.0): "day days",
    ("percent", 1.0): "% percent percentage",
    ("degree", 1.0): "°c c celsius deg degree degrees °",
    ("fahrenheit", 1.0): "°f f fahrenheit",
    ("volume", 1.0): "ml millilitre millilitres milliliter milliliters",
    ("volume", 1000.0): "l litre litres liter liters",
    ("length", 1.0): "mm millimetre millimetres millimeter millimeters",
    ("length", 10.0): "cm centimetre centimetres centimeter centimeters",
    ("frequency", 1.0): "hz hertz",
    ("frequency", 1000.0): "khz kilohertz",
}
UNITS: dict[str, Unit] = {word: unit for unit, words in _TABLE.items() for word in words.split()}
_SPELLED = {
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "four": 4.0,
    "five": 5.0,
    "six": 6.0,
    "seven": 7.0,
    "eight": 8.0,
    "nine": 9.0,
    "ten": 10.0,
    "eleven": 11.0,
    "twelve": 12.0,
}

_UNIT = r"%|°[a-z]?|[^\W\d_]+"
# A number that is part of a word, a range (3-5), a date or "2,5" is not a quantity.
_NUMBER = re.compile(
    r"(?<![\w.,:/-])(?P<number>-?(?:\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})|" + "|".join(_SPELLED) + r")"
    r"(?![\d:/]|,\d|\.\d|\s*-\s*\d)(?P<near>" + _UNIT + r")?(?:\s*(?P<next>" + _UNIT + r"))?"
)
_UNCLEAR = re.compile(r"[^\s\"']*\d[^\s\"']*")
# "min", "l" and "c" are other words before they are units.
_MIN_UNIT_WORD = 4
_SWITCHED = re.compile(r"\b(?:turn|switch|put|set)(?:ed|ing)? (on|off)\b|\b(on|off)\W*$")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of an ask; `unit` None is a bare number, beside the words before and after it."""

    value: float
    unit: Unit | None
    text: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A tool's arguments, what it still needs, and which quantities found no parameter."""

    arguments: dict[str, Any]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    fits: int


def quantities(clause: Clause) -> list[Quantity]:
    """The clause's numbers, in order. A spelled number counts only with a word after it.

    Digits that are no plain number ("1/2", "3-5") come last, in a unit that fits nothing.
    """
    text = clause.text.lower()
    for quote in clause.quotes:
        text = text.replace(quote.lower(), " ")
    found = []
    rest = text
    for match in _NUMBER.finditer(text):
        word, near, after = match["number"], match["near"], match["next"] or ""
        if word in _SPELLED and (near or not after):
            continue
        unit = UNITS.get(near or after)
        if near and unit is None:
            unit = (near, 1.0)  # "3kg" is no bare number, even if kg is unknown here
        shown = f"{word}{near or ''}" + (f" {after}" if not near and unit else "")
        value = _SPELLED[word] if word in _SPELLED else float(word)
        before = words_of(text[: match.start()])[-1:]
        found.append(Quantity(value, unit, shown, "".join(before), after))
        start, end = match.span("number")
        rest = rest[:start] + " " * (end - start) + rest[end:]
    unclear = (Quantity(0.0, ("unclear", 1.0), odd, "", "") for odd in _UNCLEAR.findall(rest))
    return [*found, *unclear]


def switch_of(clause: Clause) -> bool | None:
    """What the clause orders of a switch; None if nothing, or both."""
    explicit = {a or b for a, b in _SWITCHED.findall(clause.text.lower())}
    heard = explicit or set(clause.words)
    on, off = bool(heard & TRUE), bool(heard & FALSE)
    return on if on != off else None


def fill(tool: ToolSpec, clause: Clause, switch: bool | None) -> Filled:
    """A tool's arguments from one clause and its switch."""
    properties = properties_of(tool)
    own = words_of(tool.name)  # the 2 of pump_2 is no argument
    left = [q for q in quantities(clause) if q.unit or q.text not in own]
    arguments: dict[str, Any] = _place(properties, left)
    quotes = list(clause.quotes)
    for key, schema in properties.items():
        kind = _type(schema)
        if kind == "boolean" and switch is not None:
            arguments[key] = switch
        elif kind == "string" and "enum" not in schema and quotes:
            arguments[key] = quotes.pop(0)
        elif kind == "string" and (choice := _choice(schema, clause)) is not None:
            arguments[key] = choice
    missing = [k for k in tool.parameters.get("required") or () if k not in arguments]
    return Filled(
        {key: arguments[key] for key in properties if key in arguments},
        tuple(_need(key, properties.get(key, {})) for key in missing),
        tuple(quantity.text for quantity in left),
        len(arguments),
    )


def properties_of(tool: ToolSpec) -> dict[str, dict[str, Any]]:
    """A tool's parameters by name."""
    declared = tool.parameters.get("properties") or {}
    return {key: schema for key, schema in declared.items() if isinstance(schema, dict)}


def has_switch(tool: ToolSpec) -> bool:
    """Whether a tool can be told to stop: by a switch, a choice or its own name."""
    words = set(words_of(tool.name))
    for schema in properties_of(tool).values():
        words |= {word for value in schema.get("enum") or () for word in words_of(str(value))}
        if _type(schema) == "boolean":
            return True
    return bool(FALSE & words)


def _place(properties: dict[str, dict[str, Any]], left: list[Quantity]) -> dict[str, int | float]:
    """Give quantities to numeric parameters: by name, then by unit, then in order.

    What is given is taken out of `left`.
    """
    placed: dict[str, int | float] = {}
    numeric = {k: v for k, v in properties.items() if _type(v) in ("number", "integer")}
    for fits in (_named, _measured, _bare):
        for key, schema in numeric.items():
            for quantity in left if key not in placed else ():
                value = fits(key, schema, quantity)
                if value is not None:
                    placed[key] = value
                    left.remove(quantity)
                    break
    return placed


def _named(key: str, schema: dict[str, Any], quantity: Quantity) -> int | float | None:
    """The value where the parameter's name stands beside the number: "6 sides", "sides 6"."""
    stems = {stem(word) for word in words_of(key)}
    if stem(quantity.after) not in stems and stem(quantity.before) not in stems:
        return None
    return _convert(key, schema, quantity)


def _measured(key: str, schema: dict[str, Any], quantity: Quantity) -> int | float | None:
    return _convert(key, schema, quantity) if quantity.unit else None


def _bare(key: str, schema: dict[str, Any], quantity: Quantity) -> int | float | None:
    return None if quantity.unit else _convert(key, schema, quantity)


def _convert(key: str, schema: dict[str, Any], quantity: Quantity) -> int | float | None:
    """The quantity in the parameter's unit; None if it measures something else."""
    value = quantity.value
    if quantity.unit is not None:
        unit = _unit_of(key, schema)
        if unit is None or unit[0] != quantity.unit[0]:
            return None
        value = round(value * quantity.unit[1] / unit[1], 9)
    if "enum" in schema and value not in schema["enum"]:
        return None
    if value.is_integer():
        return int(value)
    return None if _type(schema) == "integer" else value


def _unit_of(key: str, schema: dict[str, Any]) -> Unit | None:
    """A parameter's unit: its `unit`, else one in its name, else one in its description."""
    declared = str(schema.get("unit") or "").strip().lower()
    if declared:
        return UNITS.get(declared, (declared, 1.0))
    name = words_of(key)
    suffix = name[-1:] if len(name) > 1 else ()  # duration_s, but neither min_level nor l
    described = re.findall(r"%|[^\W_]+", str(schema.get("description") or "").lower())
    telling = [w for w in (*name, *described) if w == "%" or len(w) >= _MIN_UNIT_WORD]
    return next((UNITS[word] for word in (*suffix, *telling) if word in UNITS), None)


def _choice(schema: dict[str, Any], clause: Clause) -> Any:
    """The member of an enum that the clause names, in words or in quotes."""
    spoken = f" {' '.join(clause.words)} "
    for value in schema.get("enum") or ():
        name = " ".join(words_of(str(value)))
        if str(value) in clause.quotes or (name and f" {name} " in spoken):
            return value
    return None


def _type(schema: dict[str, Any]) -> str:
    declared = schema.get("type", "string")
    if isinstance(declared, list):
        declared = next((item for item in declared if item != "null"), "string")
    return str(declared)


def _need(key: str, schema: dict[str, Any]) -> str:
    """How a missing argument is named to a person: with its unit or its choices."""
    if schema.get("enum"):
        return f"{key} ({', '.join(str(value) for value in schema['enum'])})"
    if _type(schema) == "boolean":
        return f"{key} (on or off)"
    if _type(schema) == "string":
        return f"{key} (in quotes)"
    return f"{key} ({schema['unit']})" if schema.get("unit") else key
