"""One simulated world: what is in it, how it goes on, and what must hold in the end."""

import asyncio
import gc
import logging
import tempfile
import time
import warnings
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from mote_host import answering, cancelling, downlink
from mote_host.store import Store
from mote_ports import connection

from tests.simulation.accidents import Accidents
from tests.simulation.broker import Broker
from tests.simulation.clock import Clock
from tests.simulation.device import Device
from tests.simulation.faults import ANY, Mix, chosen
from tests.simulation.gateway import Flaws, Gateway
from tests.simulation.invariants import check_replica
from tests.simulation.people import Hub, Person
from tests.simulation.provider import Provider
from tests.simulation.trace import Trace
from tests.simulation.violation import Violation, hold
from tests.simulation.watch import Watch

MINUTE_MS = 60000
MINUTES = 10  # of trouble
_HEALING_MS = 120 * MINUTE_MS
_LOOK_MS = 5000
_PEOPLE = 2  # for each device
_CHECK_MS = 5 * MINUTE_MS
_LEAST_PACKET = 1024  # that a broker must take from the driver


@dataclass
class Outcome:
    """What came of one seed. `broken` says which promise was not kept, None if all were."""

    seed: int
    mix: str
    broken: str | None = None
    hash: str = ""
    turns: int = 0
    answered: int = 0
    provider_calls: int = 0
    messages: int = 0
    power_cuts: int = 0
    once_runs: int = 0
    records: int = 0
    device_ms: int = 0
    cpu_s: float = 0.0
    steps: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    tail: list[str] = field(default_factory=list)


class Simulation:
    """All that there is for one seed. Use it in a `with`, once."""

    def __init__(self, seed: int, mix: str, devices: int, shown: bool = False) -> None:
        self.random = random = Random(seed)
        self.name, self.mix = chosen(mix, random)
        self.clock = Clock()
        self.trace = Trace(self.clock, shown)
        self.broker = Broker(self.clock, random, self.trace, self.mix)
        self.provider = Provider(random, self.mix)
        self.watch = Watch(self._recorded)
        self.provider.completed = self.watch.complete
        self._stack = ExitStack()
        self._flaws = Flaws(self.clock)
        self.devices = [self._device(n) for n in range(devices)]
        self._named = {device.name: device for device in self.devices}
        self.people: dict[str, Person] = {}
        self.gateways: list[Gateway] = []
        self.path = Path()

    def _device(self, n: int) -> Device:
        drop = self.random.random() < self.mix.drop
        device = Device(f"d{n}", self.clock, self.random, self.trace, self.broker, drop)
        device.resets = self.mix.resets
        if self.random.random() < self.mix.drivers:
            from tests.simulation.driven import Driven

            device.make_brain = Driven
            device.packet_max = device.packet_max and max(_LEAST_PACKET, device.packet_max)
        return device

    # -- around it

    def __enter__(self) -> "Simulation":
        enter = self._stack.enter_context
        ram = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.path = Path(enter(tempfile.TemporaryDirectory(dir=ram))) / "gateway.db"
        enter(mock.patch.object(asyncio, "to_thread", self._to_thread))
        for module in (downlink, cancelling):
            enter(mock.patch.object(module, "seal", self.watch.seal))
        enter(mock.patch.object(answering, "_is_dead", self._is_dead))
        enter(mock.patch.object(connection, "os", mock.Mock(urandom=self.random.randbytes)))
        logger = logging.getLogger("mote.gateway")
        enter(mock.patch.multiple(logger, propagate=False, level=logging.ERROR))
        logger.manager._clear_cache()  # type: ignore[attr-defined]
        logger.addHandler(self._flaws)
        self._stack.callback(logger.removeHandler, self._flaws)
        return self

    def __exit__(self, *_: object) -> None:
        for gateway in self.gateways:
            gateway.bury()
        for device in self.devices:
            device.bury()
        self._stack.close()

    async def _to_thread(self, do: Any, *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        for gateway in self.gateways:
            if gateway._loop is loop:
                return await gateway.to_thread(do, *args)
        return do(*args)

    def _is_dead(self, owner: str) -> bool:
        """The owners on this machine that have ended."""
        alive = [g._answers.owner for g in self.gateways if g.service is not None]
        return owner not in alive

    def _recorded(self, device: str, record: Any) -> None:
        """A gateway has taken a record."""
        known = record.hash in self._named[device].history.known
        hold(known, device, f"the replica has a record {record.seq} that never was")

    # -- its course

    def run(self, minutes: int) -> None:
        """Trouble for so many minutes, then none until all is done. Raises Violation."""
        self._begin()
        until = self.clock.now + minutes * MINUTE_MS
        for person in self.people.values():
            person.until = until
        accidents = Accidents(self, self.mix)
        while self.clock.now < until:
            self.clock.run(min(until, self.clock.now + _CHECK_MS))
            self._check()
        accidents.stop()
        self._heal()
        self._check_end()

    def _begin(self) -> None:
        keys = {device.name: device.key for device in self.devices}
        own = (self.clock, self.random, self.trace, self.broker, self.path, keys)
        for n in range(self.mix.gateways):
            gateway = Gateway(f"g{n}", *own, self.provider, self.watch)
            gateway.mix = self.mix
            self.gateways.append(gateway)
            gateway.start()
        Hub(self.clock, self.broker, self._heard).begin()
        for device in self.devices:
            self.clock.after(self.random.randrange(1000), device.boot)
            for n in range(_PEOPLE):
                self._person(f"{device.name}p{n}", device)

    def _person(self, name: str, device: Device) -> None:
        person = Person(
            name, device, self.clock, self.random, self.trace, self.broker, self._some_gateway
        )
        person.mix = self.mix
        self.people[name] = person
        person.begin()

    def _some_gateway(self) -> Gateway | None:
        return next((gateway for gateway in self.gateways if gateway.service), None)

    def _heard(self, device: str, fields: dict[str, Any], payload: bytes) -> None:
        person = self.people.get(fields["id"].partition("-")[0])
        if person:
            person.heard(fields, payload)

    def _heal(self) -> None:
        """Nothing goes wrong any more; then everything must come to its end."""
        self.trace("world", "heals")
        calm = Mix()
        self.mix = self.broker.mix = self.provider.mix = calm
        self.broker.up = True
        for gateway in self.gateways:
            gateway.mix = calm
            gateway.start()
        for device in self.devices:
            device.heal()
            device.boot()
        for person in self.people.values():
            person.mix = calm
        until = self.clock.now + _HEALING_MS
        while self.clock.now < until:
            self.clock.run(self.clock.now + _LOOK_MS)
            if not self.unfinished():
                return
        raise Violation("it does not come to rest: " + "; ".join(self.unfinished()))

    def unfinished(self) -> list[str]:
        """What is still to come, in words."""
        found = [f"{p.name} waits for {p.asking}" for p in self.people.values() if p.asking]
        if self.broker.waiting():
            found.append(f"{self.broker.waiting()} messages in the broker")
        gateway = self._some_gateway()
        for device in self.devices:
            brain = device.brain
            if not brain:
                found.append(f"{device.name} is off")
                continue
            agent, link = brain.agent, brain.link
            if agent.turns:
                states = [(turn.seq, turn.state) for turn in agent.turns]
                found.append(f"{device.name} has open turns {states}")
            known = gateway.store.device(device.name) if gateway else None
            if not known or known.tip != agent.log.seq:
                tip = known.tip if known else "none"
                text = f"{device.name}: tip {tip} of {agent.log.seq}"
                found.append(text + (f" ({link.trouble})" if link.trouble else ""))
        return found

    # -- what must hold

    def _check(self) -> None:
        """Walk the replicas; each record was held against the device's log when it came."""
        gateway = self._some_gateway()
        store = gateway.store if gateway else Store(self.path)
        for device in self.devices:
            check_replica(store, device)
        if not gateway:
            store.close()

    def _check_end(self) -> None:
        gateway = self._some_gateway()
        assert gateway
        for device in self.devices:
            check_replica(gateway.store, device)
            device.history.check_end(device.brain.agent.log, device.brain.agent)

    def outcome(self, seed: int) -> Outcome:
        """What came of it so far."""
        devices = self.devices
        return Outcome(
            seed,
            self.name,
            hash=self.trace.hash,
            turns=sum(len(device.history.answers) for device in devices),
            answered=sum(person.answered for person in self.people.values()),
            provider_calls=self.provider.calls,
            messages=self.broker.messages,
            power_cuts=sum(device.cuts for device in devices),
            once_runs=sum(sum(device.tools.runs.values()) for device in devices),
            records=sum(len(device.history.records) - 1 for device in devices),
            device_ms=len(devices) * self.clock.now,
            steps=self.clock.steps,
            counts=self.trace.counts,
            tail=list(self.trace.tail),
        )


def simulate(
    seed: int, mix: str = ANY, devices: int = 4, minutes: int = MINUTES, shown: bool = False
) -> Outcome:
    """Run one seed from beginning to end: minutes of accidents, then none. `shown`: its trace."""
    broken, began = None, time.process_time()
    gc.disable()  # it costs a fifth of the time, and a world is small
    with warnings.catch_warnings():
        # a process that is killed leaves coroutines behind that never began
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")
        with Simulation(seed, mix, devices, shown) as simulation:
            try:
                simulation.run(minutes)
            except Exception as error:
                broken = str(error) if isinstance(error, Violation) else _explain(error)
            outcome = simulation.outcome(seed)
        del simulation
        gc.enable()
        gc.collect()
    outcome.broken, outcome.cpu_s = broken, time.process_time() - began
    return outcome


def _explain(error: Exception) -> str:
    """A bug of the product, or of the simulator: where it was raised."""
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(last))
    return f"{type(error).__name__}: {error} at {where}"
