"""What the gateway says to devices: authenticated, under counters that the store hands out."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from mote import wire
from mote.msgpack import Packer

from mote_host.errors import DeviceError
from mote_host.registry import Registry
from mote_host.store import Device, Store, StoredReply

Publish = Callable[[str, bytes], Awaitable[None]]
Fields = tuple[int | bytes | str | None, ...]
"""A `dn` message behind its counter: the type, then what `mote.wire` lists for it."""

CANCEL_VALID_MS = 30000
MAX_FAIL_BYTES = 400


class MqttClient(Protocol):
    """What is needed of `aiomqtt.Client` here."""

    async def publish(self, topic: str, payload: bytes, qos: int = 0) -> None: ...


def topic(device: str) -> str:
    """Where a device listens to the gateway."""
    return f"mote/{device}/dn"


def tip(device: Device, now_ms: int) -> Fields:
    """TIP: what the replica holds, and the time."""
    return wire.TIP, device.tip, device.tip_hash[: wire.ID], device.epoch, now_ms // 1000


def busy(request_id: bytes, wait_ms: int) -> Fields:
    """BUSY: the reply is in work."""
    return wire.BUSY, request_id, wait_ms


def tools(tools_hash: bytes) -> Fields:
    """TOOLS: these declarations are missing here."""
    return wire.TOOLS, tools_hash


def reply(request_id: bytes, stored: StoredReply, offset: int, part_bytes: int) -> list[Fields]:
    """REPLY messages from `offset` on and REPLY_END, or FAIL."""
    if stored.state == "failed":
        return [(wire.FAIL, request_id, stored.body[:MAX_FAIL_BYTES].decode(errors="ignore"))]
    body = stored.body
    parts: list[Fields] = [
        (wire.REPLY, request_id, at, body[at : at + part_bytes])
        for at in range(offset, len(body), part_bytes)
    ]
    digest = hashlib.sha256(body).digest()[: wire.ID]
    tokens = stored.tokens_in + stored.tokens_out
    parts.append((wire.REPLY_END, request_id, len(body), digest, stored.calls, tokens))
    return parts


def seal(key: bytes, nonce: bytes, counter: int, fields: Fields) -> bytes:
    """The bytes of one `dn` message."""
    room = 32 + sum(9 + len(f) * 4 if isinstance(f, (bytes, str)) else 9 for f in fields)
    packer = Packer(bytearray(room)).array(1 + len(fields)).int(counter)
    for field in fields:
        packer.value(field)
    array = bytes(packer.taken())
    mac: bytes = wire.subkey(key, "dn").sign(nonce, array)
    return mac + array


class Downlink:
    """Sends to devices. `publish` is None while there is no connection: devices ask again."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.publish: Publish | None = None
        self._store = store
        self._registry = registry
        self._locks: dict[str, asyncio.Lock] = {}

    async def send(self, device: str, messages: list[Fields]) -> None:
        """Publish `messages` in order. Without a key, a hello or a connection nothing is sent."""
        # Counters must leave in the order in which they were taken.
        async with self._locks.setdefault(device, asyncio.Lock()):
            if self.publish is None:
                return
            for payload in await asyncio.to_thread(self._seal, device, messages):
                if self.publish is not None:
                    await self.publish(topic(device), payload)

    async def send_once(self, device: str, nonce: bytes, fields: Fields) -> None:
        """Answer a hello whose nonce is not taken into the store: its only message."""
        key = await asyncio.to_thread(self._registry.key, device)
        if key is not None and self.publish is not None:
            await self.publish(topic(device), seal(key, nonce, 1, fields))

    def _seal(self, device: str, messages: list[Fields]) -> list[bytes]:
        key = self._registry.key(device)
        taken = self._store.take_counters(device, len(messages)) if key else None
        if key is None or taken is None:
            return []
        nonce, first = taken
        return [seal(key, nonce, first + n, fields) for n, fields in enumerate(messages)]


def cancel(
    store: Store, registry: Registry, device: str, session: str | None, now_ms: int
) -> bytes:
    """A CANCEL for a session, or for all (None), good for CANCEL_VALID_MS from `now_ms` on.

    Raises DeviceError if the device is not enrolled or was never heard.
    """
    key = registry.key(device)
    if key is None:
        raise DeviceError(f"{device} is not enrolled")
    known, taken = store.device(device), store.take_counters(device)
    if known is None or taken is None:
        raise DeviceError(f"{device} has not said hello to the gateway yet")
    expires_ms = max(0, now_ms - known.hello_unix_ms) + CANCEL_VALID_MS
    return seal(key, taken[0], taken[1], (wire.CANCEL, session, expires_ms))


async def send_cancel(
    client: MqttClient,
    store: Store,
    registry: Registry,
    *,
    device: str,
    session: str | None,
    now_ms: int,
) -> None:
    """Publish a `cancel`, from any process that has the store and the keys."""
    payload = await asyncio.to_thread(cancel, store, registry, device, session, now_ms)
    await client.publish(topic(device), payload, qos=0)
