"""The MQTT session against whatever a broker may send, in every state and both versions.

An input is one byte that chooses version, buffer and the state to begin with, and a script of what
happens then. Whatever arrives, ProtocolError is all that `receive` and `poll` raise, and then the
session is dead; how the bytes are cut into pieces changes nothing; what is held does not grow.
"""

import struct
from random import Random
from typing import Any

from mote import mqtt

from tests.fuzz import mutate, script
from tests.fuzz.bounds import held
from tests.fuzz.script import Step
from tests.fuzz.target import Target, hold

_RX = (32, 64, 256, 1280)
_TX = 256
_SLACK = 1200  # bytes that what was learnt from CONNACK may take: a client id, numbers
_ACCEPT = {5: b"\x20\x03\x00\x00\x00", 4: b"\x20\x02\x00\x00"}
_DYING = {mqtt.REFUSED, mqtt.DISCONNECTED}

# operations of a script
RECEIVE, PIECES, POLL, PUBLISH, SUBSCRIBE, PUBACK, DISCONNECT, LOST, CONNECT, HEAD = range(10)
_OPERATIONS = 10


class Mqtt(Target):
    name = "mqtt"
    sources = ("core/mote/mqtt/session.py", "core/mote/mqtt/packets.py")
    steps = 24
    longest = 512

    def make(self, random: Random) -> bytes:
        level = random.choice((4, 5))
        state = random.choice((0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 3))
        if not random.randrange(10):
            return bytes([random.randrange(256)]) + self.some_script(random, _OPERATIONS)
        steps = [_a_step(random, level) for _ in range(random.randint(1, 6))]
        if state == 0:  # a CONNACK is due
            steps.insert(0, (RECEIVE, _connack(random, level)))
        choice = (level - 4) | state << 1 | random.randrange(32) << 3
        return bytes([choice]) + script.pack(steps)

    def mutate(self, data: bytes, random: Random, other: bytes) -> bytes:
        head = data[:1] if random.randrange(8) else bytes([random.randrange(256)])
        return head + super().mutate(data[1:], random, other[1:])

    def check(self, data: bytes) -> str:
        choice = data[0] if data else 0
        steps = script.unpack(data[1:], self.steps)
        one, other = Client(choice, 0), Client(choice, 1 + choice // 32)
        one.run(steps)
        other.run(steps)
        if len(data) % 4 == 0:  # it takes long
            one.check_size()
        assert one.story == other.story, f"in pieces it is another story: {one.story}"
        return " ".join(sorted(one.words))


class Client:
    """A session and all that is said about it. `pieces`: bytes received at a time, 0 for all."""

    def __init__(self, choice: int, pieces: int) -> None:
        rx = _RX[choice >> 3 & 3]
        self.session = mqtt.Session("c", level=4 + (choice & 1), rx_bytes=rx, tx_bytes=_TX)
        self.story: list[object] = []  # events and errors
        self.words: set[str] = set()  # what kinds of them
        self._rx = rx
        self._pieces = pieces
        self._now = 0
        self._open = False  # connect() was called, nothing ended it since
        self._most = 2 * rx + _TX + _SLACK
        state = choice >> 1 & 3
        if state < 3:
            self._do(CONNECT, b"")
        if state in (1, 2):
            self._receive(_ACCEPT[self.session.level], 0)
        if state == 2:
            self._do(DISCONNECT, b"")
        if state > 1:
            self._is_dead()

    def run(self, steps: list[Step]) -> None:
        """Take all steps."""
        for operation, body in steps:
            self._do(operation % _OPERATIONS, body)
            if not self.session.connected and not self._open:
                self._is_dead()

    def check_size(self) -> None:
        """What is held is no more than the buffers."""
        assert held(self.session) <= self._most, "the session grows"

    def _is_dead(self) -> None:
        assert self.session.deadline() is None, "a dead session has a deadline"
        assert self.session.poll(self._now) is None, "a dead session sends"
        try:
            self.session.receive(b"\xd0\0", self._now)
        except mqtt.ProtocolError:
            return
        raise AssertionError("a dead session takes bytes")

    def _do(self, operation: int, body: bytes) -> None:
        number = int.from_bytes(body[:8], "big")
        session = self.session
        if operation in (RECEIVE, PIECES):
            if not self._open:  # as the driver does
                self._do(CONNECT, b"")
                self._receive(_ACCEPT[session.level], 0)
            self._receive(body, self._pieces or (3 if operation == PIECES else 0))
        elif operation == POLL:
            self._poll(number % 100000)
        elif operation == PUBLISH:
            topic = str(body[1:20], "latin-1")
            made = (topic, body, number & 1, bool(number & 2), number % 65537)
            self._sends(session.publish, *made)
            self._fits(number)
        elif operation == HEAD:
            self._head(number)
        elif operation == SUBSCRIBE:
            self._sends(session.subscribe, str(body, "latin-1"), number % 3, number % 65537)
        elif operation == PUBACK:
            self._sends(session.puback, 1 + number % 65535)
        elif operation == CONNECT:
            self._open = True
            self._sends(session.connect, self._now)
        elif operation == DISCONNECT:
            self._open = False
            self._sends(session.disconnect, number % 256)
        elif operation == LOST:
            self._open = False
            session.lost()

    def _sends(self, make: Any, *args: Any) -> None:
        try:
            packet = make(*args)
        except ValueError as exc:
            hold(not isinstance(exc, UnicodeError), "not the ValueError that is declared")
            return
        assert 2 <= len(packet) <= _TX, "a packet over the limit"
        rest = _body(bytes(packet))
        assert rest is not None, "the length of a packet is not its length"

    def _fits(self, number: int) -> None:
        """What there is said to be room for can be published."""
        topic = "t" * (1 + number % 40)
        room = self.session.room(topic)
        if room >= 0:
            packet = self.session.publish(topic, bytes(room))
            assert len(packet) <= min(_TX, self.session.packet_max)

    def _head(self, number: int) -> None:
        """A PUBLISH whose payload follows."""
        size, qos = number % 70000, number & 1
        try:
            packet = bytes(self.session.publish_head("t", size, qos, 1, False, number % 3))
        except ValueError:
            return
        assert len(packet) + size <= self.session.packet_max, "a packet over the limit"
        assert _body(packet + bytes(size)) is not None, "the length of a packet is not its length"

    def _poll(self, ms: int) -> None:
        self._now += ms
        try:
            packet = self.session.poll(self._now)
        except mqtt.ProtocolError:
            self._open = False
            self._tell("late", "late")
            assert not self.session.connected
            return
        assert packet is None or bytes(packet) == b"\xc0\0"

    def _receive(self, data: bytes, pieces: int) -> None:
        left = memoryview(data)
        try:
            while left:
                piece = left[:pieces] if pieces else left
                taken = self.session.receive(piece, self._now)
                assert 0 < taken <= len(piece), "nothing is taken"
                left = left[taken:]
                event = self.session.next_event()
                assert self.session.next_event() is None
                assert event or taken == len(piece), "bytes are left and there is no event"
                if event:
                    self._event(event)
        except mqtt.ProtocolError as exc:
            hold(len(str(exc)) < 200, "a long error")
            self._tell(str(exc), str(exc))
            self._open = False
            assert not self.session.connected, "an error, and still connected"

    def _tell(self, what: object, word: str) -> None:
        self.story.append(what)
        if len(self.words) < 4:
            self.words.add(word)

    def _event(self, event: tuple[Any, ...]) -> None:
        kind = event[0]
        shown = event
        if kind == mqtt.MESSAGE:
            _, topic, payload, qos, pid = event[:5]
            assert topic, "no topic"
            assert "\0" not in topic, "U+0000 in a topic"
            assert len(topic.encode()) + len(payload) < self._rx, "a message over the limit"
            assert qos in (0, 1), "QoS 2"
            assert 1 <= pid <= 65535 if qos else not pid, "a packet identifier"
            shown = (*event[:2], bytes(payload), *event[3:])
        else:
            assert all(isinstance(n, int) for n in event)
        if kind in (mqtt.PUBACK, mqtt.SUBACK):
            assert 1 <= event[1] <= 65535
        if kind == mqtt.SKIPPED:
            assert event[1] > self._rx, "a message is skipped that fits"
        if kind in _DYING:
            self._open = False
            assert not self.session.connected
        detail = event[-1] if kind in _DYING else event[3] if kind == mqtt.MESSAGE else ""
        self._tell(shown, f"{kind}.{detail}")


def _body(packet: bytes) -> bytes | None:
    """What follows the fixed header; None if the header does not say its length."""
    size = shift = 0
    for at in range(1, min(5, len(packet))):
        size |= (packet[at] & 127) << shift
        shift += 7
        if packet[at] < 128:
            body = packet[at + 1 :]
            return body if len(body) == size else None
    return None


# -- the grammar of what a broker sends


def _a_step(random: Random, level: int) -> Step:
    if random.randrange(4):
        packets = [_packet(random, level) for _ in range(random.randint(1, 3))]
        return random.choice((RECEIVE, PIECES)), b"".join(packets)
    return random.randrange(POLL, _OPERATIONS), mutate.some_bytes(random, 24)


def _packet(random: Random, level: int) -> bytes:
    makers = (_connack, _publish, _publish, _puback, _suback, _pingresp, _disconnect, _other)
    return random.choice(makers)(random, level)


def _framed(random: Random, head: int, body: bytes) -> bytes:
    """Behind a fixed header; the length is wrong, or longer than need be, at times."""
    size = len(body)
    if not random.randrange(16):
        size = max(0, min(268435455, random.choice((size - 1, size + 1, 0, 300, 268435455))))
    length = b""
    while True:
        length += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
        if not size:
            break
    if not random.randrange(24):
        length = length[:-1] + bytes([length[-1] | 128]) + b"\0"
    return bytes([head]) + length + body


def _text(random: Random) -> bytes:
    size = random.choice((0, 1, 2, 8, 40, 70, 300))
    data = random.choice(
        (b"mote/d/in", b"x" * size, "\u00fc".encode() * size, b"\0", b"\xed\xa0\x80")
    )
    return struct.pack(">H", len(data)) + data


def _properties(random: Random, level: int) -> bytes:
    if level == 4:
        return b""
    listed = b""
    for _ in range(random.choice((0, 0, 0, 1, 2, 5))):
        listed += _property(random)
    return _varint(len(listed) + (0 if random.randrange(16) else random.choice((-1, 1)))) + listed


def _varint(n: int) -> bytes:
    n = max(0, n)
    return bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7 & 127])


def _property(random: Random) -> bytes:
    ident = random.choice((*range(1, 0x2B), *(0x12, 0x13, 0x1F, 0x21, 0x23, 0x24, 0x26, 0x27) * 2))
    size = {1: 1, 2: 4, 0x0B: 0, 0x11: 4, 0x13: 2, 0x18: 4, 0x21: 2, 0x22: 2, 0x23: 2, 0x27: 4}
    if ident in (0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A):
        return bytes([ident, random.choice((0, 1, 2, 255))])
    if ident == 0x0B:
        return bytes([ident]) + random.choice((b"\1", b"\x80\1", b"\xff\xff\xff\x7f", b"\xff" * 5))
    if ident in size:
        number = random.choice((0, 1, 20, 65535, 1 << 31)) & (1 << 8 * size[ident]) - 1
        return bytes([ident]) + number.to_bytes(size[ident], "big")
    return bytes([ident]) + _text(random) + (_text(random) if ident == 0x26 else b"")


def _pid(random: Random) -> bytes:
    return struct.pack(">H", random.choice((0, 1, 2, 3, 65535)))


def _connack(random: Random, level: int) -> bytes:
    flags = random.choice((0, 0, 0, 1, 2))
    code = random.choice((0, 0, 0, 0, 1, 2, 5, 0x84, 0x87, 0x97))
    return _framed(random, 0x20, bytes([flags, code]) + _properties(random, level))


def _publish(random: Random, level: int) -> bytes:
    head = 0x30 | random.choice((0, 0, 1, 2, 2, 3, 4, 8, 9, 10, 11, 15))
    pid = _pid(random) if head & 6 else b""
    body = mutate.some_bytes(random, random.choice((4, 40, 400)))
    return _framed(random, head, _text(random) + pid + _properties(random, level) + body)


def _code(random: Random, level: int) -> bytes:
    if level == 4 or not random.randrange(3):
        return b""
    return bytes([random.choice((0, 16, 0x80, 0x87, 0x97, 255))]) + random.choice(
        (b"", _properties(random, level))
    )


def _puback(random: Random, level: int) -> bytes:
    return _framed(random, 0x40, _pid(random) + _code(random, level))


def _suback(random: Random, level: int) -> bytes:
    codes = bytes(random.choices((0, 1, 2, 0x80, 0x87), k=random.choice((0, 1, 1, 1, 2))))
    return _framed(random, 0x90, _pid(random) + _properties(random, level) + codes)


def _pingresp(random: Random, level: int) -> bytes:
    return _framed(random, 0xD0, b"" if random.randrange(8) else b"\0")


def _disconnect(random: Random, level: int) -> bytes:
    return _framed(random, 0xE0, _code(random, level))


def _other(random: Random, level: int) -> bytes:
    return _framed(random, random.randrange(256), mutate.some_bytes(random, 12))


def make_target() -> Target:
    """The target."""
    return Mqtt()
