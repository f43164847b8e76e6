"""What the daemon tells the person who runs it: lines on standard error."""

import sys


class Report:
    """`report(text)` prints; `report(text, detail=True)` prints only if `verbose`."""

    def __init__(self, verbose=False):
        self._verbose = verbose

    def __call__(self, text, detail=False):
        """Print one line."""
        if self._verbose or not detail:
            # MP: no isprintable; what others sent may not steer a terminal or forge a line
            shown = "".join([c if " " <= c != "\x7f" else "?" for c in text])
            print("moted: " + shown, file=sys.stderr)
