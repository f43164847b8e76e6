# cpython only
"""The MQTT session against a real mosquitto, with a paho client on the other side of it."""

import queue
import random
import socket
import subprocess
import time

import paho.mqtt.client as paho
import pytest
from mote.mqtt import CONNECTED, DISCONNECTED, MESSAGE, PUBACK, REFUSED, SKIPPED, SUBACK, Session
from mote_host.demo.brokers import find_mosquitto
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE_S = 10
RX = 2048
LIMIT = 4096  # of a message, in the broker's configuration
LEVELS = {4: paho.MQTTv311, 5: paho.MQTTv5}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """That of a broker which knows one user and takes messages of a bounded size."""
    program = find_mosquitto()
    assert program, "mosquitto is needed: apt-get install mosquitto"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    config = tmp_path_factory.mktemp("mosquitto") / "mosquitto.conf"
    lines = f"listener {number} 127.0.0.1\nallow_anonymous true\npersistence false\n"
    config.write_text(lines + f"message_size_limit {LIMIT}\nmax_packet_size {2 * LIMIT}\n")
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(number, process)
        yield number
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(number, process):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert process.poll() is None, "mosquitto ended at once"
        try:
            socket.create_connection(("127.0.0.1", number), 0.2).close()
        except OSError:
            continue  # the attempt itself waits
        return
    raise AssertionError("mosquitto does not listen")


class Device:
    """A session on a socket, which connects at once unless told otherwise.

    `known`: the broker has its session already.
    """

    def __init__(self, port, level, name, connect=True, known=False, **options):
        self.session = Session(name, level=level, rx_bytes=RX, tx_bytes=2 * LIMIT, **options)
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.now_ms = 0
        self._events = []
        if connect:
            self.send(self.session.connect(0))
            assert self.next() == (CONNECTED, known)

    def send(self, packet):
        self.socket.sendall(packet)

    def next(self):
        """The next event; None when the broker has hung up."""
        while not self._events:
            data = self.socket.recv(777)
            if not data:
                return None
            view = memoryview(data)
            while view:
                view = view[self.session.receive(view, self.now_ms) :]
                event = self.session.next_event()
                if event and event[0] == MESSAGE:
                    event = (*event[:2], bytes(event[2]), *event[3:])
                if event:
                    self._events.append(event)
        return self._events.pop(0)

    def subscribe(self, topic, qos=1):
        pid = self.session.next_pid()
        self.send(self.session.subscribe(topic, qos, pid))
        assert self.next() == (SUBACK, pid, qos)


@pytest.fixture
def other(port):
    """A function that connects a paho client; its messages are in `inbox`."""
    made = []

    def connect(level, topic=None):
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=LEVELS[level])
        client.inbox, ready = queue.Queue(), queue.Queue()
        client.on_message = lambda c, u, message: client.inbox.put(message)
        client.on_connect = lambda *_: ready.put("connected")
        client.on_subscribe = lambda *_: ready.put("subscribed")
        client.connect("127.0.0.1", port)
        client.loop_start()
        made.append(client)
        assert ready.get(timeout=PATIENCE_S) == "connected"
        if topic:
            client.subscribe(topic, 1)
            assert ready.get(timeout=PATIENCE_S) == "subscribed"
        return client

    yield connect
    for client in made:
        client.disconnect()
        client.loop_stop()


def test_what_we_publish_arrives(port, other):
    draw = random.Random(1)
    for level in (4, 5):
        for theirs in (4, 5):
            client = other(theirs, f"a{level}{theirs}/#")
            device = Device(port, level, f"a{level}{theirs}")
            for n in range(25):
                topic = f"a{level}{theirs}/{'x' * draw.choice((1, 60, 200))}/\u00fc"
                payload = draw.randbytes(draw.choice((0, 1, 120, 128, 2000)))
                qos = draw.randrange(2)
                device.send(device.session.publish(topic, payload, qos, pid=n + 1))
                if qos:
                    assert device.next() == (PUBACK, n + 1, 0)
                got = client.inbox.get(timeout=PATIENCE_S)
                assert (got.topic, got.payload, got.qos) == (topic, payload, qos)


def test_what_arrives_is_what_was_published(port, other):
    draw = random.Random(2)
    for level in (4, 5):
        client = other(5)
        device = Device(port, level, f"b{level}")
        device.subscribe(f"b{level}/+")
        for n in range(25):
            listed = Properties(PacketTypes.PUBLISH)
            listed.ContentType, listed.MessageExpiryInterval = "text/plain", 100
            listed.CorrelationData = draw.randbytes(n)
            listed.UserProperty = ("k" * n, "\u00fc")
            payload, qos = draw.randbytes(draw.choice((0, 1, 120, 128, 1000))), draw.randrange(2)
            client.publish(f"b{level}/\u4e2d", payload, qos, properties=listed)
            event = device.next()
            assert event[:4] == (MESSAGE, f"b{level}/\u4e2d", payload, qos)
            assert event[5:] == (False, False)
            if qos:
                device.send(device.session.puback(event[4]))
        client.publish(f"b{level}/t", b"kept", 1, retain=True).wait_for_publish(PATIENCE_S)
        late = Device(port, level, f"b{level}late")
        late.subscribe(f"b{level}/t")
        assert late.next()[:3] == (MESSAGE, f"b{level}/t", b"kept")


def test_a_message_over_the_buffer_is_skipped(port, other):
    for level in (4, 5):
        client = other(4)
        device = Device(port, level, f"c{level}")
        device.subscribe(f"c{level}")
        client.publish(f"c{level}", bytes(RX), 1)
        kind, size, pid = device.next()
        assert kind == SKIPPED
        assert size > RX
        device.send(device.session.puback(pid))
        client.publish(f"c{level}", b"small", 1)
        assert device.next()[2] == b"small"


def test_what_was_not_acknowledged_comes_again(port, other):
    for level in (4, 5):
        client = other(level)
        device = Device(port, level, f"d{level}")
        device.subscribe(f"d{level}")
        client.publish(f"d{level}", b"once", 1)
        first = device.next()
        device.socket.close()
        again = Device(port, level, f"d{level}", known=True)
        assert again.next() == (*first[:5], True, False)


def big_packet():
    """A PUBLISH over the broker's limit."""
    return Session("any", level=5, tx_bytes=4 * LIMIT).publish("t", bytes(3 * LIMIT))


def test_reasons_of_a_broker(port):
    device = Device(port, 5, "e")
    device.send(device.session.publish("nobody/listens", b"", 1, pid=9))
    assert device.next() == (PUBACK, 9, 0x10)
    Device(port, 5, "e", known=True).socket.close()  # under the same name
    assert device.next() in (None, (DISCONNECTED, 0x8E)), "some releases only hang up"
    for packet, code in ((b"\x36\5\0\1t\0\0", 0x81), (bytes(big_packet()), 0x95)):
        device = Device(port, 5, f"e{code}")
        device.send(packet)
        assert device.next() == (DISCONNECTED, code)
    big = Device(port, 5, "f")
    with pytest.raises(ValueError, match=str(2 * LIMIT)):
        big.session.publish("t", bytes(2 * LIMIT))
    big.socket.close()


def test_limits_of_a_broker_are_learnt(port):
    device = Device(port, 5, "")
    assert device.session.client_id, "no name was given"
    assert device.session.max_qos == 1
    assert 1 <= device.session.receive_max <= 65535
    older = Device(port, 4, "g")
    assert (older.session.receive_max, older.session.max_qos) == (65535, 1)


def test_the_last_will(port, other):
    for level in (4, 5):
        client = other(level, f"h{level}/state")
        will = (f"h{level}/state", b'{"online": false}', True)
        Device(port, level, f"h{level}", will=will).socket.close()
        got = client.inbox.get(timeout=PATIENCE_S)
        assert (got.topic, got.payload, got.qos) == (will[0], will[1], 1)
        leaving = Device(port, level, f"h{level}", known=True, will=will)
        leaving.send(leaving.session.disconnect())
        assert leaving.next() is None
        assert client.inbox.empty(), "a good-bye is no accident"


def test_ping_and_its_answer(port):
    for level in (4, 5):
        device = Device(port, level, f"i{level}", keepalive_s=1)
        device.now_ms = 1000
        device.send(device.session.poll(1000))
        device.send(device.session.publish("i", b"", 1, pid=1))
        assert device.next()[:2] == (PUBACK, 1)
        assert device.session.deadline() is not None
        assert device.session.poll(1500) is None, "the ping was answered"


def test_a_broker_that_refuses(tmp_path, port):
    program = find_mosquitto()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    config = tmp_path / "closed.conf"
    config.write_text(f"listener {closed} 127.0.0.1\nallow_anonymous false\n")
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(closed, process)
        for level, code in ((4, 5), (5, 0x87)):
            device = Device(closed, level, "k", connect=False, user="u", password="wrong")
            device.send(device.session.connect(0))
            assert device.next() == (REFUSED, code)
            assert device.session.level == level
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
