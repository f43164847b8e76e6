"""A small MQTT broker (5.0, 3.1.1) in memory, with the model of the gateway behind it. Portable.

What a device publishes on `up` goes to the gateway at once, and the gateway's answers come back
on `dn`; answers on `out` are collected. `dial()` gives the device's end of a connection, a Stream
as the driver wants it. What one side writes the other has at once.
"""

import asyncio
import json

from helpers import DEVICE
from mote.mqtt.packets import Reader, Writer

_TOPIC = "mote/" + DEVICE + "/"


class Broker:
    """Serves one device, and keeps what was asked until it is acknowledged.

    `outs` has what was answered, `refused` those answers of status "refused" (dicts with the keys
    session, id, status and text). `faults` has what the gateway raised: it must stay empty.
    """

    def __init__(self, gateway):
        self.gateway = gateway
        self.outs = []
        self.refused = []
        self.states = []
        self.faults = []
        self.connections = 0
        self.down = False  # nobody listens
        self.deaf = False  # answers are not acknowledged
        self.absent = False  # the gateway is away
        self.present = False  # what CONNACK says of the session
        self.properties = b""  # of CONNACK in 5.0
        self.refusal = 0  # the code of PUBACKs, in 5.0
        self.mute = False  # no SUBSCRIBE is answered
        self.sealed = None  # a topic that nobody may subscribe to
        self.packets = []  # (packet id, DUP) of each answer that came
        self.farewells = []  # the code of each DISCONNECT, -1: none
        self.stream = None
        self._asks = {}  # packet id -> payload
        self._pid = 0
        self._subscribed = set()
        self._v5 = 1  # or 0
        self._aliased = None

    # -- for the test

    def ask(self, text, name="", session="main"):
        """Publish an ask on `in`."""
        fields = {"text": text, "id": name, "session": session}
        self.publish(json.dumps(fields).encode())

    def publish(self, payload, retain=False):
        """Publish on `in`."""
        self._pid += 1
        self._asks[self._pid] = payload
        self._deliver(self._pid, retain)

    def answers(self, name):
        """The distinct (status, text) that came for the ask of that id."""
        return sorted({(out["status"], out["text"]) for out in self.outs if out["id"] == name})

    def waiting(self):
        """How many asks the device has not acknowledged."""
        return len(self._asks)

    def relay(self):
        """Publish on `dn` what the gateway has to say."""
        messages = list(self.gateway.out)
        self.gateway.out.clear()
        for message in messages:
            self._send_publish("dn", message)

    def hang_up(self):
        """End the connection."""
        stream, self.stream = self.stream, None
        if stream:
            stream.end()

    async def dial(self):
        """A connection. Raises OSError if nobody listens."""
        if self.down:
            raise OSError(111, "refused")
        self.hang_up()
        self.connections += 1
        self._subscribed = set()
        self.stream = Stream(self)
        return self.stream

    # -- packets

    def take(self, head, reader):
        """A packet from the device."""
        kind = head >> 4
        if kind == 1:
            reader.text()
            self._v5 = reader.uint(1) - 4
            found = bytes([len(self.properties)]) + self.properties if self._v5 else b""
            self._aliased = None
            self._send(bytes([0x20, 2 + len(found), self.present, 0]) + found)
        elif kind == 3:
            self._take_publish(head, reader)
        elif kind == 4:
            self._asks.pop(reader.pid(), None)
        elif kind == 8:
            pid = reader.pid()
            self._skip_properties(reader)
            self._subscribe(pid, reader.text())
        elif kind == 12:
            self._send(b"\xd0\0")
        elif kind == 14:
            self.farewells.append(reader.uint(1) if reader.left() else -1)

    def _skip_properties(self, reader):
        if self._v5:
            reader.properties()

    def _subscribe(self, pid, topic):
        if self.mute:
            return
        sealed = topic == self.sealed
        if not sealed:
            self._subscribed.add(topic)
        tx = Writer(16)
        tx.uint(pid, 2)
        tx.uint(0, self._v5)
        tx.uint(0x87 if sealed else 1, 1)
        self._send(tx.end(0x90))
        if topic == _TOPIC + "in":
            for waiting in sorted(self._asks):
                self._deliver(waiting, False)

    def _deliver(self, pid, retain):
        self._send_publish("in", self._asks[pid], pid, retain)

    def _send_publish(self, topic, payload, pid=0, retain=False):
        if _TOPIC + topic not in self._subscribed:
            return
        tx = Writer(20000)
        tx.data(_TOPIC + topic)
        if pid:
            tx.uint(pid, 2)
        tx.uint(0, self._v5)
        tx.raw(payload)
        self._send(tx.end(0x30 | (2 if pid else 0) | retain))

    def _send(self, packet):
        if self.stream:
            self.stream.feed(bytes(packet))

    def _take_publish(self, head, reader):
        topic = str(reader.raw(reader.uint(2)), "utf-8")
        pid = reader.pid() if head & 6 else 0
        if self._v5 and 0x23 in reader.properties():
            topic = self._aliased = topic or self._aliased
        topic = topic[len(_TOPIC) :]
        payload = bytes(reader.raw(reader.left()))
        if topic == "up" and not self.absent:
            try:
                self.gateway.receive(payload)
            except Exception as e:
                self.faults.append(e)
            self.relay()
        elif topic == "state":
            self.states.append(json.loads(payload))
        elif topic == "out":
            self.packets.append((pid, head & 8 > 0))
            out = json.loads(payload)
            (self.refused if out["status"] == "refused" else self.outs).append(out)
            if pid and not self.deaf:
                code = bytes([self.refusal]) if self.refusal else b""
                self._send(bytes([0x40, 2 + len(code)]) + pid.to_bytes(2, "big") + code)


class Stream:
    """The device's end of a connection to `broker`."""

    def __init__(self, broker):
        self._broker = broker
        self._sent = b""  # by the device, not a whole packet yet
        self._ready = b""  # for the device
        self._news = asyncio.Event()
        self._over = False

    async def read(self, buf):
        """Wait for bytes; returns how many came, 0 at the end."""
        while not self._ready and not self._over:
            self._news.clear()
            await self._news.wait()
        n = min(len(buf), len(self._ready))
        buf[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n

    def write(self, data):
        """Give bytes to the broker."""
        if self._over:
            raise OSError(32, "broken pipe")
        sent = self._sent + bytes(data)
        reader = Reader(memoryview(sent))
        at = 0
        try:
            while len(sent) - at >= 2:
                reader.start(at + 1, len(sent))
                size = reader.varint()
                start = len(sent) - reader.left()
                if start + size > len(sent):
                    break
                reader.start(start, start + size)
                head, at = sent[at], start + size
                self._broker.take(head, reader)
        finally:
            self._sent = sent[at:]

    async def drain(self):
        """All is with the broker already."""
        await asyncio.sleep(0)

    def close(self):
        """Drop the connection."""
        self.end()
        if self._broker.stream is self:
            self._broker.stream = None

    # -- the broker's end

    def feed(self, data):
        """Bytes for the device."""
        self._ready += data
        self._news.set()

    def end(self):
        """The broker hangs up."""
        self._over = True
        self._news.set()
