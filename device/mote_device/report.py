"""What the daemon tells the person who runs it: lines on standard error."""

import sys


class Report:
    """`report(text)` prints; `report(text, detail=True)` prints only if `verbose`."""

    def __init__(self, verbose=False):
        self._verbose = verbose

    def __call__(self, text, detail=False):
        """Print one line."""
        if self._verbose or not detail:
            print("moted: " + text, file=sys.stderr)
