"""Runs the exhaustive tests: `python -m tests.torture [KIND]`, or all kinds.

cuts: the power goes, at every operation of the log. raises: an exception at every line of the
agent. driver: one at every line of the whole daemon. simulation: worlds of devices, gateways and
accidents from fresh seeds, see `python -m tests.simulation --help`. storm: real processes over a
real broker, from a fresh seed, see `python -m tests.e2e.storm --help`. boards: on the emulated
boards, all portable tests, those that are too slow for `make test`, too; 1,000 power cuts on each;
and 100,000 turns without a growing heap on rv32.

Progress is on standard error, a table of numbers on standard output. The exit code is 1 if
anything was not as promised.
"""

import argparse
import asyncio
import dataclasses
import json
import multiprocessing
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mote_emulator.toolchain import BOARDS

from tests.e2e import storm
from tests.emulator import soak
from tests.emulator.cuts import survive
from tests.simulation import report, runs
from tests.simulation.faults import ANY
from tests.simulation.simulation import MINUTES
from tests.torture import cutting, driver, raising
from tests.torture.progress import Progress

_FIRST = ("medium", "unit", "moments", "planned", "same")
_WORDS = (*_FIRST, "tried", "second", "lost", "once", "seconds")
_PROCESSES = 2
_SIMULATED_S = 300.0
_STORM_ASKS = 3000
_ASKS_A_SECOND = 6  # about as many as a storm answers
_BOARD_CUTS = 1000
_TURNS = 100000
_TURNS_A_SECOND = 20
_ALL_ON_BOARDS = (
    *(sys.executable, "-m", "pytest", "-q", "-n", str(_PROCESSES), "--dist", "loadfile"),
    *("--all-on-boards", "-m", "emulator", "tests/core", "tests/ports"),
)


def main(arguments: list[str]) -> int:
    """Run what the command line names; returns the exit code."""
    given = _parser().parse_args(arguments)
    numbers: dict[str, object] = {}
    broken = 0
    for name, run in _KINDS.items():
        if given.what in (None, name):
            numbers[name], found = run(given)
            broken += found
    if given.json:
        given.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("what", nargs="?", choices=list(_KINDS))
    text = "of CPU time for each medium and unit, for the raises and for the driver;"
    text += f" how long seeds are simulated ({_SIMULATED_S:g})"
    parser.add_argument("--seconds", type=float, help=text)
    parser.add_argument("--seed", type=int, default=1, help="of all but simulation and storm")
    parser.add_argument("--json", type=Path, help="where the numbers are written as well")
    return parser


# -- each kind: (numbers, how much is broken)


def _cut(given: argparse.Namespace) -> tuple[object, int]:
    tallies = cut_all(given.seconds, given.seed, sys.stderr.isatty())
    return [dataclasses.asdict(tally) for tally in tallies], _show(tallies)


def _raise(given: argparse.Namespace) -> tuple[object, int]:
    raised = raising.run(given.seconds, given.seed)
    print(f"exceptions: {raised.tried} of {raised.lines} lines, {raised.broken} broken")
    _examples(raised.examples)
    return dataclasses.asdict(raised), raised.broken


def _strike(given: argparse.Namespace) -> tuple[object, int]:
    struck = driver.run(given.seconds, given.seed, Progress(sys.stderr.isatty()))
    print(f"driver: {struck.tried} of {struck.planned} faults, {struck.broken} broken")
    _examples(struck.examples)
    return dataclasses.asdict(struck), struck.broken


def _simulate(given: argparse.Namespace) -> tuple[object, int]:
    """Seeds that nobody tried before; each that breaks a promise is printed, to be kept."""
    seconds = _SIMULATED_S if given.seconds is None else given.seconds
    found, progress = report.Report(), Progress(sys.stderr.isatty())
    jobs = runs.fresh(ANY, runs.DEVICES, MINUTES, seconds)
    for job, outcome in runs.run(jobs, _PROCESSES):
        found.add(job, outcome)
        progress(found.line())
        if outcome.broken:
            print(report.broken(job, outcome), flush=True)
    print(f"simulation: {found.span()}, {found.line()}")
    return found.numbers(seconds), len(found.broken)


def _blow(given: argparse.Namespace) -> tuple[object, int]:
    """A storm of a seed that nobody tried before."""
    asks = _STORM_ASKS if given.seconds is None else max(1, int(given.seconds * _ASKS_A_SECOND))
    seed = secrets.randbits(32)
    print(f"storm: python -m tests.e2e.storm --seed {seed} --asks {asks}", flush=True)
    return {"seed": seed, "asks": asks}, storm.main(["--seed", str(seed), "--asks", str(asks)])


def _emulate(given: argparse.Namespace) -> tuple[object, int]:
    """The slow tests, then power cuts on both boards, then many turns."""
    numbers: dict[str, object] = {}
    broken = [] if given.seconds is not None else check_all_on_boards()
    cuts = _BOARD_CUTS if given.seconds is None else max(1, int(given.seconds))
    for name in BOARDS:
        with tempfile.TemporaryDirectory(prefix="mote-cuts-") as folder:
            found = asyncio.run(survive(Path(folder), name, cuts, given.seed))
        print(
            f"boards: {name}, {found.survived} power cuts, {len(found.broken)} broken", flush=True
        )
        numbers[name] = dataclasses.asdict(found)
        broken += found.broken
    _examples(broken)
    turns = _TURNS if given.seconds is None else max(100, int(given.seconds * _TURNS_A_SECOND))
    grown = soak.main(["--turns", str(turns)])
    return numbers | {"turns": turns, "grown": grown}, len(broken) + grown


def check_all_on_boards() -> list[str]:
    """Run all portable tests on the boards; what is broken."""
    failed = subprocess.run(_ALL_ON_BOARDS, check=False).returncode
    return ["tests of tests/core or tests/ports failed on a board"] if failed else []


def cut_all(seconds: float | None, seed: int, shown: bool = False) -> list[cutting.Tally]:
    """The cuts on all media with all units, two processes at a time."""
    jobs = [(medium, unit, seconds, seed, shown) for medium, unit in cutting.SUBJECTS]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        return pool.starmap(cutting.told, jobs, chunksize=1)


def _examples(examples: list[str]) -> None:
    for example in examples:
        print(f"  {example}")


def _show(tallies: list[cutting.Tally]) -> int:
    print("  ".join(f"{word:>8}" for word in _WORDS))
    for tally in tallies:
        values = dataclasses.asdict(tally) | {"seconds": round(tally.seconds)}
        print("  ".join(f"{values[word]:>8}" for word in _WORDS))
    for tally in tallies:
        for example in tally.examples:
            print(f"{tally.medium} {tally.unit}: {example}")
    tried, took = sum(t.tried for t in tallies), sum(t.seconds for t in tallies)
    broken = sum(t.lost + t.once for t in tallies)
    print(f"{tried} cuts in {took:.0f} s of CPU time, {broken} not survived")
    return broken


_KINDS: dict[str, Callable[[argparse.Namespace], tuple[object, int]]] = {
    "cuts": _cut,
    "raises": _raise,
    "driver": _strike,
    "simulation": _simulate,
    "storm": _blow,
    "boards": _emulate,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
