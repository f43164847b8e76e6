"""A model of an MQTT broker and the network around it.

Clients of QoS 1 (devices on `in`, people on `out`) have a session that outlives connections: what
is not acknowledged comes again, marked as a duplicate, unless it has expired or a restart of the
broker has lost the session. `up` and `dn` are QoS 0: lost, repeated, late and out of order at
rates. What travels on a connection that ends is gone, in both directions.
"""

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tests.simulation.clock import Clock
from tests.simulation.faults import Mix
from tests.simulation.trace import Trace

_WINDOW = 4  # of QoS 1 messages on their way to a client: the receive maximum of a device
_LATE_MS = 3000
_MOST_QUEUED = 200  # messages with QoS 0 that the broker holds for one client


class Client(Protocol):
    """Who connects. `filters` are the last levels of the topics it hears."""

    name: str
    device: str | None  # whose topics it hears; None: everybody's
    filters: tuple[str, ...]
    persistent: bool

    def arrived(self, device: str, tail: str, payload: bytes, pid: int) -> None:
        """A message; `pid` is 0 with QoS 0, else to be acknowledged."""

    def acknowledged(self, pid: int) -> None:
        """The broker has that message."""

    def hung_up(self, link: "Connection") -> None:
        """That connection is gone."""


@dataclass(slots=True)
class Message:
    """One with QoS 1, on its way to a client."""

    device: str
    tail: str
    payload: bytes
    expires: int | None
    pid: int = 0


class Session:
    """What the broker keeps of a client."""

    def __init__(self) -> None:
        self.queue: deque[Message] = deque()
        self.flying: dict[int, Message] = {}
        self.pid = 0


class Connection:
    """Between a client and the broker. `session` is the broker's, of persistent clients."""

    def __init__(self, client: Client, session: Session) -> None:
        self.client = client
        self.session = session
        self.alive = True
        self.present = False  # the broker had kept the session
        self.up_at = self.down_at = 0  # what is reliable stays in order


class Broker:
    """One broker; `mix` and `up` may change at any time."""

    def __init__(self, clock: Clock, random: Random, trace: Trace, mix: Mix) -> None:
        self.mix = mix
        self.up = True
        self.messages = 0
        self.connections: dict[str, Connection] = {}
        self._clock = clock
        self._random = random
        self._trace = trace
        self._sessions: dict[str, Session] = {}

    # -- connections

    def connect(self, client: Client) -> Connection | None:
        """A new connection, which ends the one before; None if the broker is down."""
        if not self.up:
            return None
        self.hang_up(client.name)
        present = client.name in self._sessions
        session = self._sessions[client.name] if present else Session()
        if client.persistent:
            self._sessions[client.name] = session
        connection = self.connections[client.name] = Connection(client, session)
        connection.present = present
        session.queue.extendleft(reversed(session.flying.values()))
        session.flying.clear()
        self._clock.after(self.latency(), self._feed, connection)
        return connection

    def hang_up(self, name: str) -> None:
        """End the connection of that client; it hears of it a little later."""
        connection = self.connections.pop(name, None)
        if connection:
            connection.alive = False
            self._clock.after(self.latency(), connection.client.hung_up, connection)

    def drop(self, name: str) -> None:
        """The same, but there is nobody any more who could hear of it."""
        connection = self.connections.pop(name, None)
        if connection:
            connection.alive = False

    def stop(self, forget: bool) -> None:
        """Go down, with or without the sessions."""
        self.up = False
        for name in list(self.connections):
            self.hang_up(name)
        if forget:
            self._sessions.clear()

    def waiting(self) -> int:
        """How many messages with QoS 1 are not delivered yet."""
        return sum(len(s.queue) + len(s.flying) for s in self._sessions.values())

    # -- from clients

    def publish(
        self, link: Connection, device: str, tail: str, payload: bytes, pid: int = 0
    ) -> None:
        """From the client of that connection; with a `pid` it is QoS 1."""
        if pid:
            self._surely(link, True, self._take, link, device, tail, payload, pid)
        else:
            self._perhaps(link, self._take, link, device, tail, payload, 0)

    def acknowledge(self, link: Connection, pid: int) -> None:
        """The client has that message."""
        self._surely(link, True, self._settled, link, pid)

    def _settled(self, link: Connection, pid: int) -> None:
        link.session.flying.pop(pid, None)
        self._feed(link)

    def _take(self, link: Connection, device: str, tail: str, payload: bytes, pid: int) -> None:
        self.route(device, tail, payload, bool(pid))
        if pid:
            self._surely(link, False, link.client.acknowledged, pid)

    # -- to clients

    def route(
        self, device: str, tail: str, payload: bytes, sure: bool, expires: int | None = None
    ) -> None:
        """To all who subscribed."""
        self.messages += 1
        for link in list(self.connections.values()):
            client = link.client
            if tail not in client.filters or client.device not in (None, device):
                continue
            if sure and client.persistent:
                link.session.queue.append(Message(device, tail, payload, expires))
                self._feed(link)
            else:
                self._perhaps(link, client.arrived, device, tail, payload, 0)
        if sure:
            self._keep(device, tail, payload, expires)

    def _keep(self, device: str, tail: str, payload: bytes, expires: int | None) -> None:
        """For those who are away; a session's name says what it hears."""
        name = device if tail == "in" else "people"
        if name not in self.connections and name in self._sessions:
            self._sessions[name].queue.append(Message(device, tail, payload, expires))

    def _feed(self, link: Connection) -> None:
        session = link.session
        while link.alive and session.queue and len(session.flying) < _WINDOW:
            message = session.queue.popleft()
            if message.expires is not None and self._clock.now >= message.expires:
                self._trace("broker", "expired", message.device)
                continue
            if not message.pid:
                session.pid = session.pid % 65535 + 1
                message.pid = session.pid
            session.flying[message.pid] = message
            given = message.device, message.tail, message.payload, message.pid
            self._surely(link, False, link.client.arrived, *given)

    # -- the network

    def latency(self) -> int:
        """Of one message, in ms."""
        return 1 + int(self._random.random() * 20)

    def _surely(self, link: Connection, up: bool, do: object, *args: object) -> None:
        """In order, unless the connection ends before."""
        when = self._clock.now + self.latency()
        if up:
            when = link.up_at = max(link.up_at, when)
        else:
            when = link.down_at = max(link.down_at, when)
        self._clock.at(when, self._arrive, link, do, args)

    def _perhaps(self, link: Connection, do: object, *args: object) -> None:
        """With QoS 0: as the mix says."""
        random, mix = self._random, self.mix
        if mix.loss and random.random() < mix.loss:
            self._trace("network", "lost", args[1])
            return
        for _ in range(2 if mix.duplicate and random.random() < mix.duplicate else 1):
            late = mix.reorder and random.random() < mix.reorder
            ms = random.randrange(_LATE_MS) if late else self.latency()
            self._clock.after(ms, self._arrive, link, do, args)

    def _arrive(self, link: Connection, do: object, args: tuple[object, ...]) -> None:
        if link.alive:
            do(*args)  # type: ignore[operator]
