"""The packets of MQTT on a serial line, which has no ends of its own.

Theory of operation. A UART carries bytes and says neither that a device was reset nor where a
connection begins. So the device's stream is cut into packets, and a CONNECT says that a
connection begins:

    unframed --the bytes `10 length 00 04 M Q T T`--> framed
    framed --a byte that can't begin a packet, where one is due--> unframed

While unframed, bytes are dropped: the messages of a boot ROM, noise, the rest of a packet. Framed,
a CONNECT where a packet is due is a new connection. A device that is reset inside a packet puts
its CONNECT where the rest of that packet should be. But so does anybody who has these bytes in a
message, as text that somebody asked; taken for a reset, that message would end the connection
each time that it is repeated. What tells them apart is what follows: a device that connects waits
for its CONNACK. So a CONNECT inside a packet counts if behind its last byte the line is silent
for SILENCE_MS while a packet is not whole, or if a byte before its last one stands where a packet
is due and can't begin one.

Until that is decided, a packet that may end in the beginning of a CONNECT is held back, so that a
broker does not get half of one packet and half of another, and no password gets into a message.
Where the CONNECT ends in the same byte as the packet that was cut, nothing tells what it is: it is
taken for a message, and the device, which hears no CONNACK, sends another.
"""

from collections import deque
from dataclasses import dataclass

from mote_host.mqtt_framing import (
    CONNECT,
    CONNECT_TYPE,
    DISCONNECT_TYPE,
    MAGIC,
    PATTERN_BYTES,
    Malformed,
    length,
    measure,
    partial,
)

SILENCE_MS = 1000  # less than a device waits for its CONNACK
_TELLING_BYTES = 3  # of a CONNECT at the end of a packet; less is nothing: MACs end in anything
_ENDLESS = 1 << 30


@dataclass(frozen=True, slots=True)
class Connect:
    """A connection begins with `packet`: one that was open before is over.

    `dropped` bytes between the packet before it and this one were of no use.
    """

    packet: bytes
    dropped: int

    @property
    def version(self) -> int:
        """MQTT's protocol level: 5, or 4 for 3.1.1."""
        return self.packet[self.packet.index(MAGIC) + len(MAGIC)]


@dataclass(frozen=True, slots=True)
class Packet:
    """A whole packet for the broker."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """What came is no MQTT: a connection that was open is over."""

    why: str


Event = Connect | Packet | Broken


class DeviceStream:
    """Bytes of a device in, events out.

    Holds at most MAX_PACKET_BYTES, 2 KiB and what was received last.
    `dropped` counts the bytes that went nowhere, `leaving` says that the device sent DISCONNECT.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.leaving = False
        self._buf = bytearray()  # from where a packet began, if framed
        self._events: deque[Event] = deque()
        self._framed = False
        self._silent_at: int | None = None
        self._told = 0
        self._last = b""  # two bytes of the packet before

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take what arrived; call next_event() until it has no more."""
        self._buf += data
        self._silent_at = now_ms + SILENCE_MS
        self._parse(silent=False)

    def next_event(self) -> Event | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def deadline(self) -> int | None:
        """When to call poll(), in ms, or None."""
        return self._silent_at if self._buf else None

    def poll(self, now_ms: int) -> None:
        """Say what time it is: silence tells of a reset."""
        due = self.deadline()
        if due is not None and now_ms >= due:
            self._silent_at = None
            self._parse(silent=True)

    # -- one step at a time

    def _parse(self, silent: bool) -> None:
        while self._buf and (self._framed or self._seek()):
            ends, bad = self._walk()
            if not (ends or bad or silent):
                return
            inner = self._inner(ends)
            start = self._restart(inner, ends, bad is not None, silent)
            sure = start if start is not None else self._sure(inner, ends, silent)
            self._take([end for end in ends if end <= sure])
            if start is not None:
                self._drop(start - max([0, *(end for end in ends if end <= start)]))
            elif bad is None or sure < max([0, *ends]):
                return
            if bad is not None:
                self._break(bad, lost=start is None)

    def _seek(self) -> bool:
        """Drop what is no beginning of a CONNECT; True if a whole beginning is at the front."""
        found = CONNECT.search(self._buf)
        self._framed = found is not None
        self._drop(found.start() if found else partial(self._buf, 0))
        return self._framed

    def _walk(self) -> tuple[list[int], str | None]:
        """Where the whole packets end, and why no packet can follow them, or None."""
        ends: list[int] = []
        at = 0
        try:
            while size := measure(self._buf, at):
                at += size
                if at > len(self._buf):
                    break
                ends.append(at)
        except Malformed as exc:
            return ends, str(exc)
        return ends, None

    def _inner(self, ends: list[int]) -> list[tuple[int, int, int]]:
        """Begin, end, and end of the packet around it, of what seems a CONNECT inside a packet."""
        size = len(self._buf)
        found = [
            (match.start(), match.start() + length(self._buf, match.start()))
            for match in CONNECT.finditer(self._buf, 1)
        ]
        begun = partial(self._buf, max(1, size - PATTERN_BYTES + 1))
        if size - begun >= _TELLING_BYTES:
            found.append((begun, _ENDLESS))
        inner = []
        for start, stop in found:
            around = next((end for end in ends if end > start), _ENDLESS)
            if around - start >= _TELLING_BYTES:
                inner.append((start, stop, around))
        return inner

    def _restart(
        self, inner: list[tuple[int, int, int]], ends: list[int], bad: bool, silent: bool
    ) -> int | None:
        """Where the CONNECT of a device that was reset inside a packet begins, or None."""
        last = max([0, *ends])
        size = len(self._buf)
        for start, stop, _ in inner:
            if bad and start < last < stop < _ENDLESS:
                return start
            if silent and stop == size != last:
                return start
        return None

    def _sure(self, inner: list[tuple[int, int, int]], ends: list[int], silent: bool) -> int:
        """Up to where all packets are what they seem to be."""
        size = len(self._buf)
        doubtful = [around for _, stop, around in inner if stop > around and stop >= size]
        if silent or not doubtful:
            return max([0, *ends])
        return max([0, *(end for end in ends if end < min(doubtful))])

    def _take(self, ends: list[int]) -> None:
        """Make events of the packets that end there."""
        begin = 0
        for end in ends:
            packet = bytes(self._buf[begin:end])
            begin = end
            if packet[0] == CONNECT_TYPE:
                self._events.append(Connect(packet, self.dropped - self._told))
                self._told = self.dropped
            else:
                self._events.append(Packet(packet))
            self.leaving = packet[0] == DISCONNECT_TYPE
        self._last = bytes(self._buf[max(0, begin - 2) : begin]) or self._last
        del self._buf[:begin]

    def _drop(self, size: int) -> None:
        self.dropped += size
        del self._buf[:size]

    def _break(self, why: str, lost: bool) -> None:
        """A packet is no packet; if what does begin there is lost too, look for a CONNECT."""
        self._events.append(Broken(why))
        self._framed = not lost
        if lost:
            # The packet before may have ended in its first two bytes, and so passed for whole.
            self._buf[:0] = self._last
            self.dropped -= len(self._last)
        self._last = b""
