"""The device's link against a gateway that has the key and says anything, in any order.

An input is one byte for the state to begin with, and a script: messages (signed under the counter
that is due, signed as they are, not signed), polls, time, reconnections. Whatever happens is at
most counted as rejected; nothing grows; what goes up is well formed; afterwards, with an honest
gateway, a good turn ends with its answer, in this life and in the next one.
"""

import hashlib
import re
from random import Random
from typing import Any

import helpers
from mote import records as r
from mote import wire
from mote.body import Body
from mote.gate import Refused
from mote.segments import Lost
from mote_host import uplink

from tests.fuzz import device, mutate, script
from tests.fuzz.bounds import held
from tests.fuzz.target import Target

NEXT, SIGNED, UNSIGNED, POLL, SETTLE, RECONNECT, ASK, HONEST = range(8)
_OPERATIONS = 8
_POLLS = 8
_PACKETS = (0, 0, 128, 200, 400, 1 << 20)  # bytes that a message may have; 0: no limit
_GROWTH = 3000  # bytes: two more turns, what was learnt from the gateway

# Stand in a script for what is known only when it runs; 16 bytes each, as the real ones.
_ID, _LAST = b"<<id of turn 0>>", b"<<id of last ->>"
_HEAD, _TOOLS, _DIGEST = b"<<hash at head>>", b"<<hash of tools>", b"<<digest so far>"

_RECORD = re.compile(rb"<<hash of rec (\d\d)")


class LinkTarget(Target):
    name = "link"
    sources = tuple(f"core/mote/{n}.py" for n in ("link", "wire", "agent", "turn", "body"))
    steps = 16

    def make(self, random: Random) -> bytes:
        head = bytes([random.randrange(256)])
        if not random.randrange(10):
            return head + self.some_script(random, _OPERATIONS)
        steps = []
        for _ in range(random.randint(1, 8)):
            operation = random.choice((NEXT, NEXT, NEXT, NEXT, *range(_OPERATIONS)))
            if operation == NEXT:
                body = _message(random)
            elif operation in (SIGNED, UNSIGNED):
                body = b"\x93" + mutate.packed(mutate.number(random)) + _message(random)[1:]
            else:
                body = mutate.some_bytes(random, 4)
            steps.append((operation, body))
        if not random.randrange(6):
            steps[random.randrange(len(steps)) :] = _taken_back(random)
        return head + script.pack(steps)

    def mutate(self, data: bytes, random: Random, other: bytes) -> bytes:
        return data[:1] + super().mutate(data[1:], random, other[1:])

    def check(self, data: bytes) -> str:
        played = Play(data[0] if data else 0)
        for operation, body in script.unpack(data[1:], self.steps):
            played.do(operation % _OPERATIONS, body)
        played.check_size()
        word = played.word()
        device.good_turn(played.line, "good 1")
        if sum(data) % 4:
            return word  # the next life takes as long again
        played.line.bench.log.sync()
        again = device.booted(played.chip.copy(), played.line.bench.now_ms)
        assert again.log.seq == played.line.bench.log.seq + 1, "records are lost"
        assert not again.log.notes, again.log.notes
        device.good_turn(device.joined(again), "good 2")
        return word


class Play:
    """One device while a script runs."""

    def __init__(self, choice: int) -> None:
        self.chip = device.used_chip().copy()
        self.nonce = b""
        bench = device.booted(self.chip, 5000)
        self.line = device.joined(bench, self._random)
        self._draws = helpers.Random(4)
        self._counter = 0
        self._dn = wire.subkey(helpers.KEY, "dn")
        self._rejected = 0
        self._most = self._held() + _GROWTH
        if choice & 3:
            self.do(RECONNECT, b"")
            self.do(HONEST if choice & 2 else POLL, b"")
        if choice & 3 == 3:
            self.do(HONEST, b"")

    def _random(self, n: int) -> bytes:
        self.nonce, self._counter = bytes(self._draws.bytes(n)), 0
        return self.nonce

    def _held(self) -> int:
        agent = self.line.bench.agent
        return held([self.line.link, agent], (agent.log, agent.tools))

    def check_size(self) -> None:
        """Nothing has grown."""
        assert self._held() <= self._most, f"it grows to {self._held()} bytes"
        assert len(self.line.bench.agent.turns) <= device.limits().open_turns

    def word(self) -> str:
        """What came of the script."""
        link, bench = self.line.link, self.line.bench
        states = "".join(str(turn.state) for turn in bench.agent.turns)
        trouble = (link.trouble or "").rstrip("0123456789")
        told = sorted({how for _, (_, _, how, _) in bench.published})
        return f"turns {states} told {told} rejected {min(link.rejected, 2)} {trouble}"

    def do(self, operation: int, body: bytes) -> None:
        """One step."""
        bench, link = self.line.bench, self.line.link
        if operation in (NEXT, SIGNED, UNSIGNED):
            self._receive(operation, self._filled(body))
        elif operation == POLL:
            bench.now_ms += int.from_bytes(body[:3], "big") % 400000
            bench.agent.tick(bench.now_ms)
            self._poll()
        elif operation == SETTLE:
            bench.settle()
        elif operation == RECONNECT:
            link.lost()
            link.connected(bench.now_ms, _PACKETS[body[0] % len(_PACKETS)] if body else 0)
        elif operation == ASK:
            self._ask(body)
        else:
            for message in self._poll():
                self.line.gateway.receive(message)
            for message in self.line.gateway.out:
                link.receive(message, bench.now_ms)
            self.line.gateway.out.clear()

    def _ask(self, body: bytes) -> None:
        bench, link = self.line.bench, self.line.link
        name = body[:2].hex()
        try:
            bench.agent.ask("more", "main", name, bench.now_ms, link.unix_s(bench.now_ms))
        except Refused:
            return

    def _poll(self) -> list[bytes]:
        link, now_ms = self.line.link, self.line.bench.now_ms
        found: list[bytes] = []
        message = link.poll(now_ms)
        while message is not None and len(found) < _POLLS:
            assert len(message) <= link.message_bytes, "a message over the limit"
            found.append(bytes(message))
            uplink.read(helpers.KEY, found[-1])  # what a gateway refuses must not be sent
            message = link.poll(now_ms)
        due = link.deadline()
        assert due is None or isinstance(due, int)
        return found

    def _receive(self, operation: int, body: bytes) -> None:
        bench, link = self.line.bench, self.line.link
        if operation == NEXT:
            gateway = self.line.gateway  # it counts on from what is said in its name
            self._counter = gateway._counter = max(self._counter, gateway._counter) + 1
            count = (body[0] if body else 0) & 15
            body = bytes([0x90 | count]) + mutate.packed(self._counter) + body[1:]
        before = bench.log.seq, link.rejected
        mac = bytes(16) if operation == UNSIGNED else self._dn.sign(self.nonce, body)
        link.receive(mac + body, bench.now_ms)
        if operation == UNSIGNED:
            assert (bench.log.seq, link.rejected) == (before[0], before[1] + 1), (
                "no MAC, and taken"
            )

    def _filled(self, body: bytes) -> bytes:
        """The body with what its placeholders stand for."""
        if b"<<" not in body:
            return body
        agent = self.line.bench.agent
        ids = [turn.id or bytes(16) for turn in agent.turns] or [bytes(16)]
        for mark, found in (
            (_ID, ids[0]),
            (_LAST, ids[-1]),
            (_HEAD, agent.log.head[:16]),
            (_TOOLS, agent.tools.hash),
        ):
            body = body.replace(mark, found)
        body = _RECORD.sub(lambda found: self._hash_at(int(found[1])), body)
        return body.replace(_DIGEST, self._digest()) if _DIGEST in body else body

    def _hash_at(self, seq: int) -> bytes:
        try:
            return bytes(self.line.bench.log.hash_at(seq)[:16])
        except Lost:
            return bytes(16)

    def _digest(self) -> bytes:
        turns = self.line.bench.agent.turns
        if not turns:
            return bytes(16)
        try:
            found: Any = Body(self.line.bench.log, turns[0].req).digest()
        except Lost:
            found = None
        return found or hashlib.sha256().digest()[:16]


# -- the grammar of what a gateway says


def _message(random: Random) -> bytes:
    """The number of fields (counter included) and the fields behind the counter."""
    fields = random.choice(_KINDS)(random)
    made = [random.choice(_ABSURD)(random) if not random.randrange(12) else f for f in fields]
    return bytes([1 + len(made)]) + b"".join(mutate.packed(f, random) for f in made)


_ABSURD = (mutate.number, mutate.value, mutate.text)


def _ident(random: Random) -> bytes:
    return random.choice((_ID, _ID, _ID, _LAST, _HEAD, bytes(16), b"", b"<<id of turn 0>"))


def _tip(random: Random) -> list[Any]:
    tip = random.choice((*range(20), mutate.number(random)))
    h = b"<<hash of rec %02d" % (tip % 100)
    h = random.choice((h, h, h, _HEAD, bytes(16), b"", mutate.some_bytes(random, 40)))
    unix_s = random.choice((1700000000, mutate.number(random)))
    back = [_near(random), _near(random)] if not random.randrange(3) else []
    return [wire.TIP, tip, h, mutate.number(random), unix_s, *back]


def _reply(random: Random) -> list[Any]:
    data = random.choice(
        (
            helpers.pack_reply([("look", {"n": 1})]),
            helpers.pack_reply([("pour", {"n": random.choice((1, "x", 10**9))})]),
            helpers.pack_reply([("none", {}), ("look", {"m": None})], "text"),
            mutate.packed(mutate.value(random), random),
            b"done",
            mutate.some_bytes(random, 500),
        )
    )
    offset = random.choice((0, 0, 0, 5, len(data), mutate.number(random)))
    return [wire.REPLY, _ident(random), offset, data]


def _reply_end(random: Random) -> list[Any]:
    length = random.choice((0, 4, 14, 15, 16, 25, 31, mutate.number(random)))
    digest = random.choice((_DIGEST, _DIGEST, _DIGEST, bytes(16), b""))
    calls = random.choice((0, 0, 1, 1, 2, mutate.number(random)))
    tail = [random.choice((0, 4, _near(random))), b"done"] if not random.randrange(3) else []
    return [wire.REPLY_END, _ident(random), length, digest, calls, _near(random), *tail]


def _near(random: Random) -> int:
    """The number of a record, or anything."""
    return random.choice((*range(20), mutate.number(random)))


def _whole(random: Random) -> list[Any]:
    return [wire.WHOLE, _near(random)]


def _taken_back(random: Random) -> list[script.Step]:
    """A tip that offers lost records, and those records."""
    tip, first, last = random.randint(14, 18), random.randint(8, 12), random.randint(12, 20)
    h = b"<<hash of rec %02d" % tip
    said = [[wire.TIP, tip, h, 1, 1700000000, first, last]]
    for number in range(first, first + random.randint(1, 4)):
        record = _record(random)
        said.append([wire.RECORD, last, number, record[3], 0, len(record[6]), record[6]])
    packed = [bytes([1 + len(f)]) + b"".join(mutate.packed(field) for field in f) for f in said]
    return [(NEXT, body) for body in packed]


def _record(random: Random) -> list[Any]:
    kind, fields = random.choice(_LOST)
    data = mutate.packed(mutate.value(random) if not random.randrange(6) else fields)
    offset = random.choice((0, 0, 0, 4, _near(random)))
    length = random.choice((len(data), len(data), 4, mutate.number(random)))
    return [wire.RECORD, _near(random), _near(random), kind, offset, length, data[: offset + 300]]


def _busy(random: Random) -> list[Any]:
    return [wire.BUSY, _ident(random), mutate.number(random)]


def _fail(random: Random) -> list[Any]:
    return [wire.FAIL, _ident(random), mutate.text(random) * random.choice((1, 1, 20))]


def _cancel(random: Random) -> list[Any]:
    return [
        wire.CANCEL,
        random.choice((None, "main", mutate.value(random))),
        mutate.number(random),
    ]


def _tools(random: Random) -> list[Any]:
    return [wire.TOOLS, random.choice((_TOOLS, bytes(16)))]


def _any(random: Random) -> list[Any]:
    return [mutate.value(random) for _ in range(random.randrange(6))]


_KINDS = (_tip, _tip, _reply, _reply, _reply_end, _busy, _fail, _cancel, _tools, _any)
_KINDS += (_whole, _record, _record)
_LOST = (
    (r.ASK, ["main", "a9", "lost", 0, 0]),
    (r.ANSWER, [7, 0, 0, "lost"]),
    (r.SENT, [7]),
    (r.FACT, ["k", "v"]),
    (r.BOOT, [3, b"12345678", [], "test", None]),
    (r.PART, [3, b"lost"]),
)


def make_target() -> Target:
    """The target."""
    return LinkTarget()
