"""The real core of a device on a log in memory, with a clock that tests move by hand.

`Ram` is the medium, `FakeDevice` the agent with its link; `Bench` joins devices to a gateway's
`Service` without a broker. Everything a device does happens in `settle`, `outgoing`, `incoming`.
"""

import asyncio
import random
from dataclasses import dataclass, field

from mote import records as r
from mote import wire
from mote.agent import CALL, PUBLISH, STOP, Agent
from mote.link import Link
from mote.log import Log, genesis
from mote.msgpack import Unpacker
from mote.tools import ONCE, READ, Toolset, choice, number, tool
from mote.turn import Limits
from mote.wire import subkey
from mote_host.answering import Answering
from mote_host.config import Settings
from mote_host.downlink import Downlink
from mote_host.errors import ProviderError
from mote_host.providers.base import Call, Reply
from mote_host.registry import Registry
from mote_host.serve import Service
from mote_host.store import Store

MAX_ROUNDS = 300
TIMEOUT_S = 20


class Ram:
    """A log medium in memory, of unit 1."""

    unit = 1

    def __init__(self, segment_bytes=1 << 17, segments=8):
        self.segment_bytes = segment_bytes
        self.segments = segments
        self.data = [bytearray(b"\xff" * segment_bytes) for _ in range(segments)]

    def read(self, segment, offset, buf):
        buf[:] = self.data[segment][offset : offset + len(buf)]

    def program(self, segment, offset, data):
        self.data[segment][offset : offset + len(data)] = data

    def erase(self, segment):
        self.data[segment][:] = b"\xff" * self.segment_bytes

    def sync(self):
        pass

    def copy(self):
        other = Ram(self.segment_bytes, self.segments)
        other.data = [bytearray(segment) for segment in self.data]
        return other


class FakeDevice:
    """A device with two tools: `read_moisture(bed)` and `run_pump(seconds)`, a ONCE."""

    def __init__(self, name, key, medium=None, seed=1, limits=None):
        self.name = name
        self.key = key
        self.medium = medium or Ram()
        self.limits = limits or Limits()
        self.now_ms = 1000
        self.answers = []  # (session, id, how, text)
        self.ran = []  # what the tools did
        self._random = random.Random(seed)
        self.boot()

    def boot(self, outputs=()):
        """Start, or start again from what is on the medium."""
        log = Log(self.medium, genesis(self.name), subkey(self.key, "log").sign)
        self.agent = Agent(log, Toolset(self._tools()), self.limits)
        self.agent.open(self.now_ms, self._random.randbytes(8), list(outputs), "test")
        self.link = Link(self.agent, self.key, self._random.randbytes)
        self.link.connected(self.now_ms)

    def _tools(self):
        @tool("Read the soil's moisture.", READ, choice("bed", ["left", "right"]))
        def read_moisture(bed):
            self.ran.append(("read_moisture", bed))
            return "31 %"

        @tool("Run the pump.", ONCE, number("seconds", 0.1, 30, "s", "How long"))
        def run_pump(seconds):
            self.ran.append(("run_pump", seconds))
            return {"pumped_s": seconds}

        return [read_moisture, run_pump]

    def ask(self, text, session="main", name=""):
        return self.agent.ask(text, session, name, self.now_ms, 0)

    def settle(self):
        """Do all that is due outside of the log; calls run at once."""
        effect = self.agent.next_effect()
        while effect:
            if effect[0] == CALL:
                _, turn, called, args = effect
                result = called.run(**args)
                text = result if isinstance(result, str) else str(result)
                self.agent.result(turn, r.OK, text)
            elif effect[0] == STOP:
                self.agent.result(effect[1], r.STOPPED, "stopped")
            elif effect[0] == PUBLISH:
                self.answers.append(said(self.agent.answer(effect[1], effect[2])))
                self.agent.sent(effect[1])
            effect = self.agent.next_effect()

    def outgoing(self):
        """The messages that are due now."""
        messages = []
        view = self.link.poll(self.now_ms)
        while view is not None:
            messages.append(bytes(view))
            view = self.link.poll(self.now_ms)
        return messages

    def incoming(self, message):
        self.link.receive(message, self.now_ms)
        self.settle()


def said(answer):
    """An answer as the agent gives it, with its text in one string."""
    *place, text = answer
    return (*place, read(text()) if callable(text) else text)


def read(body):
    """The text of a `mote.body.Body`."""
    data, piece = b"", bytearray(64)
    while n := body.fill(memoryview(piece)):
        data += piece[:n]
    return data.decode()


@dataclass
class Scripted:
    """A provider that answers in order; an entry is a Reply or an exception to raise."""

    script: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    gate: object = None  # an asyncio.Event to wait for
    called: asyncio.Event = field(default_factory=asyncio.Event)
    name: str = "scripted"

    async def complete(self, request):
        self.requests.append(request)
        self.called.set()
        entry = self.script.pop(0) if self.script else ProviderError("the script is at its end")
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(entry, BaseException):
            raise entry
        return entry

    async def aclose(self):
        pass


def watering():
    """The replies of a turn with two calls and an answer."""
    return [
        Reply("", (Call("a", "read_moisture", {"bed": "left"}),), tokens_in=10, tokens_out=5),
        Reply("", (Call("b", "run_pump", {"seconds": 3}),), tokens_in=20, tokens_out=5),
        Reply("It was dry, so I watered it for 3 s.", (), tokens_in=30, tokens_out=9),
    ]


class Bench:
    """A `Service` whose `dn` messages land in `inbox`, (device, payload), in order.

    `now_s` is the gateway's clock.
    """

    def __init__(self, state_dir, provider):
        self.settings = Settings.model_validate({"gateway": {"state_dir": str(state_dir)}})
        self.registry = Registry(state_dir)
        self.provider = provider
        self.inbox = []
        self.records = []
        self.events = []
        self.now_s = 1_700_000_000.0
        self.hold = asyncio.Event()  # set it, and TIPs that wait for a reply go out
        self.open(state_dir / "gateway.db")

    def open(self, path):
        self.store = Store(path)
        self.down = Downlink(self.store, self.registry)
        self.down.publish = self._publish
        self.answering = Answering(
            self.settings,
            self.store,
            self.provider,
            on_model=lambda *args: self.events.append(args),
            clock=lambda: self.now_s,
        )
        self.service = Service(
            self.registry,
            self.store,
            self.answering,
            self.down,
            on_record=lambda device, record: self.records.append((device, record)),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds):
        await self.hold.wait()

    async def _publish(self, topic, payload):
        self.inbox.append((topic, payload))

    async def exchange(self, device, idle=True):
        """One round: all that the device has to say, and all that it gets. True if any."""
        sent = device.outgoing()
        for message in sent:
            await self.service.receive(device.name, message)
        if idle:
            await self.service.idle()
        got = [payload for topic, payload in self.inbox if topic == f"mote/{device.name}/dn"]
        self.inbox.clear()
        for payload in got:
            device.incoming(payload)
        device.settle()
        return bool(sent or got)

    async def until(self, device, done):
        """Exchange and move the device's clock until `done()`; fails when that never comes."""
        device.settle()
        for _ in range(MAX_ROUNDS):
            if done():
                return
            if not await self.exchange(device):
                deadline = device.link.deadline()
                assert deadline is not None, f"nothing is due any more: {device.link.trouble}"
                device.now_ms = max(device.now_ms + 1, deadline)
        raise AssertionError(f"not done after {MAX_ROUNDS} rounds")

    async def begin(self, device, text):
        """Ask, and return once the provider is at work; its gate must be closed."""
        device.ask(text)
        device.settle()
        n = len(self.provider.requests)
        while not self.service.busy:
            await self.exchange(device, idle=False)
        async with asyncio.timeout(TIMEOUT_S):
            await self.provider.called.wait()
        assert len(self.provider.requests) == n + 1

    async def turn(self, device, text, session="main", name=""):
        """Ask, and return the answer: (session, id, how, text)."""
        device.ask(text, session, name)
        n = len(device.answers)
        await self.until(device, lambda: len(device.answers) > n)
        return device.answers[-1]

    async def sync(self, device):
        """Exchange until the replica holds all of the log."""
        await self.until(device, lambda: self.tip(device) == device.agent.log.seq)

    def tip(self, device):
        known = self.store.device(device.name)
        return known.tip if known else -1


def complete(device, request_id, offset=0):
    """A COMPLETE as the device signs it."""
    return bytes(device.link._up.message(wire.COMPLETE, request_id, offset))


def request_ids(bench, device):
    return [x.id for x in bench.store.records(device.name) if x.kind == r.REQ]


def fields_of(inbox):
    """The arrays of the messages in an inbox, in order; their first field is the counter."""
    return [Unpacker(payload[wire.MAC :]).value() for _, payload in inbox]


def kinds(inbox):
    """The message types in an inbox, in order."""
    return [fields[1] for fields in fields_of(inbox)]
