"""What messages say, read from their bytes as anybody on the network could."""

from collections.abc import Iterator
from typing import Any

import msgpack
from mote import wire

from tests.simulation.violation import hold

_REFERENCES = {4: 10, 5: 8}  # bytes, by the kind of the record that they stand for


def array_of(message: bytes) -> list[Any]:
    """The array in a message of either direction."""
    return list(msgpack.unpackb(message[wire.MAC :], raw=False, strict_map_key=False))


def count(frames: bytes) -> int:
    """How many records are in an upload."""
    n = at = 0
    while at < len(frames):
        if frames[at] == wire.REFERENCE:
            at += _REFERENCES[frames[at + 1]]
        else:
            at += 5 + (frames[at] << 8 | frames[at + 1])
        n += 1
    return n


class Uplink:
    """Reads what one life of a device sends on `up`."""

    def __init__(self) -> None:
        self._whole = b""

    def reveals(self, fields: list[Any], agent: Any) -> Iterator[int]:
        """The newest records that the message with these fields depends on."""
        kind = fields[0]
        if kind == wire.HELLO:
            yield fields[3] + 1  # the BOOT of this life
            yield fields[-4] if len(fields) > 9 else fields[5]
        elif kind == wire.UPLOAD:
            yield fields[2] + count(fields[4]) - 1
        elif kind == wire.COMPLETE:
            yield from (turn.req for turn in agent.turns if turn.id == fields[1])
        elif kind == wire.POINTS:
            yield from (seq for seq, _ in fields[2])
        elif kind == wire.FRAGMENT:
            yield from self._fragment(fields, agent)

    def _fragment(self, fields: list[Any], agent: Any) -> Iterator[int]:
        _, _, offset, length, data = fields
        self._whole = self._whole[:offset] + data
        if len(self._whole) == length:
            whole = msgpack.unpackb(self._whole, raw=False, strict_map_key=False)
            yield from self.reveals(list(whole), agent)


class Downlink:
    """Sees to it that a link takes no message twice."""

    def __init__(self, name: str, link: Any) -> None:
        self._name, self._link, self._receive = name, link, link.receive
        self._nonce = b""
        self._taken: set[int] = set()
        link.receive = self.receive

    def receive(self, message: bytes, now_ms: int) -> None:
        """As Link.receive."""
        link = self._link
        if link._nonce != self._nonce:
            self._nonce = link._nonce
            self._taken.clear()
        rejected, nonce = link.rejected, link._nonce
        self._receive(message, now_ms)
        if link.rejected == rejected and link._nonce == nonce:
            counter = array_of(message)[0]
            hold(counter not in self._taken, self._name, f"message {counter} is taken twice")
            self._taken.add(counter)
