"""MQTT packets as somebody between client and broker sees them: where they end, what they are.

A packet is a byte of type and flags, the length of the rest as a variable byte integer of one to
four bytes, and the rest (MQTT 5.0, 2.1; the same in 3.1.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14
NAMES = {
    **{CONNECT: "CONNECT", CONNACK: "CONNACK", PUBLISH: "PUBLISH", PUBACK: "PUBACK"},
    **{SUBSCRIBE: "SUBSCRIBE", SUBACK: "SUBACK", PINGREQ: "PINGREQ", PINGRESP: "PINGRESP"},
    DISCONNECT: "DISCONNECT",
}

_DUP = 0x08

_TOPIC_ALIAS = 0x23


@dataclass(frozen=True, slots=True)
class Publish:
    """The fields of a PUBLISH; `pid` is 0 with QoS 0.

    `aliased` says that it has a topic alias: with an empty topic, that of an earlier one.
    """

    topic: str
    payload: bytes
    qos: int
    pid: int
    dup: bool
    aliased: bool = False


class Packets:
    """Cuts one direction of a connection into whole packets."""

    def __init__(self) -> None:
        self._buf = bytearray()

    @property
    def rest(self) -> bytes:
        """What has arrived of a packet that is not whole."""
        return bytes(self._buf)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The packets that `data` completes."""
        self._buf += data
        while size := _size(self._buf):
            if size > len(self._buf):
                return
            packet = bytes(self._buf[:size])
            del self._buf[:size]
            yield packet


def kind(packet: bytes) -> int:
    """The type of a packet: one of the numbers above."""
    return packet[0] >> 4


def version(connect: bytes) -> int:
    """The protocol level of a CONNECT: 5, or 4 for 3.1.1."""
    return connect[_body(connect) + 6]


def read_publish(packet: bytes, level: int) -> Publish:
    """A whole PUBLISH, read as of protocol level 4 or 5."""
    at = _body(packet)
    size = int.from_bytes(packet[at : at + 2])
    topic = packet[at + 2 : at + 2 + size].decode()
    at += 2 + size
    qos = packet[0] >> 1 & 3
    pid = int.from_bytes(packet[at : at + 2]) if qos else 0
    at += 2 if qos else 0
    aliased = False
    if level == 5:
        length, at = _varint(packet, at)
        aliased = length > 0 and packet[at] == _TOPIC_ALIAS  # mote sends no other with it
        at += length
    return Publish(topic, packet[at:], qos, pid, bool(packet[0] & _DUP), aliased)


def again(packet: bytes) -> bytes:
    """A PUBLISH of QoS 1 as it is sent another time: with the DUP flag."""
    return bytes([packet[0] | _DUP]) + packet[1:]


def _size(buf: bytearray) -> int:
    """The size of the packet that begins in `buf`, 0 if that is not known yet."""
    if len(buf) < 2 or (len(buf) < 5 and all(byte > 127 for byte in buf[1:5])):
        return 0
    length, at = _varint(buf, 1)
    return at + length


def _body(packet: bytes) -> int:
    """Where the fixed header ends."""
    return _varint(packet, 1)[1]


def _varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """The variable byte integer at `at`, and where it ends (MQTT 5.0, 1.5.5)."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128 or shift > 21:
            return value, at
