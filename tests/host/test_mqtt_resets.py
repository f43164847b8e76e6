"""A device that loses its power again and again, anywhere: nothing of two lives passes as one."""

import random

import pytest
from mote import mqtt
from mote_host.mqtt_stream import Broken, Connect, DeviceStream, Packet

LIVES = 8


class Device:
    """Sends what a device sends, in random pieces, on a line with a clock of its own."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.stream = DeviceStream()
        self.whole = set()
        self.connects = 0
        self._now = 0

    def live(self):
        """From the power's coming to its going."""
        session = mqtt.Session("mote-fern", user="fern", will=("mote/fern/state", b"{}", True))
        connect = bytes(session.connect(0))
        session.receive(b"\x20\x03\0\0\0", 0)
        packets = [bytes(session.subscribe("mote/fern/in", 1, 7))]
        for _ in range(self.random.randrange(6)):
            topic = "mote/fern/" + self.random.choice(("up", "out"))
            packets.append(bytes(session.publish(topic, self._payload())))
        data = b"".join(packets)
        left = self.random.choice((len(data), self.random.randrange(len(data))))
        before = self.connects
        if self.random.random() < 0.1:
            self._send(connect[: self.random.randrange(len(connect))])
        else:
            self.whole.add(connect)
            self._send(connect)
            self._wait(0 if self.connects > before else self.random.choice((100, 1001)))
            if self.connects > before:  # else nobody answers
                self._note(packets, left)
                self._send(data[:left])
        self._wait(self.random.choice((50, 200, 500, 1100)))

    def _payload(self):
        if self.random.random() < 0.5:
            return self.random.randbytes(self.random.randrange(300))
        return b'{"status": "done", "text": "%s"}' % (b"x" * self.random.randrange(60))

    def _note(self, packets, left):
        for packet in packets:
            left -= len(packet)
            if left >= 0:
                self.whole.add(packet)

    def _send(self, data):
        at = 0
        while at < len(data):
            step = self.random.randrange(1, 200)
            self.stream.receive(data[at : at + step], self._now)
            self._check()
            at += step
            self._now += self.random.randrange(20)

    def _wait(self, for_ms):
        self._now += for_ms
        self.stream.poll(self._now)
        self._check()

    def _check(self):
        while event := self.stream.next_event():
            if isinstance(event, Connect):
                assert event.packet in self.whole
                self.connects += 1
            elif isinstance(event, Packet):
                assert event.data in self.whole
            else:
                assert isinstance(event, Broken)


@pytest.mark.parametrize("block", range(5))
def test_no_packet_is_made_of_two(block):
    for seed in range(200 * block, 200 * block + 200):
        device = Device(seed)
        for _ in range(LIVES):
            device.live()
        assert device.connects, seed
