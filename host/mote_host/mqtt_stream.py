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
for its CONNACK, and if it is reset again meanwhile, it sends another CONNECT. So a CONNECT inside
a packet, with those that follow it at once, counts if behind its last byte the line is silent for
SILENCE_MS while a packet is not whole, or if a byte before its last one stands where a packet is
due and can't begin one.

Until that is decided, a packet that may end in the beginning of a CONNECT is held back, so that a
broker does not get half of one packet and half of another, and no password gets into a message.
One or two bytes are no sign, MACs end in anything: if they do begin a CONNECT, its rest comes
within TAIL_MS. More of them, and then silence: either the device was reset twice, or the CONNECT
ends in the same byte as the packet that was cut, or it is a message all the same. Nothing tells
which, so the connection is broken, and the device begins anew. Then only a message comes again:
what has the same bytes before that CONNECT, CONTEXT_BYTES of them, passes.

What remains is a device that loses its power twice in a row within the first bytes of a CONNECT:
of 96,000 lives that ended at random in tests/host/test_mqtt_resets.py, four made such a packet.
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
TAIL_MS = 100  # more than between two bytes of a CONNECT
CONTEXT_BYTES = 16
_TELLING_BYTES = 3  # of a CONNECT at the end of a packet
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


@dataclass(frozen=True, slots=True)
class _Inner:
    """What seems a CONNECT inside a packet that ends at `around`.

    It ends at `stop`, and what seem CONNECTs and follow it at `reach`; between two of them may be
    what a device had sent of another before it was reset.
    """

    start: int
    stop: int
    around: int
    reach: int


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
        self._heard_at: int | None = None
        self._patience_ms = SILENCE_MS
        self._context: bytes | None = None  # of the message that was taken for a reset
        self._told = 0
        self._last = b""  # two bytes of the packet before

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take what arrived; call next_event() until it has no more."""
        self._buf += data
        self._heard_at = now_ms
        self._parse(silent=False)

    def next_event(self) -> Event | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def deadline(self) -> int | None:
        """When to call poll(), in ms, or None."""
        if self._heard_at is None or not self._buf:
            return None
        return self._heard_at + self._patience_ms

    def poll(self, now_ms: int) -> None:
        """Say what time it is: silence tells of a reset."""
        due = self.deadline()
        if due is not None and now_ms >= due:
            self._heard_at = None
            self._parse(silent=True)

    # -- one step at a time

    def _parse(self, silent: bool) -> None:
        while self._buf and (self._framed or self._seek()):
            ends, bad = self._walk()
            if not (ends or bad or silent):
                return
            last = max([0, *ends])
            inner = self._inner(ends)
            restart = self._restart(inner, last, bad is not None, silent)
            doubt = self._doubt(inner, ends, silent) if restart is None else None
            sure = restart[0] if restart else doubt.around - 1 if doubt else last
            context = self._before(doubt, ends) if doubt else b""
            self._take([end for end in ends if end <= sure])
            if restart:
                self._drop(restart[1] - max([0, *(end for end in ends if end <= sure)]))
            elif doubt and silent:
                self._suspect(context)
                return
            elif doubt or bad is None:
                return
            if bad is not None:
                self._break(bad, lost=restart is None)

    def _seek(self) -> bool:
        """Drop what is no beginning of a CONNECT; True if a whole beginning is at the front."""
        found = CONNECT.search(self._buf)
        self._framed = found is not None
        self._drop(found.start() if found else partial(self._buf))
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

    def _inner(self, ends: list[int]) -> list[_Inner]:
        """What seem CONNECTs inside of packets, in their order."""
        size = len(self._buf)
        found = []
        for match in CONNECT.finditer(self._buf, 1):
            start = match.start()
            if (begun := self._begun(start)) < start:
                found.append((begun, start))
            found.append((start, start + length(self._buf, start)))
        if (begun := self._begun(size)) < size:
            found.append((begun, _ENDLESS))
        inner: list[_Inner] = []
        for start, stop in reversed(found):
            around = next((end for end in ends if end > start), _ENDLESS)
            near = (other.reach for other in inner if other.start < stop + PATTERN_BYTES)
            reach = max([stop, *near])
            inner.insert(0, _Inner(start, stop, around, reach))
        return inner

    def _begun(self, end: int) -> int:
        """Where the beginning of a CONNECT stands that is cut off at `end`; else `end`."""
        first = max(1, end - PATTERN_BYTES + 1)
        return first + partial(self._buf[first:end])

    def _restart(
        self, inner: list[_Inner], last: int, bad: bool, silent: bool
    ) -> tuple[int, int] | None:
        """Where a device was reset inside a packet, and where its last CONNECT begins."""
        for first in inner:
            row = [one for one in inner if first.start <= one.start <= first.reach]
            told = bad and any(one.start < last < one.stop < _ENDLESS for one in row)
            if told or (silent and first.reach == len(self._buf) != last):
                # who sent the others is gone
                return first.start, max(one.start for one in row if one.stop < _ENDLESS)
        return None

    def _doubt(self, inner: list[_Inner], ends: list[int], silent: bool) -> _Inner | None:
        """The first CONNECT that may have cut the packet around it, or None.

        Sets how long a silence has to be to tell more.
        """
        size = len(self._buf)
        self._patience_ms = SILENCE_MS
        for one in inner:
            due = one.start in ends  # where a packet begins it is what it seems to be
            if due or one.stop < one.around or one.reach < size:
                continue
            short = size - one.start < _TELLING_BYTES
            if silent and (short or self._before(one, ends) == self._context):
                continue
            if short:
                self._patience_ms = TAIL_MS
            return one
        return None

    def _before(self, inner: _Inner, ends: list[int]) -> bytes:
        """What the packet has before it."""
        begin = max([0, inner.start - CONTEXT_BYTES, *(end for end in ends if end <= inner.start)])
        return bytes(self._buf[begin : inner.start])

    def _suspect(self, context: bytes) -> None:
        """Nothing tells whether it is a reset: take it for one, and remember it."""
        self._context = context
        self._events.append(Broken("a message ends as a CONNECT begins, and nothing follows"))
        self._framed = False
        self._last = b""
        self._drop(len(self._buf))

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
