"""The plot of the wire benchmark: bytes a turn over turns in the session."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

_STYLE = {
    "https": ("HTTPS and JSON, whole history", "tab:red", "o", 7),
    "mote": ("mote, TLS", "tab:blue", "s", 7),
    "mote_plain": ("mote, no TLS", "tab:cyan", "^", -15),
}
"""Label, colour, marker, and how far above its last point the number stands."""


def write(
    folder: Path, histories: Sequence[int], counted: Mapping[str, Mapping[int, Sequence[int]]]
) -> None:
    """Write wire.png and wire.svg into `folder`; `counted` has bytes by subject and history."""
    import matplotlib as mpl  # takes a second, and only this needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "mote"  # the same numbers, the same file
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, (label, colour, marker, above) in _STYLE.items():
        medians = [statistics.median(counted[name][history]) / 1000 for history in histories]
        axes.plot(histories, medians, color=colour, marker=marker, label=label)
        axes.annotate(
            f"{medians[-1]:.3g} KB",
            (histories[-1], medians[-1]),
            xytext=(-4, above),
            textcoords="offset points",
            ha="right",
            color=colour,
        )
    axes.set_yscale("log")
    axes.margins(y=0.12)
    axes.set_xlabel("turns in the session before this one")
    axes.set_ylabel("KB of TCP payload a turn, both ways")
    axes.set_title("A turn with 2 tool calls, 8 tools declared; the connection is reused")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "wire.png", dpi=150, metadata={"Software": ""})
    figure.savefig(folder / "wire.svg", metadata={"Date": ""})
    plt.close(figure)
