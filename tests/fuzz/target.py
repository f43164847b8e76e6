"""What a target is, and the seven that there are."""

import importlib
from pathlib import Path
from random import Random

from tests.fuzz import mutate, script

KEPT = Path(__file__).parent / "kept"

# Name: its share of the inputs of a run over all. What takes long for each input has less.
SHARES = {
    "mqtt": 32,
    "msgpack": 28,
    "toml": 15,
    "in": 15,
    "link": 4,
    "upload": 3,
    "log": 3,
}
_MODULES = {"in": "asks"}


class Broken(Exception):
    """Something is not as promised."""


def hold(true: object, text: str) -> None:
    """Raise Broken unless it is true."""
    if not true:
        raise Broken(text)


class Target:
    """One parser and what is promised of it.

    `sources` names the files of the product whose lines count as new. Subclasses give `make` and
    `check`; those whose inputs are scripts set `steps` to the most steps that are taken. Inputs of
    more than `longest` bytes are tried, but no others are made of them.
    """

    name = ""
    sources: tuple[str, ...] = ()
    steps = 0
    longest = 2048

    def make(self, random: Random) -> bytes:
        """An input of the grammar, not always a valid one."""
        raise NotImplementedError

    def check(self, data: bytes) -> str:
        """Try any bytes; returns what came of them in a word. Raises if a promise is broken."""
        raise NotImplementedError

    def mutate(self, data: bytes, random: Random, other: bytes) -> bytes:
        """An input made from one, or two."""
        if self.steps and random.randrange(4):
            return mutate.mutated_script(data, random, other, self.steps)
        return mutate.mutated(data, random, other)

    def some_script(self, random: Random, operations: int) -> bytes:
        """Noise in the form of a script."""
        count = random.randint(1, 6)
        noise = [
            (random.randrange(operations), mutate.some_bytes(random, 40)) for _ in range(count)
        ]
        return script.pack(noise)


def load(name: str) -> Target:
    """The target of that name. Imports the part of the product that it tests."""
    module = importlib.import_module(f"tests.fuzz.targets.{_MODULES.get(name, name)}")
    made: Target = module.make_target()
    return made


def kept(name: str) -> list[tuple[str, bytes]]:
    """(file name, input) of the kept inputs of a target."""
    return [(path.name, read_kept(path)) for path in sorted(KEPT.glob(f"{name}-*.txt"))]


def read_kept(path: Path) -> bytes:
    """The input in a text file of hexadecimal digits; lines with # say what was wrong."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return bytes.fromhex("".join(lines))
