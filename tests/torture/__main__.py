"""Runs the exhaustive tests: `python -m tests.torture [cuts | raises | driver]`, or all of them.

cuts: the power goes, at every operation of the log. raises: an exception at every line of the
agent. driver: one at every line of the whole daemon.

Progress is on standard error, a table of numbers on standard output. The exit code is 1 if
anything was not as promised.
"""

import argparse
import dataclasses
import json
import multiprocessing
import sys
from pathlib import Path

from tests.torture import cutting, driver, raising
from tests.torture.progress import Progress

_FIRST = ("medium", "unit", "moments", "planned", "same")
_WORDS = (*_FIRST, "tried", "second", "lost", "once", "seconds")
_PROCESSES = 2


def main(arguments: list[str]) -> int:
    """Run what the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["cuts", "raises", "driver"])
    text = "of CPU time for each medium and unit, for the raises and for the driver"
    parser.add_argument("--seconds", type=float, help=text)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the numbers are written as well")
    given = parser.parse_args(arguments)
    numbers: dict[str, object] = {}
    broken = 0
    if given.what in (None, "cuts"):
        tallies = cut_all(given.seconds, given.seed, sys.stderr.isatty())
        numbers["cuts"] = [dataclasses.asdict(tally) for tally in tallies]
        broken += _show(tallies)
    if given.what in (None, "raises"):
        raised = raising.run(given.seconds, given.seed)
        numbers["raises"] = dataclasses.asdict(raised)
        broken += raised.broken
        print(f"exceptions: {raised.tried} of {raised.lines} lines, {raised.broken} broken")
        _examples(raised.examples)
    if given.what in (None, "driver"):
        struck = driver.run(given.seconds, given.seed, Progress(sys.stderr.isatty()))
        numbers["driver"] = dataclasses.asdict(struck)
        broken += struck.broken
        print(f"driver: {struck.tried} of {struck.planned} faults, {struck.broken} broken")
        _examples(struck.examples)
    if given.json:
        given.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return 1 if broken else 0


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
