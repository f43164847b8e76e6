"""Checks every parser with hostile input: `python -m tests.fuzz [TARGET] ...`, or all of them.

Targets: mqtt (what a broker sends), msgpack, toml (the configuration), in (asks from anybody),
link (what a gateway with the key says to a device), upload (what an enrolled device says to the
gateway), log (opening a log that somebody wrote). Progress is on standard error, a table and the
findings on standard output. The exit code is 1 if there are findings. The same seed gives the
same inputs. What was found once and is mended stays in tests/fuzz/kept and is tried first.
"""

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.fuzz import coverage, engine, target
from tests.fuzz.engine import Finding, Report

_FOLDER = engine.ROOT / "build" / "fuzz"
_INPUTS = 1_000_000
_PROCESSES = 2
_WORDS = "inputs", "a second", "lines", "outcomes", "findings"
_LONGEST_HEX = 2000  # digits in a command; longer inputs are named by their file


def main(arguments: list[str]) -> int:
    """Run what the command line names; returns the exit code."""
    given = _parser().parse_args(arguments)
    if given.replay:
        return replay(given.target, given.replay)
    names = [given.target] if given.target else list(target.SHARES)
    if given.engine == "atheris":
        return _atheris(names, given.inputs, given.seed)
    try:
        reports = hunt(names, given.inputs, given.seed)
    except KeyboardInterrupt:
        print("fuzz: stopped before its end: what it found is not known", file=sys.stderr)
        return 130
    show(reports)
    if given.json:
        numbers = [_numbers(report) for report in reports]
        given.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return 1 if any(report.findings for report in reports) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", nargs="?", choices=list(target.SHARES))
    parser.add_argument(
        "--inputs", type=int, default=_INPUTS, help=f"over all targets named ({_INPUTS})"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the numbers are written as well")
    parser.add_argument("--replay", metavar="HEX|FILE", help="check one input, of one target")
    parser.add_argument(
        "--engine",
        choices=["seeded", "atheris"],
        default="seeded",
        help="atheris is guided by coverage; one target, one process",
    )
    return parser


def hunt(names: list[str], inputs: int, seed: int) -> list[Report]:
    """Check that many inputs, in two processes; one report a target."""
    whole = sum(target.SHARES[name] for name in names)
    jobs = []
    for name in names:
        share = -(-inputs * target.SHARES[name] // whole)
        for part in range(_PROCESSES):
            jobs.append((name, (share + part) // _PROCESSES, seed * _PROCESSES + part))
    if inputs < 1000:  # what it takes to begin a process is longer
        return _joined([engine.run(*job) for job in jobs])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_PROCESSES, context) as pool:
        return _joined(list(pool.map(engine.told, *zip(*jobs, strict=True))))


def _joined(reports: list[Report]) -> list[Report]:
    """One report for each target."""
    found: dict[str, Report] = {}
    for report in reports:
        known = found.setdefault(report.target, Report(report.target, report.seed // _PROCESSES))
        known.inputs += report.inputs
        known.seconds += report.seconds
        known.lines = max(known.lines, report.lines)
        for outcome, times in report.outcomes.items():
            known.outcomes[outcome] = known.outcomes.get(outcome, 0) + times
        for finding in report.findings:
            same = [other for other in known.findings if other.what == finding.what]
            if same:
                same[0].times += finding.times
            else:
                known.findings.append(finding)
    return list(found.values())


def show(reports: list[Report]) -> None:
    """The table, then the findings."""
    print("target   " + " ".join(f"{word:>8}" for word in _WORDS))
    for report in reports:
        rate = report.inputs / max(report.seconds, 1e-9)
        print(
            f"{report.target:8} {report.inputs:>8} {rate:>8.0f} {report.lines:>8} "
            f"{len(report.outcomes):>8} {len(report.findings):>8}"
        )
    for report in reports:
        for finding in report.findings:
            tell_finding(report.target, finding)


def tell_finding(name: str, finding: Finding) -> None:
    """One finding, with the command that replays it."""
    path = keep(name, finding.data)
    digits = finding.data.hex()
    what = digits if len(digits) <= _LONGEST_HEX else str(path.relative_to(engine.ROOT))
    print(f"\n{name}: {finding.what} ({finding.times} times)")
    print(f"  {finding.text}")
    print(f"  {finding.data!r}")
    print(f"  .venv/bin/python -m tests.fuzz {name} --replay '{what}'")


def keep(name: str, data: bytes) -> Path:
    """Write a finding's input to build/fuzz; returns where."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    path = _FOLDER / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.bin"
    path.write_bytes(data)
    return path


def replay(name: str | None, what: str) -> int:
    """Check one input, given as digits, as a file of bytes, or as a kept file; make it small."""
    if name is None:
        print("which target? python -m tests.fuzz TARGET --replay ...", file=sys.stderr)
        return 2
    tried = target.load(name)
    try:
        data = _input(what)
    except (OSError, ValueError) as exc:
        print(f"--replay takes hexadecimal digits or a file: {exc}", file=sys.stderr)
        return 2
    try:
        print(f"{name}: {engine.guarded(tried, data)}")
    except Exception as exc:
        small = engine.smaller(tried, data, engine.place(exc))
        tell_finding(name, Finding(engine.place(exc), f"{type(exc).__name__}: {exc}"[:400], small))
        print()
        sys.stdout.flush()
        sys.excepthook(type(exc), exc, exc.__traceback__)
        return 1
    return 0


def _input(what: str) -> bytes:
    path = Path(what)
    if len(what) < 256 and path.exists():
        return target.read_kept(path) if path.suffix == ".txt" else path.read_bytes()
    return bytes.fromhex(what)


def _atheris(names: list[str], inputs: int, seed: int) -> int:
    if not coverage.is_there():
        print("atheris is not installed: .venv/bin/pip install atheris", file=sys.stderr)
        return 2
    if len(names) > 1:
        print("with --engine atheris name one target", file=sys.stderr)
        return 2
    coverage.run(names[0], inputs, seed, _FOLDER)
    return 0


def _numbers(report: Report) -> dict[str, Any]:
    found = dataclasses.asdict(report)
    for finding in found["findings"]:
        finding["data"] = finding["data"].hex()
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
