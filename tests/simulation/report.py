"""What came of a run, in numbers and in words."""

import dataclasses
from collections import Counter

from tests.simulation.runs import Job
from tests.simulation.simulation import Outcome

_DAY_MS = 86400000
_SUMS = (
    *("turns", "answered", "provider_calls", "once_runs", "records", "messages"),
    *("power_cuts", "steps", "device_ms"),
)


class Report:
    """Adds up outcomes."""

    def __init__(self) -> None:
        self.broken: list[tuple[Job, Outcome]] = []
        self.tried: list[int] = []
        self.hash = ""  # of the trace of the last one
        self.cpu_s = 0.0
        self.sums: Counter[str] = Counter()
        self.mixes: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.tried)

    def add(self, job: Job, outcome: Outcome) -> None:
        """Take one into account."""
        self.tried.append(job.seed)
        self.hash = outcome.hash
        self.cpu_s += outcome.cpu_s
        self.mixes[outcome.mix] += 1
        self.happened.update(outcome.counts)
        self.sums.update({name: getattr(outcome, name) for name in _SUMS})
        if outcome.broken:
            self.broken.append((job, outcome))

    def span(self) -> str:
        """Which seeds these were."""
        return f"seeds {min(self.tried)} to {max(self.tried)}" if self.tried else "no seed"

    def line(self) -> str:
        """How far it is."""
        text = f"{self.seeds} seeds, {self.sums['turns']} turns, {len(self.broken)} broken"
        return f"{text}, {self._days():.1f} device-days"

    def numbers(self, seconds: float) -> dict[str, object]:
        """All of it; `seconds` is how long it took."""
        sums = dict(self.sums)
        sums.pop("device_ms", None)
        return {
            "seeds": self.seeds,
            "broken": [dataclasses.asdict(job) | {"why": o.broken} for job, o in self.broken],
            "seconds": round(seconds, 1),
            "cpu_seconds": round(self.cpu_s, 1),
            "turns_a_minute": round(self.sums["turns"] / max(seconds, 0.1) * 60),
            "turns_a_cpu_minute": round(self.sums["turns"] / max(self.cpu_s, 0.1) * 60),
            "device_days": round(self._days(), 2),
            **sums,
            "mixes": dict(sorted(self.mixes.items())),
            "happened": dict(sorted(self.happened.items())),
            "hash": self.hash if self.seeds == 1 else "",
        }

    def words(self, seconds: float) -> str:
        """The same for a person, a line each."""
        numbers = self.numbers(seconds)
        lines = [f"{k.replace('_', ' '):>16}  {v}" for k, v in numbers.items() if _is_plain(v)]
        for name in ("mixes", "happened"):
            found = numbers[name]
            assert isinstance(found, dict)
            text = ", ".join(f"{what} {n}" for what, n in found.items())
            lines.append(f"{name:>16}  {text}")
        lines.append(f"{len(self.broken)} of {self.seeds} seeds broke a promise")
        return "\n".join(lines)

    def _days(self) -> float:
        return self.sums["device_ms"] / _DAY_MS


def _is_plain(value: object) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and value != "")


def broken(job: Job, outcome: Outcome) -> str:
    """The end of the trace, what was not kept, and how to see it again."""
    lines = [*outcome.tail, ""]
    lines.append(f"BROKEN in seed {job.seed}, mix {outcome.mix}: {outcome.broken}")
    lines.append(f"to see it again: {job.command()}")
    return "\n".join(lines) + "\n"
