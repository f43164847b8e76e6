"""How far a long run is, on standard error."""

import sys
import time

_QUIET_S = 30


class Progress:
    """Says it in one line that changes, to a person, or else (not `shown`) now and then."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._said = time.monotonic()

    def __call__(self, text: str, last: bool = False) -> None:
        """`last`: say it in any case."""
        now = time.monotonic()
        if self._shown or last or now - self._said > _QUIET_S:
            self._said = now
            print(text, file=sys.stderr, end="\r" if self._shown else "\n", flush=True)
