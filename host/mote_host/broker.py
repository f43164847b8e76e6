"""The connection to the MQTT broker: version 5, or 3.1.1 where a broker has no other."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiomqtt
from aiomqtt import ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mote_host.config import BrokerSettings, broker_password
from mote_host.errors import BrokerError, ConfigError

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 30
MAX_QUEUED = 1000  # messages that wait here; devices repeat what is dropped
MAX_PACKET_BYTES = 131072  # that the broker may send here: a message and its head, twice

# Reason codes that say nothing about the version: bad user or password, not authorised, banned.
_REFUSED = (4, 5, 0x86, 0x87, 0x8A)


class Broker:
    """Connects as the configuration says, and remembers which version the broker speaks."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._version = ProtocolVersion.V5

    @property
    def address(self) -> str:
        """Host and port, for people."""
        return f"{self._settings.host}:{self._settings.port}"

    @property
    def version(self) -> str:
        """The version that is spoken, or tried first."""
        return "5" if self._version == ProtocolVersion.V5 else "3.1.1"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[aiomqtt.Client]:
        """A connection. Raises BrokerError if there is none to be had, or once it breaks."""
        try:
            async with AsyncExitStack() as stack:
                yield await self._open(stack)
        except aiomqtt.MqttError as exc:
            raise BrokerError(f"the broker at {self.address}: {exc}") from exc

    async def _open(self, stack: AsyncExitStack) -> aiomqtt.Client:
        first = self._version
        other = ProtocolVersion.V311 if first == ProtocolVersion.V5 else ProtocolVersion.V5
        try:
            return await stack.enter_async_context(self._client(first))
        except aiomqtt.MqttError as exc:
            if not _may_be_version(exc):
                raise
        client = await stack.enter_async_context(self._client(other))
        self._version = other
        return client

    def _client(self, version: ProtocolVersion) -> aiomqtt.Client:
        broker = self._settings
        return _Client(
            broker.host,
            broker.port,
            username=broker.user or None,
            password=broker_password(broker),
            protocol=version,
            timeout=CONNECT_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=MAX_QUEUED,
            properties=_properties() if version == ProtocolVersion.V5 else None,
            tls_context=self._tls(),
            # else each message waits for the acknowledgement of the one before
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )

    def _tls(self) -> ssl.SSLContext | None:
        if not self._settings.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self._settings.ca_file or None)
        except OSError as exc:
            raise ConfigError(f"{self._settings.ca_file}: broker.ca_file: {exc}") from exc


def _properties() -> Properties:
    """Of CONNECT: what is longer the broker drops for us (MQTT 5.0, 3.1.2.11.4)."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's own
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    return properties


class _Client(aiomqtt.Client):
    """Notices at once that a broker hangs up in place of a CONNACK; amqtt does so on version 5.

    aiomqtt 2.x would wait for its time-out.
    """

    def _on_disconnect(self, *args: Any, **kwargs: Any) -> None:
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("it hung up on the connection"))
        super()._on_disconnect(*args, **kwargs)


def _may_be_version(exc: aiomqtt.MqttError) -> bool:
    """Whether the other version may fare better: not if nobody listens, or the login is wrong."""
    if isinstance(exc, aiomqtt.MqttCodeError):
        return getattr(exc.rc, "value", exc.rc) not in _REFUSED
    # aiomqtt hides the cause of a failed connect, but not its context.
    reason = exc.__context__
    return not isinstance(reason, OSError) or isinstance(reason, TimeoutError)
