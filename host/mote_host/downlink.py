"""What the gateway says to devices: authenticated, under counters that the store hands out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from mote import wire
from mote.msgpack import Packer

from mote_host.branches import Payload
from mote_host.references import digest
from mote_host.registry import Registry, mac
from mote_host.store import Device, Store, StoredReply
from mote_host.uplink import Hello

Publish = Callable[[str, bytes], Awaitable[None]]
Fields = tuple[int | bytes | str | None, ...]
"""A `dn` message behind its counter: the type, then what `mote.wire` lists for it."""

MAX_FAIL_BYTES = 400


class MqttClient(Protocol):
    """What is needed of `aiomqtt.Client` here."""

    async def publish(self, topic: str, payload: bytes, qos: int = 0) -> None: ...


def topic(device: str) -> str:
    """Where a device listens to the gateway."""
    return f"mote/{device}/dn"


def tip(device: Device, now_ms: int) -> Fields:
    """TIP: what the replica holds, the time, and which records the device shall take back."""
    place = wire.TIP, device.tip, device.tip_hash[: wire.ID], device.epoch, now_ms // 1000
    if device.first is not None and device.last is not None:
        return *place, device.first, device.last
    # nothing that must not happen twice may begin before it is known what else there was
    return place if device.parting is None else (*place, 0, device.parting)


def whole(last: int) -> Fields:
    """WHOLE: records up to `last` without references."""
    return wire.WHOLE, last


def record(lost: Payload) -> Fields:
    """RECORD: bytes of a lost record."""
    place = lost.last, lost.seq, lost.kind, lost.offset, lost.length
    return wire.RECORD, *place, lost.data


def busy(request_id: bytes, wait_ms: int) -> Fields:
    """BUSY: the reply is in work."""
    return wire.BUSY, request_id, wait_ms


def tools(tools_hash: bytes) -> Fields:
    """TOOLS: these declarations are missing here."""
    return wire.TOOLS, tools_hash


def reply(request_id: bytes, stored: StoredReply, offset: int, part_bytes: int) -> list[Fields]:
    """REPLY messages from `offset` on and REPLY_END with the last bytes, or FAIL."""
    if stored.state == "failed":
        return [(wire.FAIL, request_id, stored.body[:MAX_FAIL_BYTES].decode(errors="ignore"))]
    body = stored.body
    parts: list[Fields] = [
        (wire.REPLY, request_id, at, body[at : at + part_bytes])
        for at in range(offset, len(body), part_bytes)
    ]
    tokens = stored.tokens_in + stored.tokens_out
    end = wire.REPLY_END, request_id, len(body), digest(body), stored.calls, tokens
    if not parts:
        return [end]
    return [*parts[:-1], (*end, *parts[-1][2:])]


def seal(key: bytes, nonce: bytes, counter: int, fields: Fields) -> bytes:
    """The bytes of one `dn` message."""
    room = 32 + sum(9 + len(f) * 4 if isinstance(f, (bytes, str)) else 9 for f in fields)
    packer = Packer(bytearray(room)).array(1 + len(fields)).int(counter)
    for field in fields:
        packer.value(field)
    array = bytes(packer.taken())
    signature: bytes = mac(key, "dn").sign(nonce, array)
    return signature + array


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

    async def send_once(self, device: str, hello: Hello, fields: Fields) -> None:
        """Answer a hello whose nonce is not taken into the store: its only message."""
        key = await asyncio.to_thread(self._registry.key, device)
        if key is not None and self.publish is not None:
            # its number rises with each hello, as a counter must within a nonce
            await self.publish(topic(device), seal(key, hello.nonce, hello.count, fields))

    def _seal(self, device: str, messages: list[Fields]) -> list[bytes]:
        key = self._registry.key(device)
        taken = self._store.take_counters(device, len(messages)) if key else None
        if key is None or taken is None:
            return []
        nonce, first = taken
        return [seal(key, nonce, first + n, fields) for n, fields in enumerate(messages)]
