"""Accidents, by chance: each kind comes at its rate to whatever it happens to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.simulation import gateway as gateways
from tests.simulation.faults import Mix

_HOUR_MS = 3600000


class Accidents:
    """Plans accidents for a `simulation` with the rates of its mix, until `stop`."""

    def __init__(self, simulation: Any, mix: Mix) -> None:
        self._simulation = simulation
        self._clock, self._random = simulation.clock, simulation.random
        self._trace = simulation.trace
        self._stopped = False
        self._copies: dict[str, Any] = {}  # of logs, by device
        self._copy: Path | None = None  # of the store
        of_devices: list[tuple[float, Callable[[Any], None]]] = [
            (mix.power, self._power),
            (mix.stalls, self._stall),
            (mix.flash, lambda device: self._told(device, "flash-fails", device.fail_soon)),
            (mix.rot, lambda device: self._told(device, "bit-flips", device.flip)),
            (mix.restores, self._restore),
            (mix.hang_ups, self._hang_up),
        ]
        for device in simulation.devices:
            for rate, do in of_devices:
                self._plan(rate, do, device)
        for other in simulation.gateways:
            self._plan(mix.crashes, lambda which: which.crash(), other)
            self._plan(mix.stops, lambda which: which.stop(), other)
            self._plan(mix.jumps, self._jump, other)
        self._plan(mix.broker_restarts, self._restart_broker, mix.forgetful)
        self._plan(mix.store_losses, self._lose_store, False)
        self._plan(mix.store_restores, self._lose_store, True)

    def stop(self) -> None:
        """No more accidents."""
        self._stopped = True

    def _plan(self, rate: float, do: Callable[[Any], None], to: Any) -> None:
        """Do it to that at the rate of so many an hour."""
        if rate:
            ms = 1 + int(self._random.expovariate(rate / _HOUR_MS))
            self._clock.after(ms, self._happen, rate, do, to)

    def _happen(self, rate: float, do: Callable[[Any], None], to: Any) -> None:
        if not self._stopped:
            do(to)
            self._plan(rate, do, to)

    def _told(self, device: Any, what: str, do: Callable[[], None]) -> None:
        self._trace(device.name, what)
        do()

    # -- devices

    def _power(self, device: Any) -> None:
        if device.brain and self._random.random() < 0.7:
            device.cut_soon()
        elif device.brain:
            device.power_off("at rest")

    def _stall(self, device: Any) -> None:
        """The device does nothing for a while; its clock goes on."""
        if device.brain:
            self._trace(device.name, "stalls")
            device.brain.stall(self._random.choice((1000, 20000, 90000)))

    def _restore(self, device: Any) -> None:
        """Take a copy of the log, or put back the one that was taken before."""
        copy = self._copies.pop(device.name, None)
        if copy is None:
            self._copies[device.name] = device.chip.copy()
            return
        self._trace(device.name, "log-restored")
        device.put_back(copy)

    def _hang_up(self, device: Any) -> None:
        self._trace(device.name, "hang-up")
        self._simulation.broker.hang_up(device.name)

    # -- gateways, store, broker

    def _jump(self, which: Any) -> None:
        which.jump_s += self._random.choice((-86400, -300, -10, 10, 300, 86400))
        self._trace(which.name, "clock-jumps", which.jump_s)
        self._simulation.watch.allowed += 1  # a lease may seem to be over

    def _restart_broker(self, forgetful: float) -> None:
        broker = self._simulation.broker
        if broker.up:
            forget = self._random.random() < forgetful
            self._trace("broker", "restart", "without sessions" if forget else "")
            broker.stop(forget)
            self._clock.after(self._random.choice((200, 5000, 60000)), self._broker_up)

    def _broker_up(self) -> None:
        self._simulation.broker.up = True

    def _lose_store(self, restore: bool) -> None:
        """All gateways are down while the store is exchanged."""
        simulation = self._simulation
        path, copy = simulation.path, simulation.path.with_suffix(".copy")
        if restore and self._copy is None:
            gateways.snapshot(path, copy)
            self._copy = copy
            return
        self._trace("store", "restored" if restore else "lost")
        for which in simulation.gateways:
            which.crash()
        gateways.put_back(path, self._copy if restore else None)
        self._copy = None
        simulation.watch.allowed += 1
        simulation.watch.lost = True
        for device in simulation.devices:
            device.history.told = 0
