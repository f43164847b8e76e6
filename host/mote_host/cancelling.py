"""Cancelling what a device does, from any process that has the store and the keys.

An order counts only if its counter is above all that the device has seen, and a gateway sends
under the same counters meanwhile. So it is sent again, under a new counter each time, until the
device shows that it has cancelled something.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
from mote import records as r
from mote import wire

from mote_host.downlink import seal, topic
from mote_host.errors import DeviceError
from mote_host.registry import Registry
from mote_host.store import Store
from mote_host.turns import overheard

VALID_MS = 30000
_REPEAT_S = 1.0


def cancel(
    store: Store, registry: Registry, device: str, session: str | None, now_ms: int
) -> bytes:
    """A CANCEL for a session, or for all (None), good for VALID_MS from `now_ms` on.

    Raises DeviceError if the device is not enrolled or was never heard.
    """
    key = registry.key(device)
    if key is None:
        raise DeviceError(f"{device} is not enrolled")
    known, taken = store.device(device), store.take_counters(device)
    if known is None or taken is None:
        raise DeviceError(f"{device} has not said hello to the gateway yet")
    expires_ms = max(0, now_ms - known.hello_unix_ms) + VALID_MS
    return seal(key, taken[0], taken[1], (wire.CANCEL, session, expires_ms))


@dataclass(slots=True)
class Signs:
    """What shows that a device has cancelled turns: CANCEL records, and answers that say so."""

    device: str
    session: str | None
    records: set[int] = field(default_factory=set)
    answers: set[str] = field(default_factory=set)

    @property
    def turns(self) -> int:
        """How many turns were cancelled, as far as it shows."""
        return max(len(self.records), len(self.answers))

    def take(self, at: str, payload: bytes) -> None:
        """Look at a message of the device's topics `up` and `out`."""
        if at == f"mote/{self.device}/up":
            self.records.update(x.seq for x in overheard(payload) if x.kind == r.CANCEL)
        elif at == f"mote/{self.device}/out":
            self._answer(payload)

    def look(self, store: Store, behind: int) -> None:
        """Look at the replica's records behind that one."""
        found = store.records(self.device, behind + 1)
        self.records.update(x.seq for x in found if x.kind == r.CANCEL)

    def _answer(self, payload: bytes) -> None:
        with suppress(ValueError, TypeError, KeyError):
            told: Any = json.loads(payload)
            if told["status"] == "cancelled" and self.session in (None, told["session"]):
                self.answers.add(str(told["id"]))


async def cancel_turns(
    client: aiomqtt.Client,
    store: Store,
    registry: Registry,
    device: str,
    session: str | None,
    *,
    now_ms: Callable[[], int],
) -> Signs:
    """Order it each second until there is a sign of it; put a time-out around it.

    Raises DeviceError, aiomqtt.MqttError.
    """
    known = await asyncio.to_thread(store.device, device)
    signs = Signs(device, session)
    await client.subscribe(f"mote/{device}/up", qos=0)
    await client.subscribe(f"mote/{device}/out", qos=1)
    while not signs.turns:
        order = await asyncio.to_thread(cancel, store, registry, device, session, now_ms())
        await client.publish(topic(device), order, qos=0)
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPEAT_S):
                while not signs.turns:
                    message = await anext(client.messages)
                    if isinstance(message.payload, (bytes, bytearray)):
                        signs.take(message.topic.value, bytes(message.payload))
        if known is not None:
            await asyncio.to_thread(signs.look, store, known.tip)
    return signs
