"""The gateway without its connection: messages of devices in, messages to devices out.

A device repeats itself until it is served. So whatever can't be done is dropped, counted and
logged, and nothing that a device sends ends the service.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mote import wire
from mote.msgpack import FormatError

from mote_host import downlink, uplink
from mote_host.answering import Answering, Work
from mote_host.downlink import Downlink
from mote_host.errors import DeviceError, StoreError
from mote_host.frames import Record
from mote_host.registry import Registry, is_name
from mote_host.replica import Outcome, Replica
from mote_host.store import Store, StoredReply

OnRecord = Callable[[str, Record], None]
"""Called with the device and each new record, once the record is in the store."""

MAX_WORKING = 32  # provider calls at a time
BUSY_MS = 2000
MAX_WARNED = 1000  # devices whose wrong MAC or missing key was logged

_log = logging.getLogger("mote.gateway")


class Service:
    """Serves devices while `running`. `dropped` counts messages by why they were dropped."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        answering: Answering,
        down: Downlink,
        *,
        on_record: OnRecord | None = None,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._registry = registry
        self._store = store
        self._replica = Replica(store)
        self._answering = answering
        self._down = down
        self._on_record = on_record
        self._tasks: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        # by device and request, what waits for declarations
        self._for_tools: dict[str, dict[bytes, uplink.Complete]] = {}
        self._warned: set[str] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Owns the provider calls; they are cancelled, and their claims given back, at the end."""
        await asyncio.to_thread(self._answering.drop_dead_claims)
        async with asyncio.TaskGroup() as self._group:
            try:
                yield
            finally:
                for task in self._tasks.values():
                    task.cancel()

    async def idle(self) -> None:
        """Wait until no provider call is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def receive(self, device: str, payload: bytes) -> None:
        """Take one `up` message. Never raises for what the message holds."""
        try:
            await self._receive(device, payload)
        except uplink.WrongMac:
            self.dropped["wrong MAC"] += 1
            self._warn(device, "its messages are not signed with the key that is enrolled here")
        except FormatError as exc:
            self.dropped["malformed"] += 1
            _log.debug("%s: malformed message: %s", device, exc)
        except (DeviceError, StoreError) as exc:
            self.dropped["failed"] += 1
            _log.error("%s: %s", device, exc)
        except Exception:
            # Whatever one device found, the others are served on; the log has the place.
            self.dropped["failed"] += 1
            _log.exception("%s: a message broke the gateway's handling", device)

    async def _receive(self, device: str, payload: bytes) -> None:
        key = await asyncio.to_thread(self._registry.key, device)
        if key is None:
            await self._ignore(device)
            return
        message = uplink.read(key, payload)
        if isinstance(message, uplink.Hello):
            await self._hello(device, message)
        elif isinstance(message, uplink.Upload):
            await self._upload(device, message)
        elif isinstance(message, uplink.Missing):
            await self._missing(device, message)
        elif isinstance(message, uplink.Complete):
            await self._complete(device, message)
        else:
            await self._declaration(device, message)

    async def _ignore(self, device: str) -> None:
        self.dropped["unenrolled"] += 1
        if is_name(device):  # what can't be enrolled is not worth a row
            await asyncio.to_thread(self._store.note_unenrolled, device, self._now_ms())
            self._warn(device, "not enrolled; its messages are ignored")

    def _warn(self, device: str, text: str) -> None:
        if device not in self._warned and len(self._warned) < MAX_WARNED:
            self._warned.add(device)
            _log.warning("%s: %s", device, text)

    def _now_ms(self) -> int:
        return self._answering.now_ms()

    # -- the replica

    async def _hello(self, device: str, message: uplink.Hello) -> None:
        now_ms = self._now_ms()
        outcome = await asyncio.to_thread(self._replica.hello, device, message, now_ms)
        tip = downlink.tip(outcome.device, now_ms)
        if outcome.alarm:
            # The tip lets the device see for itself; its nonce does not become the store's, so
            # a recorded hello of an older log voids nothing.
            _log.error("%s: %s", device, outcome.alarm)
            await self._down.send_once(device, message.nonce, tip)
        else:
            told = (device, message.epoch, message.head, outcome.device.tip)
            _log.info("%s: epoch %d, its log has %d records, the replica %d", *told)
            await self._down.send(device, [tip])

    async def _upload(self, device: str, message: uplink.Upload) -> None:
        now_ms = self._now_ms()
        outcome = await asyncio.to_thread(self._replica.upload, device, message, now_ms)
        self._tell(device, outcome)
        await self._down.send(device, [downlink.tip(outcome.device, now_ms)])

    async def _missing(self, device: str, message: uplink.Missing) -> None:
        now_ms = self._now_ms()
        outcome = await asyncio.to_thread(self._replica.missing, device, message, now_ms)
        self._tell(device, outcome)
        if outcome.gap:
            _log.warning("%s: %s", device, outcome.gap)
        await self._down.send(device, [downlink.tip(outcome.device, now_ms)])

    def _tell(self, device: str, outcome: Outcome) -> None:
        if outcome.alarm:
            _log.error("%s: %s", device, outcome.alarm)
        for record in outcome.new:
            if self._on_record is not None:
                try:
                    self._on_record(device, record)
                except Exception:
                    # A view that breaks must not take the service with it.
                    _log.exception("%s: the on_record hook broke", device)

    async def _declaration(self, device: str, message: uplink.Declaration) -> None:
        whole = await asyncio.to_thread(
            self._store.declare, message.tools, message.index, message.count, message.data
        )
        if whole:
            for waiting in self._for_tools.pop(device, {}).values():
                await self._complete(device, waiting)

    # -- requests

    async def _complete(self, device: str, message: uplink.Complete) -> None:
        request_id = message.request_id
        if (device, request_id) in self._tasks:
            await self._down.send(device, [downlink.busy(request_id, BUSY_MS)])
            return
        found = await asyncio.to_thread(self._look_up, device, request_id)
        if isinstance(found, StoredReply):
            await self._send_reply(device, message, found)
        elif isinstance(found, Work):
            self._start(message, found)
        elif found[0] != wire.TOOLS or self._ask_for_tools(device, message):
            await self._down.send(device, [found])

    def _ask_for_tools(self, device: str, message: uplink.Complete) -> bool:
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
            return downlink.tip(known, self._now_ms())
        tools = request.fields["tools"]
        declarations = self._store.declarations(tools)
        if declarations is None:
            return downlink.tools(tools)
        if len(self._tasks) < MAX_WORKING and self._answering.claim(device, request_id):
            return Work(device, request, declarations)
        return downlink.busy(request_id, BUSY_MS)

    def _start(self, message: uplink.Complete, work: Work) -> None:
        if self._group is None:
            raise RuntimeError("the service is not running")
        place = (work.device, message.request_id)
        task = self._group.create_task(self._work(message, work))
        self._tasks[place] = task
        task.add_done_callback(lambda _: self._tasks.pop(place, None))

    async def _work(self, message: uplink.Complete, work: Work) -> None:
        try:
            stored = await self._answering.answer(work)
            await self._send_reply(work.device, message, stored)
        except (DeviceError, StoreError) as exc:
            _log.error("%s: %s", work.device, exc)
        except Exception:
            # One request that breaks must not take the service with it.
            _log.exception("%s: answering a request broke", work.device)

    async def _send_reply(
        self, device: str, message: uplink.Complete, stored: StoredReply
    ) -> None:
        known = await asyncio.to_thread(self._store.device, device)
        if known is not None and known.part_bytes:
            parts = downlink.reply(message.request_id, stored, message.offset, known.part_bytes)
            await self._down.send(device, parts)
