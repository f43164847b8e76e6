"""Choose declared tools by the words of an ask.

There is no model here, so the plan is careful instead of clever. A clause may name one tool. A
tool that changes something is ordered only if the clause orders it (no question, no condition, no
negation), every required argument is in the clause, and every number of the clause has a place:
a pump must not run because its name came up, nor a lamp burn for ever because "for 5 minutes"
found no parameter. What is left out is named.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from mote_host.providers.base import ToolSpec
from mote_host.providers.values import (
    Filled,
    fill,
    has_switch,
    properties_of,
    quantities,
    switch_of,
)
from mote_host.providers.words import FALSE, STOP, TRUE, VERBS, Clause, clauses, stem, words_of

_NAME_POINTS = 4  # a word of the name outweighs a few of the description
_SWITCHING = frozenset(("turn", "switch", "put", "set"))
_MIN_PREFIX = 4  # "temp" is temperature; "so" is not soil


@dataclass(frozen=True, slots=True)
class Order:
    """A call that the ask orders."""

    tool: ToolSpec
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to call, in the order asked, and sentences about what is left out."""

    orders: tuple[Order, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    tool: ToolSpec
    filled: Filled
    points: int
    sure: bool


def plan(ask: str, tools: Iterable[ToolSpec]) -> Plan:
    """Plan an ask. Each tool is ordered at most once; the first mention counts."""
    declared = tuple(tools)
    orders: dict[str, Order] = {}
    notes: list[str] = []
    parts = _join(clauses(ask), declared)
    switches = _switches(parts)
    for clause, switch in zip(parts, switches, strict=True):
        best = _best(clause, switch, declared)
        if not best:
            continue
        note = _objection(clause, switch, best)
        order = Order(best[0].tool, best[0].filled.arguments)
        if not note and orders.setdefault(order.tool.name, order) != order:
            note = f"I left out a second {order.tool.name}: ask for it again after this."
        if note:
            notes.append(note)
    return Plan(tuple(orders.values()), tuple(dict.fromkeys(notes)))


def _objection(clause: Clause, switch: bool | None, best: list[_Match]) -> str:
    """Why the best match of a clause is not ordered; empty if it is."""
    name, filled = best[0].tool.name, best[0].filled
    if clause.denied:
        return f"I left out {name}: the ask says not to."
    if len(best) > 1:
        names = " or ".join(match.tool.name for match in best)
        return f'I can\'t tell whether "{clause.text}" means {names}.'
    doubt = _doubt(clause, switch, best[0]) if best[0].tool.effect != "READ" else ""
    if doubt:
        return f"I left out {name}: {doubt}."
    if filled.missing:
        return f"I need {' and '.join(filled.missing)} to call {name}."
    return ""


def _doubt(clause: Clause, switch: bool | None, match: _Match) -> str:
    """Why a tool that changes something is not to run on this clause; empty if it is."""
    if not clause.ordered:
        return "I can't judge questions, conditions and times"
    if switch is False and not has_switch(match.tool):
        return "it can't be told to stop"
    if not match.sure:
        return f'"{clause.text}" may mean something else'
    if match.filled.unused and not match.filled.missing:
        return f"it has no parameter for {', '.join(match.filled.unused)}"
    return ""


def _best(clause: Clause, switch: bool | None, tools: tuple[ToolSpec, ...]) -> list[_Match]:
    """The matches with the most points; several if the words fit several tools alike."""
    found = [match for tool in tools if (match := _match(clause, switch, tool))]
    most = max((match.points for match in found), default=0)
    return [match for match in found if match.points == most]


def _match(clause: Clause, switch: bool | None, tool: ToolSpec) -> _Match | None:
    """How well a tool fits a clause; None if no telling word is shared."""
    said = {stem(word) for word in clause.words}
    telling = {stem(word) for word in clause.words if word not in STOP and word not in VERBS}
    name = {stem(word) for word in words_of(tool.name)}
    named = {word for word in name if _heard(word, telling)}
    generic = {stem(word) for word in VERBS | STOP}
    if name <= generic and name <= said:  # read_all has no telling word; it must be said whole
        named = name
    described = (telling - named) & {stem(word) for word in words_of(tool.description)}
    if not named and not described:
        return None
    keys = {stem(word) for key in properties_of(tool) for word in words_of(key)}
    filled = fill(tool, clause, switch)
    points = _NAME_POINTS * len(named) + len(described) + filled.fits
    points += len(name & said - named) + len(keys & telling)
    # A tool that acts needs more than one word in common, unless that word is its whole name.
    whole = named >= name - generic
    sure = bool(filled.fits) or whole or len(named) + len(described) > 1
    return _Match(tool, filled, points, sure)


def _heard(word: str, telling: set[str]) -> bool:
    return any(
        word == heard or (len(heard) >= _MIN_PREFIX and word.startswith(heard))
        for heard in telling
    )


def _join(parts: list[Clause], tools: tuple[ToolSpec, ...]) -> list[Clause]:
    """Give a clause that holds only a value ("for 3 seconds") to the one before it."""
    joined: list[Clause] = []
    for part in parts:
        bare = not any(_match(part, None, tool) for tool in tools)
        valued = bool(quantities(part) or part.quotes or set(part.words) & (TRUE | FALSE))
        if joined and bare and valued:
            last = joined[-1]
            joined[-1] = replace(
                last,
                text=f"{last.text}, {part.text}",
                words=last.words + part.words,
                quotes=last.quotes + part.quotes,
                ordered=last.ordered and part.ordered,
                denied=last.denied or part.denied,
            )
        else:
            joined.append(part)
    return joined


def _switches(parts: list[Clause]) -> list[bool | None]:
    """On or off for each clause.

    A clause of a bare name shares that of its neighbour: "turn on the lamp and the fan", and
    "turn the lamp and the fan on".
    """
    found = [switch_of(part) for part in parts]
    bare = [not set(part.words) & VERBS for part in parts]
    for at in range(1, len(parts)):
        if found[at] is None and bare[at] and not parts[at - 1].denied:
            found[at] = found[at - 1]
    for at in range(len(parts) - 2, -1, -1):
        if found[at] is None and not bare[at] and bare[at + 1]:
            found[at] = found[at + 1] if _SWITCHING & set(parts[at].words) else None
    return found
