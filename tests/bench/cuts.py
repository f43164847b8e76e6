"""`cuts`: power cuts at any operation and any byte of one, and what of the log they cost.

The same runs as `make torture`, for a fixed time on each medium with each program unit.
"""

from rich.table import Table

from tests.bench.harness import Figures, Outcome, table
from tests.torture.__main__ import cut_all
from tests.torture.cutting import AGAIN_EVERY, MOMENTS, ROUNDS, Tally

_SECONDS = 20.0  # of CPU time for each medium and unit
_SEED = 1

_METHOD = (
    f"a script of {ROUNDS} rounds of asks on a ring of 7 or 8 small segments, cut in an order "
    f"that a seed gives, {_SECONDS:.0f} s of CPU time for each line; behind one first cut in "
    f"{AGAIN_EVERY} second ones at the {MOMENTS} moments that follow; NOR: half-programmed "
    "bytes, half-erased blocks, bytes out of order; files: unsynced writes lost, torn, reordered; "
    "lost: a cut behind which a record that was synced or told was missing, the log differed in "
    "any way from what was appended, or an ask had no answer or two"
)


def run() -> Outcome:
    """Cut, and count what was lost."""
    tallies = cut_all(_SECONDS, _SEED)
    figures: Figures = {
        "cuts_tried": sum(tally.tried for tally in tallies),
        "cuts_lost": sum(tally.lost for tally in tallies),
        "once_repeated": sum(tally.once for tally in tallies),
    }
    for tally in tallies:
        name = f"{tally.medium}_{tally.unit}"
        figures[f"{name}_tried"] = tally.tried
        figures[f"{name}_lost"] = tally.lost
        figures[f"{name}_second"] = tally.second
        figures[f"{name}_a_second"] = round(tally.tried / tally.seconds, 1)
    return Outcome(figures, _METHOD, _table(tallies))


def _table(tallies: list[Tally]) -> Table:
    shown = table("", "unit", "moments", "cuts", "of them second", "lost", "ONCE twice", "cuts/s")
    for tally in tallies:
        shown.add_row(
            tally.medium,
            str(tally.unit),
            str(tally.moments),
            str(tally.tried),
            str(tally.second),
            str(tally.lost),
            str(tally.once),
            f"{tally.tried / tally.seconds:.0f}",
        )
    return shown
