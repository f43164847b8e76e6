"""MQTT's packets from outside: where they begin and end, and the two that a bridge sends itself.

A packet is a byte of type and flags, then the length of the rest as a variable byte integer of one
to four bytes, then the rest (MQTT 5.0, 2.1; the same in 3.1.1).
"""

import re

MAX_PACKET_BYTES = 131072  # what a device sends at most: an answer of the largest reply_bytes

CONNECT_TYPE = 0x10
DISCONNECT_TYPE = 0xE0
MAGIC = b"\x00\x04MQTT"
# How a CONNECT of 3.1.1 or 5.0 begins that is no longer than 2 KiB; a device's is.
CONNECT = re.compile(rb"\x10(?:[\x00-\x7f]|[\x80-\xff][\x01-\x0f])\x00\x04MQTT")
PATTERN_BYTES = 9  # its longest match

# What a client may send (MQTT 5.0, 2.1.2 and 2.1.3): CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL,
# PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT, AUTH.
_FIRST = (
    b"\x10\x30\x31\x32\x33\x34\x35\x38\x39\x3a\x3b\x3c\x3d\x40\x50\x62\x70\x82\xa2\xc0\xe0\xf0"
)


class Malformed(Exception):
    """No packet begins so. The text says why."""


def measure(buf: bytearray, at: int) -> int | None:
    """The size of the packet at `at`, None if that is not known yet. Raises Malformed."""
    head = buf[at : at + PATTERN_BYTES]
    if head and head[0] not in _FIRST:
        raise Malformed(f"a packet can't begin with the byte 0x{head[0]:02x}")
    if head and head[0] == CONNECT_TYPE and not _may_begin(head):
        raise Malformed("a CONNECT of no version of MQTT that is known here")
    if len(head) < 5 and all(byte > 127 for byte in head[1:]):
        return None
    if all(byte > 127 for byte in head[1:5]):
        raise Malformed("the length of a packet has more than four bytes")
    size = length(buf, at)
    if size > MAX_PACKET_BYTES:
        raise Malformed(f"a packet of {size} bytes; at most {MAX_PACKET_BYTES} pass")
    return size


def length(buf: bytearray, at: int) -> int:
    """The size of a packet whose fixed header is whole."""
    digits = 1
    while buf[at + digits] > 127:
        digits += 1
    return 1 + digits + _number(buf, at + 1)


def _number(buf: bytearray, at: int) -> int:
    """A variable byte integer (MQTT 5.0, 1.5.5)."""
    value = 0
    for shift in range(0, 28, 7):
        byte = buf[at + shift // 7]
        value |= (byte & 127) << shift
        if byte < 128:
            break
    return value


def _may_begin(data: bytearray) -> bool:
    """Whether a CONNECT begins so, as far as the bytes go."""
    if len(data) >= PATTERN_BYTES or CONNECT.match(data):
        return CONNECT.match(data) is not None
    digits = 2 if data[1:2] > b"\x7f" else 1
    return (
        data[:1] == b"\x10"
        and (digits == 1 or not data[2:3] or 1 <= data[2] <= 15)
        and MAGIC.startswith(data[1 + digits :])
    )


def partial(buf: bytearray) -> int:
    """Where at the end the beginning of a CONNECT stands that is not whole; else the end."""
    for start in range(max(0, len(buf) - PATTERN_BYTES + 1), len(buf)):
        if _may_begin(buf[start:]) and not CONNECT.match(buf, start):
            return start
    return len(buf)


class BrokerStream:
    """Where packets end in what a broker sends; `between` says that none is half way."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    @property
    def between(self) -> bool:
        """The last byte was the last of a packet, or there was none."""
        return not self._head and not self._left

    def receive(self, data: bytes) -> None:
        """Take what went to the device."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            if len(self._head) > 1 and (self._head[-1] < 128 or len(self._head) == 5):
                self._left = _number(self._head, 1)
                self._head.clear()


def refusal(version: int) -> bytes:
    """The CONNACK "server unavailable" (MQTT 5.0, 3.2.2.2; 3.1.1, 3.2.2.3)."""
    return b"\x20\x03\x00\x88\x00" if version == 5 else b"\x20\x02\x00\x03"


def farewell(version: int) -> bytes:
    """DISCONNECT, "server shutting down" in MQTT 5.0 (3.14.2.1).

    In 3.1.1 a server sends none: a client that gets one ends the connection, which is the aim.
    """
    return b"\xe0\x01\x8b" if version == 5 else b"\xe0\x00"
