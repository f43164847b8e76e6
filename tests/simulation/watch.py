"""What must hold of all gateways on one store: of provider calls, of replies, of counters."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from mote_host.downlink import seal

from tests.simulation.violation import hold


class Watch:
    """What must hold of all gateways on one store. `told` gets each new record."""

    def __init__(self, told: Callable[[str, Any], None]) -> None:
        self.told = told
        self.allowed = 1  # provider calls that may complete for one request
        self.crashed: Counter[bytes] = Counter()  # those that may once more
        self.lost = False  # a store was lost, or is an older copy
        self.completed: Counter[bytes] = Counter()
        self.sealed: dict[tuple[bytes, int], bytes] = {}
        self.released: dict[bytes, Any] = {}
        self._requests: dict[Any, bytes] = {}  # by task

    def on_model(self, device: str, event: str, known: dict[str, Any]) -> None:
        """A task of a gateway turns to the provider for a request."""
        if event == "begin":
            self._requests[asyncio.current_task()] = bytes.fromhex(known["request"])

    def complete(self, task: Any) -> None:
        """A provider call is complete."""
        request = self._requests[task]
        self.completed[request] += 1
        n, most = self.completed[request], self.allowed + self.crashed[request]
        hold(n <= most, "provider", f"{n} calls for request {request.hex()}")

    def crash(self, loop: Any) -> None:
        """The gateway of that loop dies: what it had not stored may be asked once more."""
        for task, request in self._requests.items():
            if task.get_loop() is loop and not task.done():
                self.crashed[request] += 1
        self._requests = {task: r for task, r in self._requests.items() if not task.done()}

    def seal(self, key: bytes, nonce: bytes, counter: int, fields: Any) -> bytes:
        """Seal a message, and hold it against those before."""
        sealed = seal(key, nonce, counter, fields)
        before = self.sealed.setdefault((nonce, counter), sealed)
        hold(self.lost or before == sealed, "gateway", f"counter {counter} of a nonce twice")
        if fields[0] in (2, 3, 5):
            self._release(fields)
        return sealed

    def _release(self, fields: Any) -> None:
        """REPLY, REPLY_END, FAIL: those of one request are of one reply."""
        kind, request = fields[:2]
        if self.lost:
            return
        text = f"two replies to request {request.hex()}"
        known = self.released.setdefault(request, {})
        offset, data = None, b""
        if kind == 2:
            offset, data = fields[2], fields[3]
        elif kind == 3 and len(fields) > 6:
            offset, data = fields[6], fields[7]
        if kind == 5:
            hold(not known or known == {"fail": fields[2]}, "gateway", text)
            known["fail"] = fields[2]
            return
        hold("fail" not in known, "gateway", text)
        if data:
            before = known.setdefault(offset, data)
            n = min(len(before), len(data))
            hold(before[:n] == data[:n], "gateway", text)
        if kind == 3:
            hold(known.setdefault("end", fields[2:6]) == fields[2:6], "gateway", text)
