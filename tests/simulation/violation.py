"""What the simulator looks for: a promise that was not kept."""


class Violation(AssertionError):
    """The text begins with whose promise it was."""


def hold(kept: object, who: str, text: str) -> None:
    """Raise Violation unless `kept`."""
    if not kept:
        raise Violation(f"{who}: {text}")
