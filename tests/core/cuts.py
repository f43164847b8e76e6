"""Power cuts: every moment of a life at which the power can go, and what it leaves. Portable.

What a device holds in RAM is lost at a cut, so nothing has to be run again for it: one life is
watched, and at each of its operations on the medium, and whenever something leaves the device, a
`Point` keeps the medium and the world as they were. From a point follow all the media that a cut
there may leave, each for a next life.
"""

import hashlib

from chip import BACKWARDS, PowerCut
from helpers import Random
from life import Life, script
from outside import World

SMEARS = (False, True, BACKWARDS)


def bytes_done(n, unit, random, sample, each=False):
    """How many bytes of an operation on `n` may be done when the power goes, in order.

    Both ends and the middle, those beside a border of a unit (beside `each`, or a random one), and
    `sample` at random. With a sample of None all there are.
    """
    if sample is None:
        return range(n + 1)
    found = [0, 1, n // 2, n - 1, n]
    if unit > 1:
        borders = range(0, n + 1, unit) if each else [random.below(n // unit + 1) * unit]
        for border in borders:
            found.extend([max(0, border - 1), border, min(n, border + 1)])
    found.extend([random.below(n) for _ in range(sample)])
    return sorted(set(found))


class Point:
    """A moment of a life. `operation` is (kind, segment, offset, data), None: nothing is done."""

    def __init__(self, world, chip, operation=None):
        self.world = world.copy()
        self.chip = chip.copy()
        self.operation = operation

    def cuts(self, random, sample, each=False):
        """[(block, byte, smear)] of cuts in the operation; before it: (0, None, False).

        `sample` and `each` are those of `bytes_done`.
        """
        found = [(0, None, False)]
        if not self.operation or self.operation[0] == "sync":
            return found
        for block in range(self.chip.blocks if self.operation[0] == "erase" else 1):
            n = self._size()
            for byte in bytes_done(n, self.chip.unit, random, sample, each):
                for smear in SMEARS if byte < n else SMEARS[:1]:
                    found.append((block, byte, smear))
        return found

    def _size(self):
        kind, _, _, data = self.operation
        return self.chip.block_bytes if kind == "erase" else len(data)

    def next_life(self, cut, world, most):
        """(the medium that such a cut leaves, the points of a life on it, `most` of them)."""
        chip = self.after(cut)
        if not most:
            return chip, []
        medium = Watched(chip, world, most)
        return medium, medium.points

    def after(self, cut):
        """The chip that such a cut leaves."""
        block, byte, smear = cut
        chip = self.chip.copy()
        if byte is None:
            return chip
        kind, segment, offset, data = self.operation
        chip.cut(block, byte, smear)
        try:
            if kind == "erase":
                chip.erase(segment)
            else:
                chip.program(segment, offset, data)
        except PowerCut:
            chip.power_on()
            return chip
        raise AssertionError("the power did not go")

    def fingerprint(self, cut):
        """A hash of the medium that such a cut leaves."""
        return hashlib.sha256(b"".join(self.after(cut).cells)).digest()

    def name(self, cut):
        """What a person needs to find it again."""
        operation = self.operation[:3] if self.operation else "between operations"
        return "%s, cut %s" % (operation, cut)


class Watched:
    """A medium: a chip, of each operation on which, and of what `world` tells, a point is kept.

    Only one of `every` so many is kept, those of kind `only`, and `most` altogether.
    """

    def __init__(self, chip, world, most=None, every=1, only=None):
        self.unit, self.segments, self.segment_bytes = chip.unit, chip.segments, chip.segment_bytes
        self.read = chip.read
        self.points = []
        self._chip = chip
        self._world = world
        self._most = most
        self._every = every
        self._only = only
        self._number = 0
        world.watch = self._keep

    def _keep(self, operation=None):
        if self._only and (not operation or operation[0] != self._only):
            return
        self._number += 1
        full = self._most is not None and len(self.points) >= self._most
        if not full and self._number % self._every == 0:
            self.points.append(Point(self._world, self._chip, operation))

    def program(self, segment, offset, data):
        """Program, as the chip does."""
        self._keep(("program", segment, offset, bytes(data)))
        self._chip.program(segment, offset, data)

    def erase(self, segment):
        """Erase, as the chip does."""
        self._keep(("erase", segment, 0, b""))
        self._chip.erase(segment)

    def sync(self):
        """Sync, as the chip does."""
        self._keep(("sync", -1, 0, b""))
        self._chip.sync()


def watched_script(chip, rounds, every=1, only=None):
    """The points of a whole script on a chip."""
    world = World()
    medium = Watched(chip, world, None, every, only)
    script(medium, world, rounds)
    return medium.points


def survive(point, cut, seed, deep=0, inspect=None):
    """One cut: the next life holds. Returns its points, `deep` of them at most. Raises Broken.

    `inspect(medium, world)` is called when all is done.
    """
    world = point.world.copy()
    medium, points = point.next_life(cut, world, deep)
    Life(medium, world).recover(repeat=bool(seed & 1), more=seed % 4 == 0)
    if inspect:
        inspect(medium, world)
    return points


def second_cuts(points, random, sample):
    """(point, cut) for each moment of a recovery, and some cuts inside its operations."""
    found = []
    for point in points:
        cuts = point.cuts(random, sample)
        last = len(cuts) - 1
        for at in sorted({0, last, random.below(last + 1), random.below(last + 1)}):
            found.append((point, cuts[at]))
    return found


def shuffled(items, seed):
    """The items in an order that repeats."""
    random = Random(seed)
    items = list(items)
    for i in range(len(items) - 1, 0, -1):
        # two draws: one has 16 bits
        j = (random.below(65536) << 8 | random.below(256)) % (i + 1)
        items[i], items[j] = items[j], items[i]
    return items
