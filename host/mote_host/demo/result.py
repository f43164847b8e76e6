"""What came of a demo."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one demo; `up` and `down` are bytes of the device's TCP payload."""

    answer: str
    status: str
    tool_calls: list[dict[str, Any]]
    records: int
    audit_verified: bool
    up: int
    down: int
    log_bytes: int
    seconds: float
    runtime: str
    broker: str
    provider: str

    def as_json(self) -> dict[str, Any]:
        """The object that `mote demo --json` prints."""
        return {
            "answer": self.answer,
            "status": self.status,
            "tool_calls": self.tool_calls,
            "records": self.records,
            "audit_verified": self.audit_verified,
            "wire_bytes": {"up": self.up, "down": self.down},
            "log_bytes": self.log_bytes,
            "seconds": self.seconds,
            "runtime": self.runtime,
            "broker": self.broker,
            "provider": self.provider,
        }
