"""Asking a device something, as any MQTT client can, and watching what it does about it."""

import asyncio
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiomqtt
from mote import records as r

from mote_host.frames import Record
from mote_host.turns import Turns, overheard

DONE = "done"
_REPEAT_S = 3.0  # before an ask is published again; doubles
_LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back on `out`. `status` is done, limit, failed, cancelled or refused."""

    session: str
    id: str
    status: str
    text: str


class Watch:
    """Picks one ask's records out of what a device uploads, and its answer out of `out`."""

    def __init__(self, device: str, ask_id: str, on_record: Callable[[Record], None]) -> None:
        self.ask_id = ask_id
        self._up = f"mote/{device}/up"
        self._out = f"mote/{device}/out"
        self._on_record = on_record
        self._turns = Turns()
        self._turn: int | None = None
        self._seen = 0
        self.over = False  # nobody waits for the answer any more

    @property
    def accepted(self) -> bool:
        """The device is known to have the ask in its log."""
        return self._turn is not None

    def take(self, topic: str, payload: bytes) -> Answer | None:
        """Take a message; returns the answer when it is the one."""
        if topic == self._up:
            for record in overheard(payload):
                self._record(record)
        elif topic == self._out:
            return self._answer(payload)
        return None

    def _record(self, record: Record) -> None:
        if record.seq <= self._seen:
            return  # an upload that was repeated
        self._seen = record.seq
        record = self._turns.place(record)
        if record.kind == r.ASK and record.fields["ask_id"] == self.ask_id:
            self._turn = record.seq
        if record.turn is not None and record.turn == self._turn:
            self._on_record(record)

    def _answer(self, payload: bytes) -> Answer | None:
        try:
            fields: Any = json.loads(payload)
            found = Answer(*(str(fields[key]) for key in ("session", "id", "status", "text")))
        except (ValueError, KeyError, TypeError):
            return None  # somebody else's message
        return found if found.id == self.ask_id else None


async def _repeat(client: aiomqtt.Client, topic: str, payload: str, watch: Watch) -> None:
    with suppress(aiomqtt.MqttError):  # whoever reads the messages sees it too
        pause_s = _REPEAT_S
        while not (watch.accepted or watch.over):
            await client.publish(topic, payload, qos=1)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_S)  # the broker may keep them all


async def ask(
    client: aiomqtt.Client,
    device: str,
    text: str,
    *,
    session: str = "main",
    on_record: Callable[[Record], None] = lambda _: None,
) -> Answer:
    """Publish an ask and wait for its answer; `on_record` sees the turn's records on the way.

    Until the device is seen to have it, the ask is published again, less and less often: a device
    that was never connected to this broker has no session there that would keep it. The id makes
    that harmless. It waits for as long as it takes: put a time-out around it. Raises
    aiomqtt.MqttError.
    """
    watch = Watch(device, secrets.token_hex(8), on_record)
    await client.subscribe(f"mote/{device}/out", qos=1)
    await client.subscribe(f"mote/{device}/up", qos=0)
    payload = json.dumps({"text": text, "session": session, "id": watch.ask_id})
    repeating = asyncio.create_task(_repeat(client, f"mote/{device}/in", payload, watch))
    try:
        async for message in client.messages:
            if isinstance(message.payload, (bytes, bytearray)):
                answer = watch.take(message.topic.value, bytes(message.payload))
                if answer:
                    return answer
    finally:
        watch.over = True  # a cancellation inside paho's publish can be lost
        repeating.cancel()
    raise aiomqtt.MqttError("the connection ended before the answer came")
