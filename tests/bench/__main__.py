"""Runs benchmarks: all, or those that are named. Exit codes: 1 one failed, 2 unknown name."""

import sys

from mote_host.errors import MoteError
from rich.console import Console

from tests.bench import boards, client, cuts, flash, heap, log, sessions, size, start, turn, wire
from tests.bench.harness import Bench, show, write

# To add one: a module with `run() -> Outcome`, and its line here.
BENCHES: dict[str, Bench] = {
    "size": size.run,
    "start": start.run,
    "heap": heap.run,
    "turn": turn.run,
    "client": client.run,
    "wire": wire.run,
    "flash": flash.run,
    "log": log.run,
    "cuts": cuts.run,
    "sessions": sessions.run,
    "boards": boards.run,
}


def main(names: list[str]) -> int:
    """Run the benchmarks of these names, or all; returns the exit code."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        known = ", ".join(BENCHES)
        print(f"bench: unknown: {', '.join(unknown)}; known are {known}", file=sys.stderr)
        return 2
    console = Console()
    failed = False
    for name in names or BENCHES:
        print(f"bench: {name}", file=sys.stderr)
        try:
            outcome = BENCHES[name]()
        except MoteError as exc:
            print(f"bench: {name} failed: {exc}", file=sys.stderr)
            failed = True
            continue
        show(console, name, outcome, write(name, outcome))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
