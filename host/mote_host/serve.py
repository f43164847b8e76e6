"""The gateway without its connection: messages of devices in, messages to devices out.

A device repeats itself until it is served. So whatever can't be done is dropped, counted and
logged, and nothing that a device sends ends the service.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mote.msgpack import FormatError

from mote_host import downlink, uplink
from mote_host.answering import Answering
from mote_host.branches import Branches
from mote_host.downlink import Downlink
from mote_host.errors import DeviceError, StoreError
from mote_host.forks import Forks
from mote_host.fragments import Fragments
from mote_host.frames import Record
from mote_host.hellos import Meaning
from mote_host.registry import Registry, is_name
from mote_host.rejections import Rejections
from mote_host.replica import Outcome, Replica
from mote_host.requests import Requests
from mote_host.store import Store
from mote_host.tips import Sleep, Tips

OnRecord = Callable[[str, Record], None]
"""Called with the device and each new record, once the record is in the store."""

MAX_WARNED = 1000  # devices without a key whose messages were logged
MAX_STRANGERS_A_SECOND = 100  # messages of such devices that are noted in the store

_log = logging.getLogger("mote.gateway")


class Service:
    """Serves devices while `running`. `dropped` counts messages by why they were dropped.

    `sleep` is what the delay of a TIP waits with.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        answering: Answering,
        down: Downlink,
        *,
        on_record: OnRecord | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._registry = registry
        self._store = store
        self._replica = Replica(store)
        self._branches = Branches(store)
        self._forks = Forks(store)
        self._fragments = Fragments()
        self._rejections = Rejections(store)
        self._answering = answering
        self._down = down
        self._tips = Tips(self._send_tip, sleep)
        self._requests = Requests(store, answering, down, self._tips)
        self._on_record = on_record
        self._group: asyncio.TaskGroup | None = None
        self._warned: set[str] = set()
        self._strangers = (0, 0)  # the second, and messages of devices without a key in it

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Owns the provider calls; they are cancelled, and their claims given back, at the end."""
        await asyncio.to_thread(self._answering.drop_dead_claims)
        async with asyncio.TaskGroup() as group:
            self._group = self._requests.group = group
            try:
                yield
            finally:
                self._requests.close()
                self._tips.close()
                self._flush()

    def _flush(self) -> None:
        try:
            self._rejections.flush()
        except StoreError as exc:  # they are counts: nothing that is worth another end
            _log.error("%s", exc)

    @property
    def busy(self) -> bool:
        """Whether a provider call is under way."""
        return bool(self._requests.tasks)

    async def idle(self) -> None:
        """Wait until no provider call is under way."""
        while self.busy:
            await asyncio.wait(list(self._requests.tasks.values()))

    async def receive(self, device: str, payload: bytes) -> None:
        """Take one `up` message. Never raises for what the message holds."""
        try:
            await self._receive(device, payload)
        except uplink.WrongMac:
            why = "it is not signed with the key that is enrolled here"
            await self._reject(device, "wrong MAC", why)
        except FormatError as exc:
            await self._reject(device, "malformed", str(exc))
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
        if isinstance(message, uplink.Fragment):
            array = self._fragments.take(device, message)
            if array is None:
                return
            message = uplink.read_array(array)
        await self._take(device, message)

    async def _take(self, device: str, message: uplink.Message) -> None:
        if isinstance(message, uplink.Hello):
            await self._hello(device, message)
        elif isinstance(message, uplink.Upload):
            await self._upload(device, message)
        elif isinstance(message, uplink.Missing):
            await self._missing(device, message)
        elif isinstance(message, uplink.Complete):
            await self._requests.complete(device, message)
        elif isinstance(message, uplink.Declaration):
            place = message.tools, message.index, message.count
            await self._requests.declare(device, *place, message.data)
        elif isinstance(message, uplink.Points):
            await self._points(device, message)
        elif isinstance(message, uplink.Recover):
            await self._recover(device, message)
        else:
            raise FormatError("a fragment within fragments")

    async def _reject(self, device: str, kind: str, why: str) -> None:
        """Count a message of an enrolled device that is not taken, where a person sees it."""
        self.dropped[kind] += 1
        try:
            await asyncio.to_thread(self._rejections.note, device, why, self._now_ms())
        except StoreError as exc:
            _log.error("%s: %s", device, exc)

    async def _ignore(self, device: str) -> None:
        self.dropped["unenrolled"] += 1
        if is_name(device) and self._has_time():  # what can't be enrolled is not worth a row
            await asyncio.to_thread(self._store.note_unenrolled, device, self._now_ms())
            if device not in self._warned and len(self._warned) < MAX_WARNED:
                self._warned.add(device)
                _log.warning("%s: not enrolled; its messages are ignored", device)

    def _has_time(self) -> bool:
        """Whether a stranger may cost a write in this second: no flood of them may slow us."""
        second = self._now_ms() // 1000
        if self._strangers[0] != second:
            self._strangers = (second, 0)
        self._strangers = (second, self._strangers[1] + 1)
        return self._strangers[1] <= MAX_STRANGERS_A_SECOND

    def _now_ms(self) -> int:
        return self._answering.now_ms()

    # -- the replica

    async def _hello(self, device: str, message: uplink.Hello) -> None:
        outcome = await asyncio.to_thread(self._replica.hello, device, message, self._now_ms())
        if outcome.meaning == Meaning.OLD:
            self.dropped["old hello"] += 1
            _log.debug("%s: a hello that was here before", device)
            return
        self._fragments.drop(device)  # a log that was restored numbers its arrays anew
        self._tell(device, outcome)
        if outcome.meaning == Meaning.FORK and message.nonce != outcome.device.nonce:
            # The tip lets the device see for itself; its nonce does not become the store's, so
            # the hello of another log voids nothing.
            tip = downlink.tip(outcome.device, self._now_ms())
            await self._down.send_once(device, message, tip)
        else:
            told = (device, message.epoch, message.head, outcome.device.tip)
            _log.info("%s: epoch %d, its log has %d records, the replica %d", *told)
            await self._send_tip(device)

    async def _upload(self, device: str, message: uplink.Upload) -> None:
        outcome = await asyncio.to_thread(self._replica.upload, device, message, self._now_ms())
        self._tell(device, outcome)
        if outcome.rejected:
            await self._reject(device, "check", outcome.rejected)
        if outcome.whole is not None:
            await self._send_tip(device, downlink.whole(outcome.whole))
        elif outcome.wanted is None or not outcome.implied:
            await self._send_tip(device)
        if outcome.wanted is not None:
            await self._want(device, outcome.wanted, outcome.implied)

    async def _want(self, device: str, request_id: bytes, implied: bool) -> None:
        """Serve a request; a reply that comes soon takes the place of the TIP."""
        if implied and self._group is not None:
            self._tips.later(self._group, device, request_id)
        served = await self._requests.want(device, request_id)
        if implied and not served:
            await self._send_tip(device)

    async def _send_tip(self, device: str, *more: downlink.Fields) -> None:
        """TIP, and what belongs to it."""
        self._tips.drop(device)
        known = await asyncio.to_thread(self._store.device, device)
        if known is not None:
            await self._down.send(device, [downlink.tip(known, self._now_ms()), *more])

    async def _missing(self, device: str, message: uplink.Missing) -> None:
        outcome = await asyncio.to_thread(self._replica.missing, device, message, self._now_ms())
        self._tell(device, outcome)
        if outcome.gap:
            _log.warning("%s: %s", device, outcome.gap)
        await self._send_tip(device)

    async def _points(self, device: str, message: uplink.Points) -> None:
        alarm = await asyncio.to_thread(self._forks.note, device, message, self._now_ms())
        if alarm:
            _log.error("%s: %s", device, alarm)

    async def _recover(self, device: str, message: uplink.Recover) -> None:
        known = await asyncio.to_thread(self._store.device, device)
        if known is None or not known.part_bytes:
            return
        place = message.seq, message.offset, known.part_bytes
        lost = await asyncio.to_thread(self._branches.payload, known, *place)
        if lost is None:
            await self._send_tip(device)
        else:
            await self._down.send(device, [downlink.record(lost)])

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
