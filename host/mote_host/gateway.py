"""The gateway: the service on its connection to the broker, for as long as it runs."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable

import aiomqtt

from mote_host.answering import Answering, OnModel
from mote_host.broker import Broker
from mote_host.config import Settings
from mote_host.downlink import Downlink
from mote_host.errors import BrokerError
from mote_host.providers.base import Provider
from mote_host.registry import Registry
from mote_host.serve import OnRecord, Service
from mote_host.store import Store

UP = "mote/+/up"
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

_log = logging.getLogger("mote.gateway")


class Gateway:
    """Serves the devices of one broker. `ready` is set while it is connected and subscribed.

    It closes neither the store nor the provider: they are the caller's.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        store: Store,
        provider: Provider,
        *,
        on_record: OnRecord | None = None,
        on_model: OnModel | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ready = asyncio.Event()
        self._broker = Broker(settings.broker)
        self._down = Downlink(store, registry)
        answering = Answering(settings, store, provider, on_model=on_model, clock=clock)
        self._service = Service(registry, store, answering, self._down, on_record=on_record)
        self._why: str | None = None

    @property
    def dropped(self) -> Counter[str]:
        """How many messages were dropped, by why."""
        return self._service.dropped

    async def run(self) -> None:
        """Serve until cancelled; a broker that goes away is waited for.

        Raises ConfigError or StoreError if it can't begin.
        """
        async with self._service.running():
            failures = 0
            while True:
                try:
                    async with self._broker.connected() as client:
                        await self._subscribe(client)
                        failures = 0
                        await self._listen(client)
                except BrokerError as exc:
                    self._say(str(exc))
                finally:
                    self.ready.clear()
                    self._down.publish = None
                await asyncio.sleep(_pause_s(failures))
                failures += 1

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        await client.subscribe(UP, qos=0)

        async def publish(topic: str, payload: bytes) -> None:
            try:
                await client.publish(topic, payload, qos=0)
            except aiomqtt.MqttError as exc:
                # The listening side sees the same and reconnects; devices ask again.
                _log.debug("%s: not sent: %s", topic, exc)

        self._down.publish = publish
        self._say(None)
        self.ready.set()

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            parts = message.topic.value.split("/")
            if len(parts) == 3 and isinstance(message.payload, (bytes, bytearray)):
                await self._service.receive(parts[1], bytes(message.payload))

    def _say(self, why: str | None) -> None:
        """Log what keeps the gateway from its broker, once for each change; None: nothing."""
        if why is None:
            _log.info("connected to %s, MQTT %s", self._broker.address, self._broker.version)
        elif why != self._why:
            _log.warning("%s; trying again", why)
        self._why = why


def _pause_s(failures: int) -> float:
    """Doubles with every failure, up to a bound; jitter keeps gateways from returning as one."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
    return longest * (0.5 + random.random() / 2)  # noqa: S311 (no secret)
