"""The model's provider: answers that a seed decides, late, wrong or not at all at rates."""

import asyncio
from random import Random
from typing import Any

from mote_host.errors import ProviderError
from mote_host.providers.base import Call, Reply, Request

from tests.simulation.faults import Mix

_TOOLS = ("look", "put", "pour", "keep", "recall", "pour")
_LAST = 4  # results in a turn behind which there are no more calls


class Provider:
    """One for all gateways. Each call that it orders has a number of its own, `n`.

    `completed(task)` is called when a reply goes back.
    """

    name = "simulated"

    def __init__(self, random: Random, mix: Mix) -> None:
        self.mix = mix
        self.calls = 0  # completed ones
        self.completed: Any = None
        self._random = random
        self._n = 0

    async def complete(self, request: Request) -> Reply:
        """As the seed says. Raises ProviderError, and what a bug in a provider would raise."""
        random, mix = self._random, self.mix
        await asyncio.sleep(self._pause_s())
        if random.random() < mix.failing:
            if random.random() < 0.1:
                raise ValueError("a bug in the provider")
            raise ProviderError("503", retryable=random.random() < 0.5)
        reply = self._reply(request)
        self.calls += 1
        self.completed(asyncio.current_task())
        return reply

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _pause_s(self) -> float:
        random = self._random
        if random.random() < self.mix.slow:
            return random.choice((5.0, 20.0, 90.0, 200.0, 290.0)) * random.random()
        return 0.05 + random.random()

    def _reply(self, request: Request) -> Reply:
        random = self._random
        done = 0
        for message in reversed(request.messages):
            if message.role == "user":
                break
            done += message.role == "tool"
        calls = []
        if random.random() < (0.6, 0.5, 0.3, 0.2, 0)[min(done, _LAST)]:
            calls = [self._call() for _ in range(random.choice((1, 1, 1, 2, 3)))]
        text = "" if calls and random.random() < 0.8 else self._text()
        return Reply(text, tuple(calls), random.randrange(200), random.randrange(50))

    def _call(self) -> Call:
        random = self._random
        self._n += 1
        name, arguments = random.choice(_TOOLS), {"n": self._n}
        if random.random() < self.mix.odd:
            odd: list[tuple[str, Any]] = [
                ("dig", arguments),
                (name, {}),
                (name, {"n": "many"}),
                (name, {"n": str(self._n)}),
                (name, "not an object"),
                (name, {"n": self._n, "m": [1, {"x": None}]}),
                (name, {"n": -1}),
            ]
            name, arguments = random.choice(odd)
        return Call(f"c{self._n}", name, arguments)

    def _text(self) -> str:
        random = self._random
        self._n += 1
        length = random.choice((5, 20, 60, 150, 300))
        if random.random() < self.mix.odd:
            length = random.choice((0, 600, 2000))
        return (f"text {self._n} äöü " * (length // 10 + 1))[:length]
