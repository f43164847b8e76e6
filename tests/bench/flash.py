"""`flash`: what turns with two tool calls cost a flash chip, beside two JSON files on littlefs.

Each subject stores turns until its store is as full as it gets, then the same 1,000 turns are
counted: bytes programmed and blocks erased, with all headers, checkpoints and padding. Bytes are
given per byte of record payload, for the references too: they store the same turns.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rich.table import Table

from tests.bench import rig
from tests.bench.counting import BLOCK, LITTLEFS, CountedChip, Wear, littlefs
from tests.bench.harness import Figures, Outcome, table
from tests.bench.workload import A_DAY, TURNS, WINDOW_TURNS, Device, Message, Stored

_WARM = 500  # turns before those that count: all of the ring has been written by then
_CYCLES = 100_000  # that a block of NOR flash stands
_UNITS = (4, 16, 256)

_METHOD = (
    f"{TURNS} turns of two tool calls behind {_WARM} that do not count, blocks of {BLOCK} bytes; "
    f"mote: a ring of {rig.SEGMENTS} segments of {rig.SEGMENT_BYTES // BLOCK} blocks, everything "
    f"acknowledged at the end of its turn; ideal: frames and the padding of syncs only; "
    f"{LITTLEFS}; the JSON file holds the messages of {WINDOW_TURNS} turns and is written once "
    f"a turn, JSON lines are appended and closed per message; years at {A_DAY} turns a day and "
    f"{_CYCLES} cycles, for mote in 256 KiB"
)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What the counted turns cost a store."""

    amplification: float  # bytes programmed per byte of record payload
    erases: float  # blocks a turn


class _Store(Protocol):
    """Something that stores turns on flash."""

    wear: Wear

    def store(self, turn: Stored) -> None:
        """Store one turn."""


class _JsonFile:
    """The message history of the window in a JSON file that is written anew each turn."""

    def __init__(self) -> None:
        self._fs, self.wear = littlefs()
        self._turns: list[list[Message]] = []

    def store(self, turn: Stored) -> None:
        """The window with this turn as its last."""
        self._turns = [*self._turns, turn.messages()][-WINDOW_TURNS:]
        history = [message for messages in self._turns for message in messages]
        with self._fs.open("history.json", "wb") as file:
            file.write(json.dumps(history).encode())


class _JsonLines:
    """A line for each message, appended; the file is closed behind each."""

    def __init__(self) -> None:
        self._fs, self.wear = littlefs()
        self._fs.open("history.jsonl", "wb").close()

    def store(self, turn: Stored) -> None:
        """One line a message."""
        for message in turn.messages():
            with self._fs.open("history.jsonl", "ab") as file:
                file.write(json.dumps(message).encode() + b"\n")


@dataclass(slots=True)
class _Mote:
    """The agent's own log at one program unit, and the turns that were counted."""

    unit: int
    chip: CountedChip
    cost: _Cost
    turns: list[Stored]

    @property
    def payload(self) -> float:
        """Bytes of record payload a turn."""
        return sum(turn.payload() for turn in self.turns) / TURNS

    @property
    def ideal(self) -> float:
        """Blocks a turn that frames and padding fill."""
        return sum(turn.framed(self.unit) for turn in self.turns) / TURNS / BLOCK


def _mote(unit: int) -> _Mote:
    chip = CountedChip(unit, rig.SEGMENTS, rig.SEGMENT_BYTES)
    device = Device.on(chip)
    for _ in range(_WARM):
        device.turn()
    before = chip.wear.copy()
    turns = [device.turn() for _ in range(TURNS)]
    return _Mote(unit, chip, _cost(chip.wear, before, turns), turns)


def _reference(make: Callable[[], _Store], turns: list[Stored]) -> _Cost:
    """The cost of the same turns elsewhere."""
    store = make()
    for turn in turns[:_WARM]:
        store.store(turn)
    before = store.wear.copy()
    for turn in turns:
        store.store(turn)
    return _cost(store.wear, before, turns)


def _cost(wear: Wear, before: Wear, turns: list[Stored]) -> _Cost:
    programmed, erased = wear.since(before)
    return _Cost(programmed / sum(turn.payload() for turn in turns), erased / TURNS)


def run() -> Outcome:
    """mote at three program units, and the references."""
    motes = {unit: _mote(unit) for unit in _UNITS}
    mote = motes[4]
    references = {
        "json_file": _reference(_JsonFile, mote.turns),
        "json_lines": _reference(_JsonLines, mote.turns),
    }
    figures: Figures = {
        "turn_payload_bytes": round(mote.payload, 1),
        "turn_records": sum(len(c.records) for t in mote.turns for c in t.commits) / TURNS,
        "turn_syncs": sum(len(turn.commits) for turn in mote.turns) / TURNS,
    }
    for unit, one in motes.items():
        key = "" if unit == 4 else f"_u{unit}"
        figures[f"write_amplification{key}"] = round(one.cost.amplification, 3)
        figures[f"erases_per_turn{key}"] = round(one.cost.erases, 4)
        figures[f"erases_ideal{key}"] = round(one.ideal, 4)
        figures[f"erases_to_ideal{key}"] = round(one.cost.erases / one.ideal, 3)
        figures[f"wear_spread{key}"] = one.chip.wear.spread()
        figures[f"years{key}"] = round(_years(one), 1)
    for name, cost in references.items():
        figures[f"{name}_amplification"] = round(cost.amplification, 2)
        figures[f"{name}_erases_per_turn"] = round(cost.erases, 3)
        figures[f"{name}_amplification_ratio"] = _ratio(
            cost.amplification, mote.cost.amplification
        )
        figures[f"{name}_erases_ratio"] = _ratio(cost.erases, mote.cost.erases)
    return Outcome(figures, _METHOD, _table(motes, references, mote.cost))


def _years(mote: _Mote) -> float:
    return len(mote.chip.wear.erases) * _CYCLES / (mote.cost.erases * A_DAY * 365)


def _ratio(other: float, own: float) -> float:
    return round(other / own, 1)


def _table(motes: dict[int, _Mote], references: dict[str, _Cost], base: _Cost) -> Table:
    shown = table("", "bytes", "x", "erases", "x", "ideal", "spread", "years")
    for unit, one in motes.items():
        cost = one.cost
        row = _cells(f"mote, unit {unit}", cost, base)
        shown.add_row(*row, f"{one.ideal:.4f}", str(one.chip.wear.spread()), f"{_years(one):.0f}")
    for name, cost in references.items():
        shown.add_row(*_cells(f"{name.replace('_', ' ')} on littlefs", cost, base))
    return shown


def _cells(name: str, cost: _Cost, base: _Cost) -> list[str]:
    return [
        name,
        f"{cost.amplification:.2f}",
        f"{cost.amplification / base.amplification:.1f}",
        f"{cost.erases:.4f}",
        f"{cost.erases / base.erases:.1f}",
    ]
