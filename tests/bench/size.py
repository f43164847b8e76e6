"""`size`: what the code weighs as .mpy files, and the limit that the core keeps to."""

from pathlib import Path

from tests.bench.harness import Figures, Outcome, table
from tests.bench.mpy import PACKAGES, compiled

LIMIT = 48 * 1024  # bytes of all .mpy files of core/
SHIPPED = 3  # level of optimisation of the figures of record: no line numbers
DEBUG = 0  # mpy-cross's default

_METHOD = (
    "bytes of the .mpy files that mpy-cross -O3 writes, as for a device; core_mpy_bytes_o0 is "
    "with default options, line numbers included; ports is without its CPython part"
)


def run() -> Outcome:
    """Compile everything twice and add up the files."""
    shipped, debug = compiled(SHIPPED), compiled(DEBUG)
    figures: Figures = {}
    shown = table("", "bytes", "with lines", "share of 48 KB")
    total = 0
    for part, package, _ in PACKAGES:
        size, large = _bytes(shipped / package), _bytes(debug / package)
        total += size
        figures[f"{part}_mpy_bytes"] = size
        if part == "core":
            figures["core_mpy_bytes_o0"] = large
            _add_modules(shown, figures, shipped / package, debug / package)
        share = f"{size / LIMIT:.0%}" if part == "core" else ""
        shown.add_row(f"{part}/{package}", str(size), str(large), share, end_section=True)
    figures["all_mpy_bytes"] = total
    shown.add_row("all", str(total), str(_bytes(debug)))
    shown.add_row("limit of core", str(LIMIT))
    return Outcome(figures, _METHOD, shown)


def _add_modules(shown, figures: Figures, shipped: Path, debug: Path) -> None:
    """A row and a figure for each module of the core; a package is one module."""
    for path in sorted(shipped.iterdir()):
        size = _bytes(path)
        name = path.stem.strip("_")
        figures[f"mpy_{name}"] = size
        large = _bytes(debug / path.name)
        shown.add_row(f"  {name}", str(size), str(large), f"{size / LIMIT:.1%}")


def _bytes(path: Path) -> int:
    files = path.rglob("*.mpy") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
