"""A model whose replies are known in advance."""

import asyncio

from mote_host.providers import Call, Reply, Request

PUMP = Reply("", (Call("a", "run_pump", {"seconds": 2}),))


class Scripted:
    """A provider that answers from a list and counts; the last answer is repeated."""

    name = "scripted"

    def __init__(self, *replies: Reply) -> None:
        self.requests: list[Request] = []
        self.asked = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self._replies = list(replies)

    async def complete(self, request: Request) -> Reply:
        self.requests.append(request)
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    async def aclose(self) -> None:
        pass
