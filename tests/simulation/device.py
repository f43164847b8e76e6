"""A device: its chip, its clock, its power, and what runs on it.

`Device` is what outlives a reboot. What runs in one life is a brain: that of `direct` does what
the driver does, with a pump and without asyncio, streams and packets, which makes it some times
faster; that of `driven` is the driver itself. The agent and the link are the product's in both.
"""

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

from chip import BACKWARDS, PART, REFUSE, WRONG, PowerCut
from mote import wire
from mote.agent import Agent
from mote.link import Link
from mote.log import Log, LogError, genesis
from mote_device.limits import limits_of

from tests.simulation import sniffing
from tests.simulation.broker import Broker, Connection
from tests.simulation.clock import Clock
from tests.simulation.direct import Direct
from tests.simulation.flash import Flash
from tests.simulation.history import History, few
from tests.simulation.tools import Tools
from tests.simulation.trace import Trace

RECORD_BYTES = 512
_RESTART_MS = 5000  # of the daemon, behind a failure of the log


class Device:
    """One device; `brain` is what runs, or None. Everything that it draws is from `random`."""

    filters = ("in", "dn")
    persistent = True

    def __init__(
        self, name: str, clock: Clock, random: Random, trace: Trace, broker: Broker, drop: bool
    ) -> None:
        self.name = self.device = name
        self.key = random.randbytes(32)
        self.limits, self.chip = _fitting(random, drop)
        self.history = History(name, self.limits)
        self.tools = Tools(self)
        self.broker = broker
        self.clock, self.random, self.trace = clock, random, trace
        self.brain: Any = None
        self.make_brain: Callable[[Device, Any, Any], Any] = Direct
        self.resets = 0.0  # of the tools, those that take the device down
        self.cuts = 0
        self.loops: list[Any] = []  # of all lives that had one
        self.again = True  # it is switched on again by itself
        self.packet_max = random.choice((0, 0, 600, 350))  # that its broker takes; 0: any
        self._rate = random.choice((1, 1, 0.998, 1.003))
        self._began = 0
        self._sniffer = sniffing.Uplink()

    def now(self) -> int:
        """The device's clock, which begins at a boot and is not quite right."""
        return 1000 + int((self.clock.now - self._began) * self._rate)

    def when(self, now: int) -> int:
        """The simulation's time at that time of the device's clock."""
        return self._began + int((now - 1000) / self._rate) + 1

    # -- power

    def boot(self) -> None:
        """Switch on, unless it is on."""
        if self.brain is not None:
            return
        self.chip.power_on()
        self._began = self.clock.now
        self._sniffer = sniffing.Uplink()
        self.chip.died = None
        self.guard(self._open)

    def _open(self) -> None:
        sign = wire.subkey(self.key, "log").sign
        log = Log(self.chip, genesis(self.name), sign, RECORD_BYTES)
        agent = Agent(log, self.tools.set, self.limits)
        self.history.watch(log, agent.state)
        self.tools.serve(agent)
        agent.open(self.now(), self.random.randbytes(8), ["pump"], "sim")
        link = Link(agent, self.key, self.random.randbytes)
        sniffing.Downlink(self.name, link)
        for note in log.notes:
            self.trace(self.name, "note", note)
        self.trace(self.name, "boot", f"epoch {agent.epoch}, {log.seq} records")
        self.brain = self.make_brain(self, agent, link)
        self.brain.begin()

    def guard(self, do: Callable[..., object], *args: Any) -> None:
        """Do something on the device; what ends its life ends it here."""
        try:
            do(*args)
        except PowerCut:
            self.power_off("in the flash")
        except LogError as error:
            self.trace(self.name, "log-error", error)
            self.restart()

    def power_off(self, why: str = "") -> None:
        """Cut the power; it comes back some time later."""
        self.cuts += 1
        self.trace(self.name, "power-cut", why)
        self._end()
        if self.again:
            self.clock.after(self.random.choice((100, 1000, 10000, 60000)), self.boot)

    def restart(self) -> None:
        """What runs ends by itself, and is started again."""
        self._end()
        self.clock.after(_RESTART_MS, self.boot)

    def _end(self) -> None:
        brain, self.brain = self.brain, None
        if brain:
            brain.end()
        self.broker.drop(self.name)

    # -- accidents

    def cut_soon(self) -> None:
        """Let the power go inside one of the next operations of the flash."""
        random, chip = self.random, self.chip
        byte = random.choice((None, 0, 1, 2, 3, 5, 8, 13, 21, 34, 64))
        smear = random.choice((False, True, BACKWARDS))
        chip.cut_in(chip.operations + random.randrange(6), byte, smear)

    def fail_soon(self) -> None:
        """Let one of the next operations of the flash fail."""
        random, chip = self.random, self.chip
        kind = random.choice((REFUSE, PART, WRONG))
        chip.fail(chip.operations + random.randrange(8), kind)

    def flip(self) -> None:
        """Change a bit at rest."""
        chip = self.chip
        segment = self.random.randrange(chip.segments)
        self.history.damaged = True
        chip.rot(segment, self.random.randrange(chip.segment_bytes * 8))

    def put_back(self, chip: Flash) -> None:
        """The log is that of an older copy, in a new life."""
        self._end()
        self.history.damaged = True
        self.chip = chip
        self.clock.after(1000, self.boot)

    def heal(self) -> None:
        """No accident happens any more."""
        self.resets = 0.0
        self.chip.calm()

    def bury(self) -> None:
        """The simulation is over."""
        if self.brain:
            self.brain.end()
        for loop in self.loops:
            loop.bury()

    # -- what leaves it

    def up(self, message: bytes) -> None:
        """Hold a message for `up` against what is safe on the chip."""
        fields = sniffing.array_of(message)
        if fields[0] == wire.HELLO:
            self.trace(self.name, "hello", f"{fields[1]}, {fields[6]}, head {fields[7]}")
        for seq in self._sniffer.reveals(fields, self.brain.agent):
            self.history.depends(seq)

    # -- the client of the broker

    def arrived(self, device: str, tail: str, payload: bytes, pid: int) -> None:
        """A message from the broker."""
        if self.brain:
            self.guard(self.brain.arrived, tail, payload, pid)

    def acknowledged(self, pid: int) -> None:
        """The broker has an answer."""
        if self.brain:
            self.guard(self.brain.acknowledged, pid)

    def hung_up(self, link: Connection) -> None:
        """The connection is gone."""
        if self.brain:
            self.brain.hung_up(link)


def _fitting(random: Random, drop: bool) -> tuple[Any, Flash]:
    """Limits, and a chip that is just large enough for them by the product's own check."""
    few_limits = few(random)
    unit = random.choice((1, 4, 16, 256))
    size = -(-max(few_limits.checkpoint_bytes() * 16, few_limits.facts * 1300) // 1024)
    turns = 2 if drop else few_limits.open_turns + 1
    usable = size * 1024 * 15 // 16 - RECORD_BYTES - 192
    segments = 3 + -(-turns * few_limits.worst_turn(unit) // usable)
    given = {name: getattr(few_limits, name) for name in few_limits._NAMES}
    given["turn_s"] = few_limits.turn_ms // 1000
    full = "drop" if drop else "refuse"
    log = {"segment_kib": size, "segments": segments, "record_bytes": RECORD_BYTES}
    config = SimpleNamespace(
        path="simulation",
        limits=SimpleNamespace(**given),
        log=SimpleNamespace(**log, when_full=full, program_unit=unit),
    )
    limits = limits_of(config)
    limits.part_bytes = few_limits.part_bytes
    return limits, Flash(unit, segments, size * 1024, 1024)
