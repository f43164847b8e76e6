"""What happened, one line each, and a hash of it all: two runs of a seed must agree in it."""

import hashlib
from collections import Counter, deque

from tests.simulation.clock import Clock

_KEPT = 200


class Trace:
    """Takes lines; `counts` has how often each thing happened, `tail` the last lines.

    `shown` prints each line as it comes.
    """

    def __init__(self, clock: Clock, shown: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.tail: deque[str] = deque(maxlen=_KEPT)
        self._clock = clock
        self._shown = shown
        self._sha = hashlib.blake2b(digest_size=8)

    def __call__(self, who: str, what: str, detail: object = "") -> None:
        """`what` happened to `who`."""
        line = f"{self._clock.now / 1000:10.3f} {who:<9} {what} {detail}"
        self.counts[what] += 1
        self.tail.append(line)
        self._sha.update(line.encode())
        if self._shown:
            print(line)

    @property
    def hash(self) -> str:
        """Of all lines so far."""
        return self._sha.hexdigest()
