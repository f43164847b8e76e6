"""The tools of a simulated device, in a world that outlives its reboots and counts what ran."""

from collections import Counter
from typing import Any

from chip import PowerCut
from mote import records as r
from mote.lookup import fact_at
from mote.tools import Toolset, integer, tool
from mote.turn import CALL

from tests.simulation.violation import hold

_EFFECTS = {
    "look": r.READ,
    "put": r.IDEMPOTENT,
    "pour": r.ONCE,
    "keep": r.IDEMPOTENT,
    "recall": r.READ,
}
_MOST = 1 << 30


class Tools:
    """Five tools; `set` is the Toolset, `runs` counts how often each ONCE call began."""

    def __init__(self, device: Any) -> None:
        self.runs: Counter[tuple[bytes, int]] = Counter()
        self.begun = 0
        self._device = device
        self._agent: Any = None
        made = []
        for name, effect in _EFFECTS.items():
            made.append(tool("A tool.", effect, integer("n", 0, _MOST), timeout_s=20)(print))
            made[-1].name = name
        self.set = Toolset(made)

    def serve(self, agent: Any) -> None:
        """From now on it is that agent which remembers, and whose calls are watched."""
        self._agent = agent
        next_effect, history = agent.next_effect, self._device.history

        def watched() -> Any:
            effect = next_effect()
            if effect and effect[0] == CALL and effect[2].effect == r.ONCE:
                history.depends(agent.log.seq)  # its START, or what came behind it
            return effect

        ask = agent.ask

        def asked(*args: Any) -> int:
            seq: int = ask(*args)
            history.accept(seq)
            return seq

        agent.next_effect, agent.ask = watched, asked

    def begin(self, called: Any, args: dict[str, int], key: tuple[bytes, int]) -> int:
        """A call begins, of that request and index: how long it takes, in ms. Raises PowerCut."""
        device = self._device
        random = device.random
        self.begun += 1
        device.trace(device.name, "tool", f"{called.name} {args['n']} ({key[0].hex()[:8]})")
        if called.effect == r.ONCE:
            self.runs[key] += 1
            text = f"ONCE call {key[1]} of request {key[0].hex()} ran twice"
            hold(self.runs[key] < 2 or device.history.damaged, device.name, text)
        if random.random() < device.resets:
            raise PowerCut("by a tool")
        return int(random.choice((0, 0, 3, 30, 300, 3000, 25000) * 1))

    def finish(self, called: Any, args: dict[str, int]) -> tuple[int, str]:
        """(status, text) of a call whose time is over."""
        n = args["n"]
        if called.name == "keep":
            return self._keep(f"key {n % 5}", f"value {n}")
        if called.name == "recall":
            return r.OK, self._recall()
        if called.name == "look" and n % 7 == 0:
            return r.ERROR, "the sensor is broken"
        return r.OK, f"{called.name} {n} " + "long " * (n % 23)

    def _keep(self, key: str, value: str) -> tuple[int, str]:
        try:
            self._agent.remember(key, value)
        except ValueError as e:
            facts = self._agent.state.facts
            self._agent.remember(facts[0][0], None)
            return r.ERROR, str(e)
        return r.OK, "remembered"

    def _recall(self) -> str:
        agent = self._agent
        return "; ".join(f"{key}={fact_at(agent.log, seq)}" for key, seq in agent.state.facts)
