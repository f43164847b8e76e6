"""Gateways: the product's service on the product's store, each in an event loop of its own.

A gateway that crashes stops between two steps: what it had claimed stays claimed, what it had not
sent is never sent. Several may share a store. Threads are replaced by calls that may take a while.
"""

import asyncio
import logging
import shutil
import socket
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from mote_host.answering import Answering
from mote_host.config import Settings
from mote_host.downlink import Downlink
from mote_host.registry import Registry
from mote_host.requests import MAX_WORKING
from mote_host.serve import Service
from mote_host.store import Store

from tests.simulation.broker import Broker, Connection
from tests.simulation.clock import Clock, Loop
from tests.simulation.faults import Mix
from tests.simulation.provider import Provider
from tests.simulation.trace import Trace
from tests.simulation.violation import Violation, hold
from tests.simulation.watch import Watch

_MOST_QUEUED = 1000  # messages, as in mote_host.broker
_START_S = 1_700_000_000
_PID = 1 << 22  # more than any process has


class Keys(Registry):
    """The enrolled devices, in memory."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        super().__init__(Path())
        self._keys = keys

    def key(self, name: str) -> bytes | None:
        return self._keys.get(name)


class Gateway:
    """One gateway, which may be started, stopped and killed."""

    device = None
    filters = ("up",)
    persistent = False

    def __init__(
        self,
        name: str,
        clock: Clock,
        random: Random,
        trace: Trace,
        broker: Broker,
        path: Path,
        keys: dict[str, bytes],
        provider: Provider,
        watch: Watch,
    ) -> None:
        self.name = name
        self.mix = Mix()
        self.jump_s = 0.0  # of its wall clock
        self.service: Any = None
        self.store: Any = None
        self.starts = 0
        self._clock, self._random, self._trace = clock, random, trace
        self._broker, self._path, self._keys = broker, path, Keys(keys)
        self._provider, self._watch = provider, watch
        self._settings = Settings.model_validate({"gateway": {"window_bytes": 400}})
        self._connection: Connection | None = None
        self._queue: deque[tuple[str, bytes]] = deque()
        self._loop: Loop | None = None
        self._loops: list[Loop] = []
        self._news: Any = None
        self._stop: Any = None

    def wall_s(self) -> float:
        """Its clock on the wall."""
        return _START_S + self._clock.now / 1000 + self.jump_s

    # -- its life

    def start(self) -> None:
        """Start, unless it runs."""
        if self._loop:
            return
        self.starts += 1
        self._trace(self.name, "start")
        loop = self._loop = Loop(self._clock, self._broke)
        self._loops.append(loop)
        self.store = Store(self._path)
        self.store._db.executescript(
            "PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 100000"
        )
        self._down = Downlink(self.store, self._keys)
        answers = Answering(
            self._settings,
            self.store,
            self._provider,
            on_model=self._watch.on_model,
            clock=self.wall_s,
        )
        answers.owner = f"{socket.gethostname()}/{_PID + self.starts}/{self.name}"
        self._answers = answers
        self.service = Service(
            self._keys, self.store, answers, self._down, on_record=self._watch.told
        )
        self._queue.clear()
        self._news, self._stop = asyncio.Event(), asyncio.Event()
        loop.create_task(self._run())

    def crash(self) -> None:
        """Die at once."""
        if self._loop:
            self._trace(self.name, "crash")
            self._watch.crash(self._loop)
            self._loop.kill()
            self._end()

    def stop(self) -> None:
        """End as upon a signal."""
        if self._loop:
            self._stop.set()

    def _end(self) -> None:
        self._loop = None
        self._broker.drop(self.name)
        self._connection = None
        self._random_restart()
        self.store.close()
        self.service = self.store = None

    def _random_restart(self) -> None:
        self._clock.after(self._random.choice((100, 3000, 30000)), self.start)

    def bury(self) -> None:
        """Let go of all of it."""
        if self._loop:
            self._loop.kill()
        for loop in self._loops:
            loop.bury()
        if self.store:
            self.store.close()

    def _broke(self, text: str) -> None:
        self._clock.failure = Violation(f"{self.name}: {text}")

    async def _run(self) -> None:
        """As mote_host.gateway: listen, and serve one message after the other."""
        loop = self._loop
        async with self.service.running():
            self._connect()
            while not self._stop.is_set():
                self._news.clear()
                while self._queue and not self._stop.is_set():
                    await self.service.receive(*self._queue.popleft())
                    hold(
                        len(self.service._requests.tasks) <= MAX_WORKING,
                        self.name,
                        "too many tasks",
                    )
                waits = [asyncio.ensure_future(e.wait()) for e in (self._news, self._stop)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
        self._trace(self.name, "stop")
        if loop is self._loop:
            self._end()

    async def to_thread(self, do: Callable[..., Any], *args: Any) -> Any:
        """Instead of asyncio.to_thread: it may take a while before, and behind."""
        if self._random.random() < self.mix.slow_store:
            await asyncio.sleep(self._random.choice((0, 0.001, 0.02, 0.5)))
        found = do(*args)
        if self._random.random() < self.mix.slow_store:
            await asyncio.sleep(self._random.choice((0, 0.001, 0.02, 0.5)))
        return found

    # -- the client of the broker

    def _connect(self) -> None:
        if not self._loop or self._connection:
            return
        self._connection = self._broker.connect(self)
        if self._connection:
            self._down.publish = self._publish
        else:
            self._clock.after(2000, self._connect)

    async def _publish(self, topic: str, payload: bytes) -> None:
        _, device, tail = topic.split("/")
        if self._connection:
            self._broker.publish(self._connection, device, tail, payload)

    def arrived(self, device: str, tail: str, payload: bytes, pid: int) -> None:
        """A message of a device."""
        if self._loop and len(self._queue) < _MOST_QUEUED:
            self._queue.append((device, payload))
            self._news.set()
            self._loop.pump()

    def acknowledged(self, pid: int) -> None:
        """Nothing is QoS 1 here."""

    def hung_up(self, link: Connection) -> None:
        """The connection is gone."""
        if self._connection is link:
            self._connection = None
            self._down.publish = None
            self._clock.after(500 + self._random.randrange(1000), self._connect)


class Flaws(logging.Handler):
    """Makes a violation of what a gateway logs with a traceback: it broke."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(logging.ERROR)
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        """Let it end the run, unless the model's provider broke on purpose."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Violation):
            self._clock.failure = error
        elif error and not isinstance(error, ValueError):
            self._clock.failure = Violation(logging.Formatter().format(record))


def snapshot(path: Path, into: Path) -> None:
    """A copy of a store that is in use."""
    source, target = sqlite3.connect(path), sqlite3.connect(into)
    source.backup(target)
    source.close()
    target.close()


def put_back(path: Path, copy: Path | None) -> None:
    """The store is that copy from now on, or (None) a new one. Nobody may use it meanwhile."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    if copy:
        shutil.copyfile(copy, path)
