"""Simulates worlds of devices, a broker, gateways, people and accidents, and looks for promises
that are not kept.

A world follows from its seed: the same seed gives the same trace, message for message. It has
4 devices, each with its flash chip and two people who ask it, one or two gateways on one store,
a broker, and a provider that answers what the seed says. For 10 simulated minutes accidents
happen to all of them; then none does, and all that is open must come to its end.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import TextIO

from tests.simulation import report, runs
from tests.simulation.faults import ANY, MIXES, told
from tests.simulation.runs import DEVICES, Job
from tests.simulation.simulation import MINUTES, Outcome, simulate
from tests.torture.progress import Progress

INTERRUPTED = 130
_PROCESSES = 2
_EXAMPLES = """\
examples:
  python -m tests.simulation                           fresh seeds for a minute, of any mix
  python -m tests.simulation --seconds 3600            the same for an hour; Ctrl-C ends it earlier
  python -m tests.simulation --mix storm --seeds 0:50  seeds 0 to 49 of one mix
  python -m tests.simulation --mix storm --seed 7 --trace
                                                       one world, and all that happens in it
  python -m tests.simulation --kept                    the seeds that found a bug once
  python -m tests.simulation --mixes                   what goes wrong in each mix, how often

A broken promise is printed with the end of its trace and the command that repeats it. Progress is
on standard error, the rest on standard output. Exit codes: 0 all promises were kept, 1 one was
not, 2 a wrong command line, 130 interrupted (with the numbers so far).
"""


def main(arguments: list[str]) -> int:
    """Run what the command line names; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.trace and given.seed is None:
        parser.error("--trace shows one world: name its --seed")
    if given.mixes:
        print("\n".join(f"{name:>9}  {told(mix)}" for name, mix in MIXES.items()))
        return 0
    to_stdout = given.json == Path("-")
    found, interrupted, seconds = _watched(given, sys.stderr if to_stdout else sys.stdout)
    numbers = json.dumps(found.numbers(seconds), indent=1)
    print(numbers if to_stdout else found.words(seconds))
    if given.json and not to_stdout:
        given.json.write_text(numbers + "\n")
    if interrupted:
        print("interrupted", file=sys.stderr)
    return 1 if found.broken else INTERRUPTED if interrupted else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_mutually_exclusive_group().add_argument
    add("--seconds", type=_positive(float), default=60.0, help="fresh seeds, so long (60)")
    add("--seed", type=int, help="this one")
    add("--seeds", type=_range, metavar="A:B", help="from A on, B not included")
    add("--kept", action="store_true", help="those that are kept, as they were")
    add("--mixes", action="store_true", help="only say what the mixes are")
    add = parser.add_argument
    names, mixes = ", ".join(MIXES), [ANY, *MIXES]
    add("--mix", default=ANY, metavar="NAME", choices=mixes, help=f"{ANY} ({names})")
    whole = _positive(int)
    add("--devices", type=whole, default=DEVICES, metavar="N", help=f"of each world ({DEVICES})")
    add("--minutes", type=whole, default=MINUTES, metavar="N", help=f"of accidents ({MINUTES})")
    add("--processes", type=whole, default=_PROCESSES, metavar="N", help=f"({_PROCESSES})")
    add("--trace", action="store_true", help="with --seed: print all that happens")
    add("--json", type=Path, metavar="FILE", help="for the numbers; -: only those, to stdout")
    return parser


def _positive(kind: type) -> Callable[[str], float]:
    def number(text: str) -> float:
        value: float = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not more than 0")
        return value

    return number


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    try:
        return range(int(first), int(last))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not A:B, as 0:50") from None


def _watched(given: argparse.Namespace, out: TextIO) -> tuple[report.Report, bool, float]:
    """Run it; (what came of it, whether it was interrupted, how long it took)."""
    found, began = report.Report(), time.monotonic()
    progress = Progress(sys.stderr.isatty())
    try:
        for job, outcome in _outcomes(given):
            found.add(job, outcome)
            if outcome.broken:
                print(report.broken(job, outcome), file=out, flush=True)
            progress(found.line())
    except KeyboardInterrupt:
        return found, True, time.monotonic() - began
    finally:
        progress(found.line(), last=True)
    return found, False, time.monotonic() - began


def _outcomes(given: argparse.Namespace) -> Iterator[tuple[Job, Outcome]]:
    world = given.mix, given.devices, given.minutes
    if given.seed is not None:
        job = Job(given.seed, *world)
        yield job, simulate(*astuple(job), shown=given.trace)
        return
    if given.kept:
        jobs = iter([job for job, _ in runs.kept()])
    elif given.seeds:
        jobs = (Job(seed, *world) for seed in given.seeds)
    else:
        jobs = runs.fresh(*world, given.seconds)
    yield from runs.run(jobs, given.processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
