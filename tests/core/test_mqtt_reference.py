# cpython only
"""The MQTT session against paho-mqtt: each reads what the other makes, byte by byte.

Against a real broker: test_mqtt_mosquitto.py.
"""

import random
import select
import socket
import struct

import paho.mqtt.client as paho
import pytest
from mote.mqtt import (
    CONNECTED,
    DISCONNECTED,
    MESSAGE,
    PUBACK,
    REFUSED,
    SUBACK,
    Session,
)
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PATIENCE_S = 10
LEVELS = {4: paho.MQTTv311, 5: paho.MQTTv5}
RX = 4096


def frame(head, body):
    """A packet as a server sends it."""
    size, length = len(body), b""
    while True:
        length += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
        if not size:
            return bytes([head]) + length + body


def body_of(packet):
    """What is behind the fixed header, whose length must be right."""
    at, size, shift = 1, 0, 0
    while True:
        size |= (packet[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if packet[at - 1] < 128:
            break
    assert len(packet) == at + size
    return packet[at:]


def events(session, data, step=1 << 16):
    """All events of `data`, payloads copied."""
    found = []
    for at in range(0, len(data), step):
        view = memoryview(data)[at : at + step]
        while len(view):
            view = view[session.receive(view, 0) :]
            event = session.next_event()
            if event and event[0] == MESSAGE:
                event = (*event[:2], bytes(event[2]), *event[3:])
            if event:
                found.append(event)
    return found


def opened(level, **options):
    """A session that is connected."""
    session = Session("c", level=level, rx_bytes=RX, tx_bytes=RX, **options)
    session.connect(0)
    assert events(session, b"\x20\x03\0\0\0" if level == 5 else b"\x20\x02\0\0")
    return session


class Peer:
    """A paho client and the server's end of its connection, in which the test plays the server."""

    def __init__(self, level, client_id="c", **options):
        self.level = level
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id, protocol=LEVELS[level], **options
        )
        self.messages, self.acknowledged, self.disconnected = [], [], []
        self.client.on_message = lambda c, u, message: self.messages.append(message)
        self.client.on_publish = lambda c, u, mid, code, p: self.acknowledged.append((mid, code))
        self.client.on_disconnect = lambda c, u, f, code, p: self.disconnected.append(code)

    def connect(self, **options):
        """Returns the bytes of its CONNECT, and accepts it."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.client.connect("127.0.0.1", server.getsockname()[1], **options)
            self.end, _ = server.accept()
        self.end.settimeout(PATIENCE_S)
        self.end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        packet = self.sent()
        self.feed(b"\x20\x03\0\0\0" if self.level == 5 else b"\x20\x02\0\0")
        return packet

    def sent(self):
        """The next packet that it has sent."""
        while self.client.want_write():
            self.client.loop_write()
        data = self.end.recv(1)
        size = shift = 0
        while True:
            data += self.end.recv(1)
            size |= (data[-1] & 127) << shift
            shift += 7
            if data[-1] < 128:
                break
        end = len(data) + size
        while len(data) < end:
            data += self.end.recv(end - len(data))
        return data

    def feed(self, packet):
        """Let it read a packet."""
        self.end.sendall(packet)
        count = len(self.messages)
        publish = packet[0] >> 4 == 3
        while True:
            assert select.select([self.client.socket()], [], [], PATIENCE_S)[0]
            self.client.loop_read()
            if not publish or len(self.messages) > count:
                break

    def close(self):
        """Close both ends."""
        self.client.disconnect()
        self.end.close()


@pytest.fixture
def peer():
    """Makes peers, and closes them."""
    made = []

    def make(level, connect=True, **options):
        made.append(Peer(level, **options))
        if connect:
            made[-1].connect()
        return made[-1]

    yield make
    for each in made:
        each.close()


def text(draw, most=20):
    """A string, not empty."""
    letters = "ab/ \u00fc\u4e2d\U0001f600-_\x7f"
    return "".join(draw.choices(letters, k=draw.randint(1, most)))


def properties(draw, kind):
    """Properties that a packet of that kind may have, drawn at random."""
    p = Properties(kind)
    for _ in range(draw.randrange(3)):
        p.UserProperty = (text(draw), text(draw))
    if kind == PacketTypes.PUBLISH:
        numbers = {"PayloadFormatIndicator": 1, "MessageExpiryInterval": draw.getrandbits(32)}
        words = {"ContentType": text(draw), "ResponseTopic": text(draw)}
        chosen = {**numbers, **words, "CorrelationData": draw.randbytes(draw.randrange(1, 200))}
        chosen["SubscriptionIdentifier"] = draw.choice((1, 127, 128, 16384, 268435455))
    elif kind == PacketTypes.CONNACK:
        chosen = {"SessionExpiryInterval": draw.getrandbits(32), "RetainAvailable": 1}
        chosen |= {"ReasonString": text(draw), "ResponseInformation": text(draw)}
        chosen |= {"TopicAliasMaximum": draw.getrandbits(16), "ServerReference": text(draw)}
        chosen |= {"WildcardSubscriptionAvailable": 1, "SharedSubscriptionAvailable": 0}
        chosen |= {"SubscriptionIdentifierAvailable": 1, "AuthenticationMethod": text(draw)}
    else:
        chosen = {"ReasonString": text(draw)}
    for name in chosen:
        if draw.randrange(2):
            setattr(p, name, chosen[name])
    return p


# -- what we make, read by paho


def test_connect_is_as_paho_makes_it(peer):
    draw = random.Random(1)
    for n in range(24):
        level = 4 + n % 2
        user, password = draw.choice(((None, None), ("u", None), ("user", "p\u00fc")))
        will = draw.choice((None, ("w/t", b"", False), ("w", draw.randbytes(200), True)))
        keepalive_s, expiry_s = draw.choice((1, 60, 65535)), draw.choice((0, 60, 2**32 - 1))
        name = text(draw, 40)
        session = Session(name, user, password, keepalive_s, will, expiry_s, RX, RX, level)
        ours = bytes(session.connect(0))
        options = {} if level == 5 else {"clean_session": False}
        other = peer(level, connect=False, client_id=name, **options)
        if user:
            other.client.username_pw_set(user, password)
        if will:
            other.client.will_set(will[0], will[1], 1, will[2])
        if level == 5:
            listed = Properties(PacketTypes.CONNECT)
            listed.SessionExpiryInterval = expiry_s
            listed.ReceiveMaximum, listed.MaximumPacketSize = received_limits(ours)
            options = {"clean_start": False, "properties": listed}
        else:
            options = {}
        theirs = other.connect(keepalive=keepalive_s, **options)
        if level == 5:
            compare_connect_5(ours, theirs)
        else:
            assert ours == theirs


def connect_properties(packet):
    """(what stands before the properties of a CONNECT, properties, what stands behind)."""
    body = body_of(packet)
    found = Properties(PacketTypes.CONNECT)
    _, size = found.unpack(body[10:])
    return body[:10], found, body[10 + size :]


def received_limits(packet):
    """(Receive Maximum, Maximum Packet Size) that a CONNECT states."""
    found = connect_properties(packet)[1]
    return found.ReceiveMaximum, found.MaximumPacketSize


def compare_connect_5(ours, theirs):
    one, other = connect_properties(ours), connect_properties(theirs)
    assert one[0] == other[0]
    assert one[1].json() == other[1].json()
    assert one[2] == other[2]


def test_subscribe_ping_and_puback_are_as_paho_makes_them(peer):
    draw = random.Random(2)
    for level in (4, 5):
        other, session = peer(level), opened(level)
        for _ in range(10):
            topic, qos = text(draw), draw.randrange(2)
            wanted = {"options": SubscribeOptions(qos)} if level == 5 else {"qos": qos}
            _, pid = other.client.subscribe(topic, **wanted)
            assert bytes(session.subscribe(topic, qos, pid)) == other.sent()
            pid = draw.randint(1, 65535)
            other.feed(bytes(session.publish("t", b"", 1, False, pid)))
            assert other.sent() == bytes(session.puback(pid))
        assert bytes(session.poll(60000)) == frame(0xC0, b"")


def test_publish_is_read_by_paho(peer):
    draw = random.Random(3)
    for level in (4, 5):
        other, session = peer(level), opened(level)
        for n in range(60):
            topic, payload = text(draw, 60), draw.randbytes(draw.choice((0, 1, 100, 130, 2000)))
            qos, retain, dup = draw.randrange(2), bool(draw.randrange(2)), bool(draw.randrange(2))
            pid = draw.randint(1, 65535)
            dup = dup and qos == 1
            other.feed(bytes(session.publish(topic, payload, qos, retain, pid, dup)))
            got = other.messages[n]
            assert (got.topic, got.payload, got.qos) == (topic, payload, qos)
            assert (bool(got.retain), bool(got.dup)) == (retain, dup)
            assert got.mid == (pid if qos else 0)
            if level == 5:
                assert got.properties.isEmpty()
            if qos:
                other.sent()


def test_publish_in_pieces_is_read_by_paho(peer):
    draw = random.Random(7)
    for level in (4, 5):
        other, session = peer(level), opened(level)
        for n in range(40):
            topic, size = text(draw, 60), draw.choice((0, 100, 120, 16370, 16384, 100000))
            qos, expiry_s = draw.randrange(2), draw.choice((0, 1, 2**32 - 1))
            payload = draw.randbytes(size)
            head = bytes(session.publish_head(topic, size, qos, n + 1, False, expiry_s))
            other.feed(head + payload)
            got = other.messages[n]
            assert (got.topic, got.payload, got.qos) == (topic, payload, qos)
            if level == 5:
                assert getattr(got.properties, "MessageExpiryInterval", 0) == expiry_s
            if qos:
                other.sent()


def test_puback_and_disconnect_are_read_by_paho(peer):
    for level in (4, 5):
        other, session = peer(level), opened(level)
        for _ in range(5):
            pid = other.client.publish("t", b"x", 1).mid
            [event] = events(session, other.sent())
            assert event[:5] == (MESSAGE, "t", b"x", 1, pid)
            other.feed(bytes(session.puback(pid)))
            assert [mid for mid, _ in other.acknowledged][-1] == pid
    for code in (0, 4, 0x8E, 0x93):  # paho reads a DISCONNECT as one of a server's
        other = peer(5)
        other.feed(bytes(opened(5).disconnect(code)))
        assert [int(found.value) for found in other.disconnected] == [code]


# -- what paho makes, read by us


def test_publish_of_paho_is_read_with_all_its_properties(peer):
    draw = random.Random(4)
    for level in (4, 5):
        other, session = peer(level), opened(level)
        for n in range(80):
            topic, payload = text(draw, 60), draw.randbytes(draw.choice((0, 1, 100, 130, 2000)))
            qos, retain = draw.randrange(2), bool(draw.randrange(2))
            if level == 5:
                listed = properties(draw, PacketTypes.PUBLISH)
                if hasattr(listed, "SubscriptionIdentifier"):  # paho sends none; a server does
                    built = built_publish(draw, topic, payload, qos, retain, listed)
                    expected = (MESSAGE, topic, payload, qos, 7 * qos, False, retain)
                    assert events(session, built, 1 + n % 50) == [expected]
                    continue
                pid = other.client.publish(topic, payload, qos, retain, listed).mid
            else:
                pid = other.client.publish(topic, payload, qos, retain).mid
            packet = other.sent()
            expected = (MESSAGE, topic, payload, qos, pid * qos, False, retain)
            assert events(session, packet, 1 + n % 50) == [expected]
            if qos:
                other.feed(bytes(session.puback(pid)))


def built_publish(draw, topic, payload, qos, retain, listed):
    """A PUBLISH of a server, with properties that paho packs."""
    name = topic.encode()
    pid = b"\0\7" * qos
    body = struct.pack(">H", len(name)) + name + pid + listed.pack() + payload
    return frame(0x30 | qos << 1 | retain, body)


def test_connack_with_properties_packed_by_paho():
    draw = random.Random(5)
    for n in range(120):
        listed = properties(draw, PacketTypes.CONNACK)
        learnt = {"client_id": "c", "receive_max": 65535, "max_qos": 1}
        for name, attribute, value in (
            ("AssignedClientIdentifier", "client_id", text(draw)),
            ("ReceiveMaximum", "receive_max", draw.randint(1, 65535)),
            ("MaximumQoS", "max_qos", draw.randrange(2)),
        ):
            if draw.randrange(2):
                setattr(listed, name, value)
                learnt[attribute] = value
        limit = draw.choice((None, 40, 200, 268435455))
        if limit:
            listed.MaximumPacketSize = limit
        alive_s = draw.choice((None, 10))
        if alive_s:
            listed.ServerKeepAlive = alive_s
        session = Session("c", rx_bytes=RX, tx_bytes=RX)
        session.connect(0)
        packet = frame(0x20, bytes([n % 2, 0]) + listed.pack())
        assert events(session, packet, 1 + n % 9) == [(CONNECTED, n % 2 == 1)]
        assert {name: getattr(session, name) for name in learnt} == learnt
        assert session.deadline() == (alive_s or 60) * 1000
        if limit and limit < RX:
            with pytest.raises(ValueError, match=str(limit)):
                session.publish("a", bytes(limit))


def test_acknowledgements_with_reasons_packed_by_paho():
    draw = random.Random(6)
    for n in range(120):
        session = opened(5)
        pid, code = draw.randint(1, 65535), draw.choice((0, 16, 0x80, 0x87, 0x97))
        for head, event, kind in (
            (0x40, PUBACK, PacketTypes.PUBACK),
            (0x90, SUBACK, PacketTypes.SUBACK),
        ):
            listed = properties(draw, kind).pack()
            number = pid.to_bytes(2, "big")
            body = (
                number + bytes([code]) + listed
                if event == PUBACK
                else number + listed + bytes([code])
            )
            assert events(session, frame(head, body), 1 + n % 9) == [(event, pid, code)]
        listed = properties(draw, PacketTypes.DISCONNECT)
        if draw.randrange(2):
            listed.ServerReference = text(draw)
        code = draw.choice((0x81, 0x8B, 0x8E, 0x93, 0x95, 0x9C))
        packet = frame(0xE0, bytes([code]) + listed.pack())
        assert events(session, packet, 1 + n % 9) == [(DISCONNECTED, code)]
        session = Session("c", rx_bytes=RX)
        session.connect(0)
        listed = properties(draw, PacketTypes.CONNACK).pack()
        assert events(session, frame(0x20, b"\0\x87" + listed), 1 + n % 9) == [(REFUSED, 0x87)]
