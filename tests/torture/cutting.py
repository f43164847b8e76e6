"""Every power cut on every medium: the runs, and what they count.

The power goes at every operation of a script, and inside it: with program units of 1 and 4 bytes
at every byte, with those of 16 and 256 at both ends, beside each border of a unit and at some
bytes at random. Many cuts of a moment leave the same medium; it is tried once.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cuts
import reader
from chip import Chip
from helpers import DEVICE, KEY, Random
from outside import hold

from tests.torture import disks
from tests.torture.progress import Progress

ROUNDS = 24  # of the script: the ring goes round a few times
AGAIN_EVERY = 100  # of so many first cuts one is followed by second ones
MOMENTS = 40  # of the life behind it
_WHOLE = 1, 4  # program units with which each byte is taken
_SAMPLE = 12  # else so many at random
_INSPECT_EVERY = 8  # of so many cuts one is looked at by the other reader
_EXAMPLES = 5

GEOMETRIES = {1: (1, 8, 1024), 4: (4, 8, 1024), 16: (16, 7, 1536), 256: (256, 8, 4096)}
MEDIA = ("nor", "files")
SUBJECTS = [(medium, unit) for unit in GEOMETRIES for medium in MEDIA]


@dataclass
class Tally:
    """What was tried on one medium with one program unit."""

    medium: str
    unit: int
    moments: int = 0  # of the script at which the power was cut
    planned: int = 0  # first cuts that there are
    same: int = 0  # of them left what another one of that moment had left
    tried: int = 0  # first and second cuts
    second: int = 0
    lost: int = 0  # cuts behind which something was not as promised, a repeated call aside
    once: int = 0  # cuts behind which a ONCE call ran again
    seconds: float = 0.0  # of CPU time, the script aside
    examples: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True if no first cut was left out."""
        return self.done == self.planned

    @property
    def done(self) -> int:
        """First cuts that are done with."""
        return self.same + self.tried - self.second


def run(
    medium: str, unit: int, seconds: float | None, seed: int, progress: Callable[[Tally], None]
) -> Tally:
    """All cuts, in an order that the seed gives; `seconds` bounds the CPU time."""
    tally = Tally(medium, unit)
    points = moments(medium, unit)
    random = Random(seed)
    jobs = [(point, cut) for point in points for cut in point.cuts(random, sample(unit), True)]
    tally.moments, tally.planned = len(points), len(jobs)
    began = time.process_time()
    seen = set()
    for number, (point, cut) in enumerate(cuts.shuffled(jobs, seed)):
        left = (id(point), point.fingerprint(cut))
        if left in seen:
            tally.same += 1
            continue
        seen.add(left)
        deep = 0 if len(seen) % AGAIN_EVERY else MOMENTS
        found = _try(tally, point, cut, number, deep)
        for again, other in _second(found, random):
            tally.second += 1
            _try(tally, again, other, random.below(256), 0, point.name(cut))
        tally.seconds = time.process_time() - began
        if seconds is not None and tally.seconds > seconds:
            break
        if tally.done % 100 == 0:
            progress(tally)
    return tally


def told(medium: str, unit: int, seconds: float | None, seed: int, shown: bool) -> Tally:
    """`run`, with its progress on standard error: in one line if it is `shown` to a person."""
    say = Progress(shown)

    def text(tally: Tally) -> str:
        share = tally.done / max(1, tally.planned)
        found = f"{medium} {unit}: {tally.tried} cuts, {share:.1%} of the first ones, "
        return found + f"{tally.lost} lost, {tally.once} repeated"

    tally = run(medium, unit, seconds, seed, lambda tally: say(text(tally)))
    say(text(tally), last=True)
    return tally


def moments(medium: str, unit: int) -> list[Any]:
    """The points of the script."""
    geometry = GEOMETRIES[unit]
    if medium == "files":
        return list(disks.watched_script(geometry, ROUNDS))
    return list(cuts.watched_script(Chip(*geometry), ROUNDS))


def sample(unit: int) -> int | None:
    """How many bytes of an operation are taken at random besides those at borders; None: all."""
    return None if unit in _WHOLE else _SAMPLE


def _second(found: list[Any], random: Any) -> Iterator[tuple[Any, Any]]:
    yield from cuts.second_cuts(found, random, 2)


def _inspect(medium: Any, world: Any) -> None:
    """The reader that shares no code with the product finds the same records and hashes."""
    data = [bytearray(medium.segment_bytes) for _ in range(medium.segments)]
    for segment, content in enumerate(data):
        medium.read(segment, 0, content)
    found = reader.read(data, DEVICE, KEY)
    newest = len(world.shadow) - 1
    hold("reader", not found.holes and found.seq == newest, (found.holes, found.seq, newest))
    for record in found.records:
        same = record.hash == world.shadow[record.seq][0]
        hold("reader", same, f"record {record.seq} is another one")


def _try(tally: Tally, point: Any, cut: Any, seed: int, deep: int, first: str = "") -> list[Any]:
    tally.tried += 1
    try:
        inspect = None if seed % _INSPECT_EVERY else _inspect
        return list(cuts.survive(point, cut, seed, deep, inspect))
    except Exception as error:
        if getattr(error, "what", "") == "once":
            tally.once += 1
        else:
            tally.lost += 1
        if len(tally.examples) < _EXAMPLES:
            text = f"{type(error).__name__}: {error}"
            tally.examples.append(f"{first} {point.name(cut)}, seed {seed}: {text[:300]}")
        return []
