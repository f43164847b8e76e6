"""Who asks in a storm: publishes each ask until its answer is there, and keeps all answers."""

import asyncio
import json
import logging
from collections import Counter, defaultdict
from contextlib import suppress
from time import monotonic
from typing import Any

import aiomqtt

from tests.e2e.storm_model import Asked

HOST = "127.0.0.1"
_AGAIN_S = 4.0  # before an ask is published again
_TIMEOUT_S = 3.0
_KEEPALIVE_S = 5
_PAUSE_S = 0.2
_LOGGER = logging.getLogger("storm.asker")
_LOGGER.setLevel(logging.CRITICAL)  # its connection is to fail; nobody need be told


class Asker:
    """One MQTT client. `answers` has what came on `out`, by ask id: each payload and how often."""

    def __init__(self, port: int) -> None:
        self.answers: defaultdict[str, Counter[bytes]] = defaultdict(Counter)
        self.statuses: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.published = 0
        self.waited_s: list[float] = []
        self._port = port
        self._client: aiomqtt.Client | None = None
        self._there: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """Be connected, whatever happens, until cancelled."""
        while True:
            with suppress(aiomqtt.MqttError, OSError):
                async with aiomqtt.Client(
                    HOST,
                    self._port,
                    identifier="storm-asker",
                    timeout=_TIMEOUT_S,
                    keepalive=_KEEPALIVE_S,
                    logger=_LOGGER,
                ) as client:
                    await client.subscribe("mote/+/out", qos=1)
                    self._client = client
                    async for message in client.messages:
                        self._take(bytes(message.payload))  # type: ignore[arg-type]
            self._client = None
            await asyncio.sleep(_PAUSE_S)

    async def ask(self, asked: Asked, ask_id: str, within_s: float) -> bool:
        """Ask until the answer is there; False if it did not come in time."""
        there = self._there[ask_id] = asyncio.Event()
        asks = {"text": asked.text, "session": f"s{asked.number % 3}", "id": ask_id}
        payload = json.dumps(asks)
        began = monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not there.is_set():
                    await self._publish(f"mote/{asked.device}/in", payload)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_AGAIN_S):
                            await there.wait()
        self.waited_s.append(monotonic() - began)
        del self._there[ask_id]
        return there.is_set()

    async def _publish(self, topic: str, payload: str) -> None:
        client = self._client
        if client is None:
            return
        with suppress(aiomqtt.MqttError):
            self.published += 1
            await client.publish(topic, payload, qos=1, timeout=_TIMEOUT_S)

    def _take(self, payload: bytes) -> None:
        answer: dict[str, Any] = json.loads(payload)
        if answer["status"] == "refused":
            self.refused[answer["text"]] += 1
            return
        ask_id = answer["id"]
        if ask_id not in self.answers:
            self.statuses[answer["status"]] += 1
        self.answers[ask_id][payload] += 1
        if ask_id in self._there:
            self._there[ask_id].set()
