"""A device's bytes cut into packets: whole, byte by byte, split anywhere, cut by a reset."""

import pytest
from mote import mqtt
from mote_host.mqtt_framing import MAX_PACKET_BYTES, BrokerStream, farewell, refusal
from mote_host.mqtt_stream import SILENCE_MS, TAIL_MS, Broken, Connect, DeviceStream, Packet

BOOT = b"ets Jun  8 2016\r\nrst:0x1 (POWERON_RESET)\r\n\x10\x00\x10 waiting 0123\n"


def _session(level=5):
    will = ("mote/fern/state", b"{}", True)
    session = mqtt.Session("mote-fern", user="fern", password="secret", will=will, level=level)
    connect = bytes(session.connect(0))
    session.receive(b"\x20\x03\0\0\0" if level == 5 else b"\x20\x02\0\0", 0)
    assert session.next_event()[0] == mqtt.CONNECTED
    return session, connect


SESSION, CONNECT = _session()
PUBLISH = bytes(SESSION.publish("mote/fern/up", bytes(range(256)) * 3))
SUBSCRIBE = bytes(SESSION.subscribe("mote/fern/in", 1, 7))
PING = b"\xc0\0"
BYE = b"\xe0\0"
FAKE = bytes(SESSION.publish("mote/fern/up", b"text: " + CONNECT + b" and so on"))
FAKE_LAST = bytes(SESSION.publish("mote/fern/up", b"text: " + CONNECT))
FAKE_CUT = bytes(SESSION.publish("mote/fern/up", b"text: " + CONNECT[:20]))


def _events(stream):
    while event := stream.next_event():
        yield event


def _fed(*pieces):
    """The events of pieces that come one right after the other; None is a silence."""
    stream = DeviceStream()
    found = []
    for piece in pieces:
        if piece is None:
            stream.poll(SILENCE_MS)
        else:
            stream.receive(piece, 0)
        found += _events(stream)
    return found


def _at_all_splits(*pieces):
    """The events, which are the same however what comes between silences is split."""
    data, silent = pieces[0], len(pieces) > 1
    end = [None] if silent else []
    rest = pieces[2:]
    expected = _fed(*pieces)
    assert _fed(*(data[i : i + 1] for i in range(len(data))), *end, *rest) == expected
    for at in range(len(data) + 1):
        assert _fed(data[:at], data[at:], *end, *rest) == expected, at
    return expected


def test_packets_pass_as_they_are():
    found = _at_all_splits(CONNECT + SUBSCRIBE + PUBLISH + PING)
    assert found == [
        Connect(CONNECT, 0),
        Packet(SUBSCRIBE),
        Packet(PUBLISH),
        Packet(PING),
    ]


@pytest.mark.parametrize("level", [4, 5])
def test_a_connect_tells_its_version(level):
    (event,) = _fed(_session(level)[1])
    assert event.version == level


def test_what_comes_before_the_first_connect_is_dropped_and_counted():
    assert _at_all_splits(BOOT + CONNECT + PING) == [
        Connect(CONNECT, len(BOOT)),
        Packet(PING),
    ]
    assert _at_all_splits(PUBLISH + BOOT) == []


def test_a_connect_where_a_packet_is_due_is_a_reset():
    assert _at_all_splits(CONNECT + PING + CONNECT + PING) == [
        Connect(CONNECT, 0),
        Packet(PING),
        Connect(CONNECT, 0),
        Packet(PING),
    ]


def test_boot_messages_between_packets_break_the_connection():
    first, broken, again = _at_all_splits(CONNECT + BOOT + CONNECT)
    assert isinstance(first, Connect)
    assert isinstance(broken, Broken)
    assert again == Connect(CONNECT, len(BOOT))


def test_a_device_that_is_reset_at_any_byte_of_a_packet_is_there_again():
    for packet in (PUBLISH, SUBSCRIBE, CONNECT):
        for at in set(range(1, len(packet))) - {len(packet) - len(CONNECT)}:
            first, *between, again = _fed(CONNECT + packet[:at] + CONNECT, None)
            assert isinstance(first, Connect)
            assert isinstance(again, Connect), (at, again)
            assert again.packet == CONNECT
            # of the packet that was cut, the broker may get nothing that holds the password
            for event in between:
                assert not isinstance(event, Packet) or b"secret" not in event.data


def test_a_reset_inside_a_packet_is_the_same_at_all_splits():
    for at in (1, 2, 5, 300, len(PUBLISH) - len(CONNECT) - 1, len(PUBLISH) - 20):
        found = _at_all_splits(CONNECT + PING + PUBLISH[:at] + CONNECT, None, PING)
        assert [event for event in found if not isinstance(event, Broken)] == [
            Connect(CONNECT, 0),
            Packet(PING),
            Connect(CONNECT, at),
            Packet(PING),
        ]


def test_a_reset_inside_a_connect_makes_one_connection():
    for at in range(1, len(CONNECT)):
        found = _fed(CONNECT[:at] + CONNECT, None)
        assert [event for event in found if isinstance(event, Connect)] == [Connect(CONNECT, at)]


def test_a_connect_in_a_message_is_no_reset():
    for fake in (FAKE, FAKE_LAST, FAKE_CUT):
        found = _at_all_splits(CONNECT + fake + PING + fake + PUBLISH)
        assert found == [Connect(CONNECT, 0), *map(Packet, (fake, PING, fake, PUBLISH))]


def test_a_message_that_ends_as_a_connect_begins_passes_when_it_comes_again():
    seems = bytes(SESSION.publish("mote/fern/up", b"text: " + CONNECT[: len(CONNECT) - len(PING)]))
    for fake in (FAKE_LAST, FAKE_CUT, seems + PING):
        stream = DeviceStream()
        stream.receive(CONNECT + PING + fake, 0)
        stream.poll(SILENCE_MS)
        first, ping, broken = _events(stream)
        assert (first, ping, type(broken)) == (Connect(CONNECT, 0), Packet(PING), Broken)
        for _ in range(2):
            stream.receive(CONNECT + PING + PING + fake, 0)
            stream.poll(SILENCE_MS)
            found = list(_events(stream))
            assert found[0].packet == CONNECT
            assert b"".join(event.data for event in found[1:]) == PING + PING + fake
        other = fake.replace(b"text", b"tent")
        stream.receive(other, 0)
        stream.poll(SILENCE_MS)
        assert [type(event) for event in _events(stream)] == [Broken]


def test_what_follows_tells_without_silence():
    found = _at_all_splits(CONNECT + FAKE_CUT + PUBLISH)
    assert found == [Connect(CONNECT, 0), Packet(FAKE_CUT), Packet(PUBLISH)]
    cut = len(PUBLISH) - 20
    first, broken, again, ping = _at_all_splits(CONNECT + PUBLISH[:cut] + CONNECT + PING)
    assert (first, type(broken)) == (Connect(CONNECT, 0), Broken)
    assert (again, ping) == (Connect(CONNECT, cut), Packet(PING))


def test_a_message_that_may_be_a_cut_one_waits_for_silence_and_no_longer():
    stream = DeviceStream()
    stream.receive(CONNECT + FAKE_CUT, 0)
    assert len(list(_events(stream))) == 1
    assert stream.deadline() == SILENCE_MS
    stream.poll(SILENCE_MS - 1)
    assert stream.next_event() is None
    stream.poll(SILENCE_MS)
    assert isinstance(stream.next_event(), Broken)
    assert stream.deadline() is None


def test_a_mac_that_ends_in_the_first_bytes_of_a_connect_waits_for_a_moment():
    for tail in (CONNECT[:1], CONNECT[:2]):
        stream = DeviceStream()
        packet = bytes(SESSION.publish("mote/fern/up", b"any" + tail))
        stream.receive(CONNECT + packet, 0)
        assert len(list(_events(stream))) == 1
        assert stream.deadline() == TAIL_MS
        stream.poll(TAIL_MS)
        assert stream.next_event() == Packet(packet)


def test_a_device_that_says_goodbye_is_leaving_until_it_connects_again():
    stream = DeviceStream()
    stream.receive(CONNECT + BYE, 0)
    assert list(_events(stream))[1] == Packet(BYE)
    assert stream.leaving
    stream.receive(CONNECT, 0)
    assert list(_events(stream)) == [Connect(CONNECT, 0)]
    assert not stream.leaving


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x00", "0x00"),
        (b"\x36\x04", "0x36"),  # QoS 3
        (b"\x30\xff\xff\xff\xff", "four bytes"),
        (b"\x30\x81\x80\x08", "at most"),  # a packet of one byte too many
        (b"\x10\x0c\x00\x06MQIsdp", "version"),  # MQTT 3.1
    ],
)
def test_what_is_no_packet_breaks_the_connection(data, said):
    found = _at_all_splits(CONNECT + data + CONNECT)
    assert [type(event) for event in found] == [Connect, Broken, Connect]
    assert said in found[1].why


def test_what_is_held_is_bounded():
    stream = DeviceStream()
    size = MAX_PACKET_BYTES - 4
    packet = bytes([0x30, size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + bytes(size)
    stream.receive(CONNECT + packet, 0)
    assert [len(e.data) for e in _events(stream) if isinstance(e, Packet)] == [MAX_PACKET_BYTES]
    stream.receive(b"noise " * 1000000, 0)
    assert len(stream._buf) < 10


@pytest.mark.parametrize("level", [4, 5])
def test_the_words_of_the_bridge_are_understood_by_the_agent(level):
    session, _ = _session(level)
    session.connect(0)
    session.receive(refusal(level), 0)
    kind, code = session.next_event()
    assert kind == mqtt.REFUSED
    assert code in (3, 0x88)
    session, _ = _session(level)
    if level == 5:
        session.receive(farewell(5), 0)
        assert session.next_event() == (mqtt.DISCONNECTED, 0x8B)
    else:
        with pytest.raises(mqtt.ProtocolError):
            session.receive(farewell(4), 0)


def test_where_the_packets_of_a_broker_end():
    connack = b"\x20\x03\0\0\0"
    data = connack + b"\xd0\0" + PUBLISH
    ends = {0, 5, 7, len(data)}
    stream = BrokerStream()
    for at in range(len(data)):
        assert stream.between == (at in ends), at
        stream.receive(data[at : at + 1])
    whole = BrokerStream()
    whole.receive(data)
    assert stream.between
    assert whole.between
