"""Requests of devices for a model's reply: one provider call each, whose result is kept and sent.

A request is asked for with COMPLETE, or wanted by the upload that holds it. Either way: what is
stored is sent; what is not is claimed, answered and stored before it is sent.
"""

import asyncio
import logging

from mote import wire

from mote_host import downlink
from mote_host.answering import Answering, Work
from mote_host.downlink import Downlink
from mote_host.errors import DeviceError, StoreError
from mote_host.store import Store, StoredReply
from mote_host.tips import Tips
from mote_host.toolsets import Toolsets
from mote_host.uplink import Complete

MAX_WORKING = 32  # provider calls at a time
BUSY_MS = 2000

_log = logging.getLogger("mote.gateway")


class Requests:
    """Serves them for one gateway; `group` is there while it runs."""

    def __init__(self, store: Store, answering: Answering, down: Downlink, tips: Tips) -> None:
        self.group: asyncio.TaskGroup | None = None
        self.tasks: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._store = store
        self._toolsets = Toolsets(store)
        self._answering = answering
        self._down = down
        self._tips = tips
        # by device and request, what waits for declarations
        self._for_tools: dict[str, dict[bytes, Complete]] = {}

    def close(self) -> None:
        """Cancel the provider calls; their claims are given back."""
        for task in self.tasks.values():
            task.cancel()

    async def complete(self, device: str, message: Complete) -> None:
        """Send the reply, or make it, or say what keeps it."""
        request_id = message.request_id
        if (device, request_id) in self.tasks:
            await self._send(device, request_id, [downlink.busy(request_id, BUSY_MS)])
            return
        found = await asyncio.to_thread(self._look_up, device, request_id)
        if isinstance(found, StoredReply):
            await self._send_reply(device, message, found)
        elif isinstance(found, Work):
            self._start(message, found)
        elif found[0] != wire.TOOLS or self._ask_for_tools(device, message):
            await self._send(device, request_id, [found])

    async def want(self, device: str, request_id: bytes) -> bool:
        """The same for a request that has just come, or come again.

        True if a reply may follow at once; whether it is in work already is not said.
        """
        if (device, request_id) in self.tasks:
            return False
        message = Complete(request_id, 0)
        found = await asyncio.to_thread(self._look_up, device, request_id)
        if isinstance(found, StoredReply):
            await self._send_reply(device, message, found)
        elif isinstance(found, Work):
            self._start(message, found)
        elif found[0] == wire.TOOLS and self._ask_for_tools(device, message):
            await self._down.send(device, [found])
        else:
            return False
        return True

    async def declare(
        self, device: str, tools: bytes, index: int, count: int, data: bytes
    ) -> None:
        """Keep a declaration; what waited for the set goes on when it is whole."""
        if await asyncio.to_thread(self._toolsets.declare, device, tools, index, count, data):
            for waiting in self._for_tools.pop(device, {}).values():
                await self.complete(device, waiting)

    def _ask_for_tools(self, device: str, message: Complete) -> bool:
        """Keep a request until the declarations are there; False if they are on the way."""
        waiting = self._for_tools.setdefault(device, {})
        on_the_way = bool(waiting) and message.request_id not in waiting
        waiting[message.request_id] = message
        if len(waiting) > MAX_WORKING:
            del waiting[next(iter(waiting))]  # its device asks again
        return not on_the_way

    def _look_up(self, device: str, request_id: bytes) -> StoredReply | Work | downlink.Fields:
        """The stored reply, or the request, claimed for this gateway, or what to tell instead."""
        stored = self._store.reply(device, request_id)
        if stored:
            return stored
        request = self._store.request(device, request_id)
        if request is None:
            known = self._store.device(device)
            if known is None:
                raise DeviceError("asks for a reply, and has sent no records")
            return downlink.tip(known, self._answering.now_ms())
        tools = request.fields["tools"]
        declarations = self._toolsets.get(tools)
        if declarations is None:
            return downlink.tools(tools)
        if len(self.tasks) < MAX_WORKING and self._answering.claim(device, request_id):
            return Work(device, request, declarations)
        return downlink.busy(request_id, BUSY_MS)

    def _start(self, message: Complete, work: Work) -> None:
        if self.group is None:
            raise RuntimeError("the service is not running")
        place = (work.device, message.request_id)
        task = self.group.create_task(self._work(message, work))
        self.tasks[place] = task
        task.add_done_callback(lambda _: self.tasks.pop(place, None))

    async def _work(self, message: Complete, work: Work) -> None:
        try:
            stored = await self._answering.answer(work)
            if stored is not None:
                await self._send_reply(work.device, message, stored)
        except (DeviceError, StoreError) as exc:
            _log.error("%s: %s", work.device, exc)
        except Exception:
            # One request that breaks must not take the service with it.
            _log.exception("%s: answering a request broke", work.device)

    async def _send_reply(self, device: str, message: Complete, stored: StoredReply) -> None:
        known = await asyncio.to_thread(self._store.device, device)
        if known is not None and known.part_bytes:
            request_id = message.request_id
            parts = downlink.reply(request_id, stored, message.offset, known.part_bytes)
            await self._send(device, request_id, parts)

    async def _send(self, device: str, request_id: bytes, messages: list[downlink.Fields]) -> None:
        """Send what tells the device that its request is here."""
        self._tips.drop(device, request_id)
        await self._down.send(device, messages)
