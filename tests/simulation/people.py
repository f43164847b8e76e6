"""People who ask, wait, lose patience, ask again with the same id, and cancel."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from mote_host import cancelling

from tests.simulation.broker import Broker, Connection
from tests.simulation.clock import Clock
from tests.simulation.faults import Mix
from tests.simulation.trace import Trace
from tests.simulation.violation import hold

_SESSIONS = ("s0", "s1", "s2", "s3")  # of one device: one more than it remembers
_WEIGHTS = (20, 12, 6, 1)


class Hub:
    """The connection of all people: hears `out`. `heard(device, fields, payload)`."""

    name = "people"
    device = None
    filters = ("out",)
    persistent = True

    def __init__(self, clock: Clock, broker: Broker, heard: Callable[..., None]) -> None:
        self._clock, self._broker, self._heard = clock, broker, heard
        self._link: Connection | None = None

    def begin(self) -> None:
        """Connect, again and again."""
        self._link = self._broker.connect(self)
        if not self._link:
            self._clock.after(1000, self.begin)

    def arrived(self, device: str, tail: str, payload: bytes, pid: int) -> None:
        """An answer."""
        self._heard(device, json.loads(payload), payload)
        if pid and self._link:
            self._broker.acknowledge(self._link, pid)

    def acknowledged(self, pid: int) -> None:
        """Nothing is published through it."""

    def hung_up(self, link: Connection) -> None:
        """The connection is gone."""
        self._link = None
        self._clock.after(200, self.begin)


class Person:
    """Asks one device, one question after the other; `asking` is the id of the present one.

    `until` is when nothing new is asked any more; `store` gives a gateway's store, or None.
    """

    def __init__(
        self,
        name: str,
        device: Any,
        clock: Clock,
        random: Random,
        trace: Trace,
        broker: Broker,
        store: Callable[[], Any],
    ) -> None:
        self.name = name
        self.mix = Mix()
        self.asking = ""
        self.answered = 0
        self.until = 0
        self.pace_ms = 5000
        self.answers: dict[str, set[bytes]] = {}
        self._device = device
        self._clock, self._random, self._trace = clock, random, trace
        self._broker, self._store = broker, store
        self._asked = 0
        self._payload = b""

    def begin(self) -> None:
        """Think, then ask."""
        self._clock.after(1 + int(self.pace_ms * self._random.expovariate(1)), self._ask)

    def _ask(self) -> None:
        if self._clock.now >= self.until:
            return
        random = self._random
        self._asked += 1
        session = random.choices(_SESSIONS, _WEIGHTS)[0]
        text = f"do {self._asked} " + "ä" * random.choice((0, 0, 5, 30, 60))
        if random.random() < self.mix.nameless:
            self._publish(text.encode() if random.random() < 0.5 else _json(text, session, ""))
            self.begin()
            return
        self.asking = f"{self.name}-{self._asked}"
        self._payload = _json(text, session, self.asking)
        self._try(self.asking)
        if random.random() < self.mix.cancels:
            self._clock.after(random.randrange(20000), self._cancel, session)

    def _try(self, asking: str) -> None:
        """Ask, and again if there is no answer after a while: whatever was lost on the way."""
        if asking != self.asking:
            return
        self._publish(self._payload)
        impatient = self._random.random() < self.mix.impatient
        wait_ms = 1000 if impatient else 60000
        self._clock.after(wait_ms + self._random.randrange(30000), self._try, asking)

    def _publish(self, payload: bytes) -> None:
        random = self._random
        if not self._broker.up or random.random() < self.mix.loss:
            return
        expires = None
        if random.random() < self.mix.expiry:
            expires = self._clock.now + random.choice((100, 3000, 30000))
        self._broker.route(self._device.name, "in", payload, True, expires)

    def _cancel(self, session: str) -> None:
        """As `mote cancel` does."""
        store = self._store()
        if not store or not self._broker.up:
            return
        gateway, session_or_all = store, self._random.choice((session, None))
        name = self._device.name
        known = gateway.store.device(name)
        if known is None or not known.nonce:
            return
        now_ms = int(gateway.wall_s() * 1000)
        keys = gateway._keys
        payload = cancelling.cancel(gateway.store, keys, name, session_or_all, now_ms)
        self._trace(self.name, "cancel", session_or_all or "all")
        self._broker.route(name, "dn", payload, False)

    def heard(self, fields: dict[str, Any], payload: bytes) -> None:
        """Something that was said to an ask of this person."""
        name = fields["id"]
        if fields["status"] == "refused":
            final = "answered already" in fields["text"] or "is over" in fields["text"]
            if name == self.asking and final and "hour" not in fields["text"]:
                self._next()
            return
        known = self.answers.setdefault(name, set())
        known.add(payload)
        history = self._device.history
        taken = sum(name == other for other in history.asks.values())
        text = f"{len(known)} answers to {name}, which was taken {taken} times: {known}"
        hold(history.damaged or len(known) <= taken, self.name, text)
        if name == self.asking:
            self.answered += 1
            self._next()

    def _next(self) -> None:
        self.asking = ""
        self.begin()


def _json(text: str, session: str, name: str) -> bytes:
    fields = {"text": text, "session": session, "id": name}
    return json.dumps(fields, ensure_ascii=False).encode()
