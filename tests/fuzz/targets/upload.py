"""The gateway against an enrolled device that says anything: right MACs, hostile fields.

An input is a script of `up` messages. What uplink and replica raise is FormatError, and then
nothing of the message is stored; the service drops what it can't take and never breaks. All that
is stored afterwards was verified: frames decode, their numbers and the chain fit; and a person can
be shown every record.
"""

import asyncio
import logging
import struct
import tempfile
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from fake_device import FakeDevice, Scripted
from mote import wire
from mote.segments import HEAD, chain, genesis
from mote_host import frames
from mote_host.answering import Answering
from mote_host.config import Settings
from mote_host.downlink import Downlink
from mote_host.errors import MoteError
from mote_host.providers.base import Reply
from mote_host.registry import Registry
from mote_host.serve import Service
from mote_host.store import Store
from mote_host.turns import Calls, step_of, with_texts

from tests.fuzz import mutate, script
from tests.fuzz.script import Step
from tests.fuzz.target import Target

_NAME = "fern"
_OTHER = "rose"
_FAST = Path("/dev/shm")
_LAST_BYTES = 40000  # of what goes down for one input

# SIGNED: an array as it is. FRAMES: an UPLOAD of frames that are put together here, from the tip
# on. UNSIGNED: no MAC. TWICE: the message before it again.
SIGNED, FRAMES, UNSIGNED, TWICE = range(4)
_OPERATIONS = 4


class Upload(Target):
    name = "upload"
    sources = tuple(
        f"host/mote_host/{n}.py"
        for n in ("uplink", "frames", "replica", "turns", "serve", "store", "conversation")
    )
    steps = 12

    def make(self, random: Random) -> bytes:
        if not random.randrange(10):
            return self.some_script(random, _OPERATIONS)
        steps = list(_genuine()[: random.choice((0, 2, 4, 6, 8))])
        for _ in range(random.randint(1, 4)):
            steps.insert(random.randint(0, len(steps)), _step(random))
        return script.pack(steps)

    def check(self, data: bytes) -> str:
        gateway = _gateway()
        gateway.forget()
        return gateway.run(script.unpack(data, self.steps))


class Gateway:
    """A gateway's service on a store in memory, and the one device that it knows."""

    def __init__(self, folder: Path) -> None:
        settings = Settings.model_validate({"gateway": {"state_dir": str(folder)}})
        self.registry = Registry(folder)
        self.key = self.registry.enroll(_NAME)
        self.store = Store(folder / "gateway.db")
        down = Downlink(self.store, self.registry)
        down.publish = self._publish
        provider: Any = Scripted()
        provider.complete = self._complete
        answering = Answering(settings, self.store, provider, clock=lambda: 1_700_000_000.0)
        self._settings = settings
        self._new = lambda: Service(self.registry, self.store, answering, down)
        self._loop = asyncio.new_event_loop()
        self._sent = 0

    async def _publish(self, topic: str, payload: bytes) -> None:
        assert topic == f"mote/{_NAME}/dn", "it goes to somebody else"
        self._sent += len(payload)

    async def _complete(self, request: object) -> Reply:
        return Reply("ok", ())

    def forget(self) -> None:
        """Begin with an empty store."""
        with self.store.transaction() as db:
            for table in ("devices", "declarations", "unenrolled"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 (constants)
        self._sent = 0

    def run(self, steps: list[Step]) -> str:
        """Send all messages, check the store; returns what came of it."""
        service = self._new()
        broken = _Broken()
        log = logging.getLogger("mote.gateway")
        log.propagate = False
        log.addHandler(broken)
        try:
            self._loop.run_until_complete(self._send(service, steps))
        finally:
            log.removeHandler(broken)
        if broken.error:
            raise broken.error
        count = self._check()
        known = self.store.device(_NAME)
        alarm = (known.alarm or "").rstrip("0123456789") if known else "unknown"
        dropped = " ".join(sorted(service.dropped))
        return f"{min(count, 3)} records, {alarm} {dropped} {self._sent > 0}"

    async def _send(self, service: Service, steps: list[Step]) -> None:
        message = b""
        async with service.running():
            for operation, body in steps:
                kind = operation % _OPERATIONS
                if kind != TWICE:
                    message = self._message(kind, body)
                before = self._stored() if kind == UNSIGNED else None
                await service.receive(_NAME, message)
                await service.idle()
                assert before is None or before == self._stored(), "no MAC, and stored"
        assert self._sent <= _LAST_BYTES, f"{self._sent} bytes go down"

    def _message(self, kind: int, body: bytes) -> bytes:
        if kind == UNSIGNED:
            return bytes(wire.MAC) + body
        if kind == FRAMES:
            body = self._upload(body)
        return bytes(wire.subkey(self.key, "up").sign(body)) + body

    def _upload(self, body: bytes) -> bytes:
        """An UPLOAD that fits the tip: kind, length, payload of each frame are in `body`."""
        known = self.store.device(_NAME)
        tip = known.tip if known else 0
        h = known.tip_hash if known else genesis(_NAME)
        data = b""
        for seq, (kind, payload) in enumerate(script.unpack(body, 40), tip + 1):
            data += struct.pack(">HBH", len(payload), kind, seq & 0xFFFF) + payload
        return mutate.packed([wire.UPLOAD, 1, tip + 1, h[: wire.ID], data, None, None])

    def _stored(self) -> tuple[object, ...]:
        return self.store.device(_NAME), len(self.store.frames(_NAME)), self.store.gaps(_NAME)

    def _check(self) -> int:
        """All that is stored was verified, and can be shown; how many records there are."""
        device = self.store.device(_NAME)
        rows = self.store.frames(_NAME)
        if device is None:
            assert not rows
            return 0
        seq, h = 0, genesis(_NAME)
        gaps = {gap.first: gap for gap in self.store.gaps(_NAME)}
        for number, stored, frame in rows:
            while seq + 1 in gaps and seq + 1 != number:
                seq, h = gaps[seq + 1].last, gaps[seq + 1].after
            h = gaps[number].after if number in gaps and gaps[number].last < number else h
            assert number == seq + 1, f"record {number} follows record {seq}"
            seq, h = number, chain(h, frame)
            assert h == stored, f"record {number} is not chained to the one before"
            assert int.from_bytes(frame[3:5], "big") == number & 0xFFFF
            assert len(frame) == HEAD + int.from_bytes(frame[:2], "big")
        assert device.tip >= seq
        self._show()
        return len(rows)

    def _show(self) -> None:
        """As `mote log`, `mote audit` and `mote replay` do."""
        records = self.store.records(_NAME)
        calls = Calls()
        for record in records:
            told = frames.describe(record)
            assert len(told) <= 400, "a long line"
            assert told.isprintable(), "a line that steers a terminal"
            step_of(record)
            calls.add(record)
        calls.list()
        with_texts(records)


class _Broken(logging.Handler):
    """Notes what the service caught that it did not expect."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, MoteError):
            self.error = self.error or error


_folders: list[tempfile.TemporaryDirectory[str]] = []


@lru_cache
def _gateway() -> Gateway:
    folder = tempfile.TemporaryDirectory(dir=_FAST if _FAST.is_dir() else None)
    _folders.append(folder)  # is removed when the process ends
    return Gateway(Path(folder.name))


# -- what devices say


@lru_cache
def _genuine() -> list[Step]:
    """The arrays of a device that asks once and gets a reply, as far as the wire goes up."""
    device = FakeDevice(_NAME, bytes(32))
    device.ask("water the fern", "main", "a1")
    device.settle()
    steps: list[Step] = [(SIGNED, message[wire.MAC :]) for message in device.outgoing()]
    frames_ = [device.agent.log.frame(n) for n in range(1, device.agent.log.seq + 1)]
    inner = script.pack([(frame[2], bytes(frame[HEAD:])) for frame in frames_])
    steps.append((FRAMES, inner))
    tools = device.agent.tools
    for n in range(len(tools.tools)):
        declared = [wire.TOOL, tools.hash, n, len(tools.tools), bytes(tools.declaration(n))]
        steps.append((SIGNED, mutate.packed(declared)))
    ident = device.agent.log.head[: wire.ID]
    steps.append((SIGNED, mutate.packed([wire.COMPLETE, ident, 0])))
    return steps


def _step(random: Random) -> Step:
    choice = random.randrange(10)
    if choice < 4:
        inner = [_record(random) for _ in range(random.randint(1, 4))]
        return FRAMES, script.pack(inner)
    if choice == 4:
        return TWICE, b""
    made = random.choice(_KINDS)(random)
    made = [mutate.value(random) if not random.randrange(12) else field for field in made]
    return (UNSIGNED if choice == 5 else SIGNED), mutate.packed(made, random)


def _record(random: Random) -> Step:
    """A record with the fields of its kind, more or less: (kind, payload)."""
    kind, layout = random.choice(list(frames._LAYOUT.items()))
    fields = [_field(of, random) for _, of in layout[1]]
    if not random.randrange(8):
        fields = fields[: random.randrange(len(fields) + 1)]
    if not random.randrange(12):
        kind = random.randrange(256)
    return kind, mutate.packed(fields, random)


def _field(of: Any, random: Random) -> Any:
    if not random.randrange(16) or of is object:
        return mutate.value(random)
    kind = random.choice(of) if isinstance(of, tuple) else of
    if kind is int:
        return random.choice((0, 1, 2, 3, 4, 7, 1700000000, 2**53 - 1, mutate.number(random)))
    if kind is list:
        return [mutate.value(random, 2) for _ in range(random.randrange(16))]
    if kind is dict:
        return {mutate.text(random): mutate.value(random, 3) for _ in range(random.randrange(4))}
    if kind is bytes:
        return random.randbytes(random.choice((0, 8, 16, 32, 600)))
    return mutate.text(random) if kind is str else None


def _hello(random: Random) -> list[Any]:
    n = mutate.number
    ids = [random.choice((random.randbytes(16), genesis(_NAME)[:16])) for _ in range(3)]
    part_bytes = random.choice((16, 512, 16384, n(random)))
    return [wire.HELLO, n(random), b"nonce" + bytes(3), n(random), ids[0], ids[1], n(random),
            n(random), ids[2], n(random), part_bytes]  # fmt: skip


def _upload(random: Random) -> list[Any]:
    before = random.choice((genesis(_NAME)[:16], genesis(_OTHER)[:16], b"", bytes(32)))
    first = random.choice((1, 1, 2, mutate.number(random)))
    data = random.choice((mutate.some_bytes(random, 60), _references(random)))
    check = random.choice((None, None, random.randbytes(wire.CHECK)))
    return [wire.UPLOAD, 1, first, before, data, check, random.choice((None, 3, first))]


def _references(random: Random) -> bytes:
    """What stands in an upload for records that the gateway can make itself."""
    made = b""
    for seq in range(1, random.randint(2, 5)):
        kind = random.choice((4, 5, 9, random.randrange(256)))
        made += bytes([wire.REFERENCE, kind]) + struct.pack(">H", seq)
        made += random.choice((bytes([0, 0, 0, 3]), random.randbytes(4)))
        made += struct.pack(">H", random.choice((0, 4, 512, 65535))) if kind == 4 else b""
    return made


def _complete(random: Random) -> list[Any]:
    ident = random.choice((random.randbytes(16), bytes(16), b"\xff" * 16))
    return [wire.COMPLETE, ident, mutate.number(random)]


def _declared(random: Random) -> list[Any]:
    n = mutate.number
    return [wire.TOOL, random.randbytes(16), n(random), n(random), mutate.some_bytes(random, 99)]


def _missing(random: Random) -> list[Any]:
    first = random.choice((1, 1, 1, 2, 3, mutate.number(random)))
    last = random.choice((first - 1, first, first + 5, mutate.number(random)))
    return [wire.GAP, 1, first, last, genesis(_NAME)[:16], random.randbytes(32)]


def _points(random: Random) -> list[Any]:
    count = random.choice((0, 1, 3, 30))
    points = [[mutate.number(random), random.randbytes(16)] for _ in range(count)]
    return [wire.POINTS, 1, points]


def _fragment(random: Random) -> list[Any]:
    whole = mutate.packed(_hello(random), random)
    at = random.choice((0, 0, len(whole) // 2, mutate.number(random)))
    length = random.choice((len(whole), mutate.number(random)))
    return [wire.FRAGMENT, random.choice((1, 2)), at, length, whole[at if 0 < at < 99 else 0 :]]


def _recover(random: Random) -> list[Any]:
    return [wire.RECOVER, random.choice((1, 2, 3, mutate.number(random))), mutate.number(random)]


def _any(random: Random) -> list[Any]:
    return [random.randrange(8), *(mutate.value(random) for _ in range(random.randrange(8)))]


_KINDS = (_hello, _upload, _complete, _declared, _missing, _points, _fragment, _recover, _any)


def make_target() -> Target:
    """The target."""
    return Upload()
