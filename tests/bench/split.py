"""Where a turn's bytes go: MQTT packets by topic and message, uploads by the records in them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mote import wire
from mote.msgpack import FormatError, Unpacker
from mote_host.demo.meter import DOWN, UP
from mote_host.frames import KINDS

from tests.bench.packets import (
    CONNECT,
    NAMES,
    PUBACK,
    PUBLISH,
    Packets,
    kind,
    read_publish,
    version,
)

_HEAD = 5  # length, kind and number of a frame
_UPS = ("HELLO", "UPLOAD", "COMPLETE", "TOOL", "GAP", "POINTS", "FRAGMENT", "RECOVER")
_DNS = ("TIP", "REPLY", "REPLY_END", "BUSY", "FAIL", "CANCEL", "TOOLS", "WHOLE", "RECORD")


@dataclass(slots=True)
class Share:
    """Messages of one kind, and their bytes in both directions."""

    messages: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """One more."""
        self.messages += 1
        self.size += size


@dataclass(slots=True)
class Split:
    """What passed since the last `take()`, by kind; a listener of a relay."""

    shares: dict[str, Share] = field(default_factory=dict)
    records: dict[str, Share] = field(default_factory=dict)
    _level: int = 5
    _streams: dict[str, Packets] = field(default_factory=lambda: {UP: Packets(), DOWN: Packets()})

    def __call__(self, way: str, data: bytes) -> None:
        """Take bytes that went that way."""
        for packet in self._streams[way].feed(data):
            self.shares.setdefault(self._name(way, packet), Share()).add(len(packet))

    def take(self) -> tuple[dict[str, Share], dict[str, Share]]:
        """(packets by kind, records in uploads by kind), and begin anew."""
        taken = self.shares, self.records
        self.shares, self.records = {}, {}
        return taken

    def _name(self, way: str, packet: bytes) -> str:
        what = kind(packet)
        if what == CONNECT:
            self._level = version(packet)
        if what == PUBACK:
            return "acks"
        if what != PUBLISH:
            return "connection " + NAMES.get(what, str(what))
        publish = read_publish(packet, self._level)
        # an empty topic is an alias; mote has one, for `up`
        topic = publish.topic.rpartition("/")[2] or "up"
        if topic == "up":
            return "up " + self._up(publish.payload)
        return "dn " + _dn(publish.payload) if topic == "dn" else topic

    def _up(self, payload: bytes) -> str:
        u = Unpacker(payload[wire.MAC :])
        u.array()
        name = _UPS[u.int() - 1]
        if name == "UPLOAD":
            u.int(), u.int(), u.bin()
            for record, size in _frames(bytes(u.bin())):
                self.records.setdefault(record, Share()).add(size)
        return name


def _dn(payload: bytes) -> str:
    u = Unpacker(payload[wire.MAC :])
    u.array()
    u.int()
    return _DNS[u.int() - 1]


def _frames(data: bytes) -> Iterator[tuple[str, int]]:
    """(kind, bytes) of each record in an upload. Raises FormatError."""
    at = 0
    while at < len(data):
        if data[at] == 0xFF:  # a reference stands for it
            code = data[at + 1]
            size = 10 if KINDS.get(code) == "PART" else 8
            name = f"{KINDS.get(code, code)} (reference)"
        else:
            code = data[at + 2]
            size = _HEAD + int.from_bytes(data[at : at + 2])
            name = KINDS.get(code, str(code))
        if at + size > len(data):
            raise FormatError("a frame is cut short")
        yield name, size
        at += size
