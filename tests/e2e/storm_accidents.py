"""What happens to the storm's processes: killed at random, restored from a backup, robbed.

Accidents are dealt from a shuffled deck, so that each kind has its share even of a short storm.

A log is restored from a backup at a moment at which the replica holds all of it. What a device
did behind that is in no log any more, and nobody can promise anything about it; what the replica
holds, the device takes back, and every promise stands. The same goes for the moment of the
backup: a log that was taking records back is restored with that half done. The store is lost only
while no device takes records back: else what it lost is lost on both sides.
"""

import asyncio
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mote_host.audit import verify_log
from mote_host.branches import Branches
from mote_host.store import Store

from tests.e2e.storm_site import Process, StormDevice

DEVICE, GATEWAY, BROKER = "device", "gateway", "broker"
RESTORE, LOSE = "log restored", "store lost"
_DECK = {DEVICE: 28, GATEWAY: 9, BROKER: 7, RESTORE: 3, LOSE: 1}
_DOWN_S = 1.5  # at most, between a kill and the next start
_BACKUP_S = 5.0  # from a backup to when it is restored, at least
_MOMENT_S = 15.0  # to find one at which the replica holds a whole log
_RECOVERY_S = 30.0  # that lost records may take to come back
_POLL_S = 0.02


@dataclass(slots=True)
class Accidents:
    """Strikes `broker`, `gateway` and `devices`; times are those of the running loop."""

    folder: Path
    seed: int
    broker: Process
    gateway: Process
    devices: list[StormDevice]
    counts: Counter[str] = field(default_factory=Counter)
    crashes: list[float] = field(default_factory=list)
    restores: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _back: dict[str, int] = field(default_factory=dict)
    _under_way: asyncio.Task[None] | None = None

    async def run(self, every_s: float) -> None:
        """Strike again and again, `every_s` apart on the average, until something died by itself.

        Cancelled, it leaves an accident under way: `end` waits for that.
        """
        chance = random.Random(f"{self.seed}/accidents")
        deck = _dealt(chance)
        while not self.dead():
            await asyncio.sleep(chance.expovariate(1 / every_s))
            what = next(deck)
            device, down_s = chance.choice(self.devices), chance.uniform(0, _DOWN_S)
            number = chance.choice((signal.SIGKILL, signal.SIGTERM))
            self._under_way = asyncio.create_task(self._strike(what, device, down_s, number))
            await asyncio.shield(self._under_way)

    async def end(self, running: "asyncio.Task[None]") -> None:
        """End `run`, whose task is `running`; what it struck lives again. Raises what it did."""
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        if self._under_way:
            await self._under_way

    def dead(self) -> list[str]:
        """What ended by itself."""
        codes = {process.name: process.code for process in (self.broker, self.gateway)}
        for device in self.devices:
            codes[device.name] = device.process.returncode if device.process else None
        return [
            f"{name} ended by itself: {code}" for name, code in codes.items() if code is not None
        ]

    async def _strike(
        self, what: str, device: StormDevice, down_s: float, number: signal.Signals
    ) -> None:
        if what == DEVICE:
            await self._kill(device)
            await asyncio.sleep(down_s)
            await device.start()
        elif what == RESTORE:
            await self._restore(device)
        elif what == BROKER:
            await self.broker.end(number)
            self.counts[f"{BROKER}, {number.name}"] += 1
            await asyncio.sleep(down_s)
            await self.broker.start()
        else:
            await self._crash(down_s, what == LOSE and await self._recovered())

    async def _kill(self, device: StormDevice) -> None:
        await device.kill()
        self.counts[DEVICE] += 1

    async def _crash(self, down_s: float, lost: bool) -> None:
        """The gateway is killed; if `lost`, it comes back without its store."""
        self.crashes.append(asyncio.get_running_loop().time())
        await self.gateway.end()
        self.counts[GATEWAY] += 1
        if lost:
            for path in (self.folder / "gateway").glob("gateway.db*"):
                path.unlink()
            self.counts[LOSE] += 1
        await asyncio.sleep(down_s)
        await self.gateway.start()

    async def _restore(self, device: StormDevice) -> None:
        """Restore the device's backup; if there is none, make one a little earlier."""
        if not device.has_backup():
            if not await self._killed_when_held(device):
                return
            device.back_up()
            await device.start()
            await asyncio.sleep(_BACKUP_S)
        if await self._killed_when_held(device):
            with closing(self._store()) as store:
                self._back[device.name] = len(Branches(store).all(device.name)) + 1
            device.restore()
            self.restores[device.name].append(asyncio.get_running_loop().time())
            self.counts[RESTORE] += 1
            await device.start()

    async def _killed_when_held(self, device: StormDevice) -> bool:
        """Kill it when the replica holds its whole log; False, and it lives, if it never does."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _MOMENT_S
        while loop.time() < until:
            if not await asyncio.to_thread(self._is_held, device):
                await asyncio.sleep(_POLL_S)
                continue
            await self._kill(device)
            if self._is_held(device):
                return True
            await device.start()
        return False

    def _is_held(self, device: StormDevice) -> bool:
        """Whether the replica holds the device's whole log, and owes it nothing."""
        own = verify_log(device.log_folder, device.name, None)
        with closing(self._store()) as store:
            known = store.device(device.name)
        return bool(own.verified and known and known.tip == own.last and known.branch is None)

    async def _recovered(self) -> bool:
        """Wait until no device takes lost records back, or is about to; False if that lasts."""
        until = asyncio.get_running_loop().time() + _RECOVERY_S
        while self._recovering():
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _recovering(self) -> bool:
        with closing(self._store()) as store:
            for name, branches in list(self._back.items()):
                known = store.device(name)
                if known and not known.branch and len(Branches(store).all(name)) >= branches:
                    del self._back[name]
        return bool(self._back)

    def _store(self) -> Store:
        return Store(self.folder / "gateway" / "gateway.db")


def _dealt(chance: random.Random) -> Iterator[str]:
    """Kinds of accidents, one shuffled deck after the other."""
    while True:
        deck = [what for what, n in _DECK.items() for _ in range(n)]
        chance.shuffle(deck)
        yield from deck
