"""The MQTT session, both versions, against bytes that the standards spell out."""

from mote.mqtt import (
    CONNECTED,
    DISCONNECTED,
    MESSAGE,
    PUBACK,
    REFUSED,
    SKIPPED,
    SUBACK,
    ProtocolError,
    Session,
)

ACCEPT = {5: b"\x20\x03\x00\x00\x00", 4: b"\x20\x02\x00\x00"}
RX = 64


def raises(error, function, *args):
    """The text of the `error` that the call raises; it fails if none comes."""
    try:
        function(*args)
    except error as e:
        return str(e)
    raise AssertionError("no error")


def packet(head, body):
    """A packet as a server would send it."""
    size = len(body)
    header = bytes((head, size)) if size < 128 else bytes((head, size & 127 | 128, size >> 7))
    return header + body


def keep(event):
    """The event with its payload copied."""
    if event[0] != MESSAGE:
        return event
    kind, topic, payload, qos, pid, dup, retain = event
    return (kind, topic, bytes(payload), qos, pid, dup, retain)


def feed(session, data, now_ms=0):
    """All events of `data`; checks what receive() promises."""
    events = []
    view = memoryview(data)
    while len(view) > 0:
        taken = session.receive(view, now_ms)
        assert 0 < taken <= len(view)
        view = view[taken:]
        event = session.next_event()
        assert event or not len(view)
        if event:
            events.append(keep(event))
        assert session.next_event() is None
    return events


def opened(level, connack=None, **options):
    """A session of that level behind a CONNACK."""
    session = Session("c", level=level, rx_bytes=RX, **options)
    session.connect(0)
    assert feed(session, connack or ACCEPT[level]) == [(CONNECTED, False)]
    return session


def every_way(level, data, expected):
    """The same events whole, byte by byte, split at every point, and in pieces of three."""
    assert feed(opened(level), data) == expected
    for cut in range(1, len(data)):
        session = opened(level)
        assert feed(session, data[:cut]) + feed(session, data[cut:]) == expected, cut
    for step in (1, 3):
        session = opened(level)
        events = []
        for at in range(0, len(data), step):
            events += feed(session, data[at : at + step])
        assert events == expected


def dies(level, data, first=False):
    """`data`, behind a CONNACK or `first`, is an error in any split, and final until connect()."""
    for step in (len(data), 1):
        session = Session("c", level=level, rx_bytes=RX) if first else opened(level)
        if first:
            session.connect(0)
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        raises(ProtocolError, lambda s, p: [feed(s, d) for d in p], session, pieces)
        assert not session.connected
        assert session.deadline() is None
        assert session.poll(10**9) is None
        raises(ProtocolError, session.receive, ACCEPT[level], 0)
        session.level = level
        session.connect(0)
        assert feed(session, ACCEPT[level]) == [(CONNECTED, False)]


# -- packets that are sent


def test_connect_5():
    session = Session("dev", expiry_s=86400, rx_bytes=1280)  # a packet of 16384 may be skipped
    assert bytes(session.connect(0)) == (
        b"\x10\x1d\0\4MQTT\5\0\0\x3c\x0d\x11\0\1\x51\x80\x21\0\4\x27\0\0\x40\0\0\3dev"
    )


def test_connect_4():
    session = Session("dev", keepalive_s=300, level=4)
    assert bytes(session.connect(0)) == b"\x10\x0f\0\4MQTT\4\0\x01\x2c\0\3dev"


def test_connect_with_will_and_credentials():
    session = Session("d", "u", "pw", will=("t", b"off", True), rx_bytes=256, expiry_s=0)
    tail = b"\0\1t\0\3off\0\1u\0\2pw"
    assert bytes(session.connect(0)) == (
        b"\x10\x2b\0\4MQTT\5\xec\0\x3c\x0d\x11\0\0\0\0\x21\0\4\x27\0\0\x40\0\0\1d\0" + tail
    )
    session.level = 4
    assert bytes(session.connect(0)) == b"\x10\x1c\0\4MQTT\4\xec\0\x3c\0\1d" + tail
    session = Session("d", will=("t", "off", False), level=4)
    assert bytes(session.connect(0)) == b"\x10\x15\0\4MQTT\4\x0c\0\x3c\0\1d\0\1t\0\3off"


def test_connect_credentials_alone():
    assert bytes(Session("d", user="u", level=4).connect(0))[9] == 0x80
    # 3.1.1 section 3.1.2.9: no password without a user name.
    alone = bytes(Session("d", password=b"p", level=4).connect(0))
    assert alone == b"\x10\x12\0\4MQTT\4\xc0\0\x3c\0\1d\0\0\0\1p"


def test_connect_does_not_wrap_numbers():
    raises(ValueError, Session("d", keepalive_s=65536).connect, 0)
    raises(ValueError, Session("d", expiry_s=1 << 32).connect, 0)
    session = Session("much too long", tx_bytes=20, level=4)
    assert "20" in raises(ValueError, session.connect, 0)
    session.lost()
    assert session.level == 4


def test_publish():
    for level, props in ((5, b"\0"), (4, b"")):
        session = opened(level)
        assert bytes(session.publish("a/b", b"hi")) == packet(0x30, b"\0\3a/b" + props + b"hi")
        assert bytes(session.publish("a", b"x", 1, pid=0x1234)) == packet(
            0x32, b"\0\1a\x12\x34" + props + b"x"
        )
        assert bytes(session.publish("a", b"", 1, True, 1, True)) == packet(
            0x3B, b"\0\1a\0\1" + props
        )
        assert bytes(session.publish("\u00fc", memoryview(b"x"), retain=True)) == packet(
            0x31, b"\0\2\xc3\xbc" + props + b"x"
        )
        long = session.publish("a", bytearray(200))
        assert bytes(long) == packet(0x30, b"\0\1a" + props + bytes(200))


def test_publish_refuses():
    session = opened(5, tx_bytes=100)
    raises(ValueError, session.publish, "a", b"", 2)
    raises(ValueError, session.publish, "a", b"", 1)
    raises(ValueError, session.publish, "a", b"", 1, False, 65536)
    assert len(session.publish("abc", bytes(92))) == 100
    assert "100" in raises(ValueError, session.publish, "abc", bytes(93))
    assert len(session.publish("abc", bytes(92))) == 100


def test_subscribe():
    assert bytes(opened(5).subscribe("a/+", 1, 0x102)) == b"\x82\x09\1\2\0\0\3a/+\1"
    assert bytes(opened(4).subscribe("a/+", 0, 0x102)) == b"\x82\x08\1\2\0\3a/+\0"
    raises(ValueError, opened(4).subscribe, "a", 2, 1)


def test_puback_has_a_buffer_of_its_own():
    for level in (5, 4):
        session = opened(level)
        message = session.publish("a", b"payload")
        before = bytes(message)
        ack = session.puback(0xFFFE)
        assert bytes(ack) == b"\x40\2\xff\xfe"
        ping = session.poll(60000)
        assert bytes(message) == before
        session.publish("b", b"other")
        assert bytes(ack) == b"\x40\2\xff\xfe"
        assert bytes(ping) == b"\xc0\0"


def test_disconnect():
    assert bytes(opened(5).disconnect()) == b"\xe0\0"
    assert bytes(opened(5).disconnect(4)) == b"\xe0\1\4"
    session = opened(4)
    assert bytes(session.disconnect(4)) == b"\xe0\0"
    assert not session.connected
    raises(ProtocolError, session.receive, b"\xd0\0", 0)
    session.connect(0)
    session.disconnect()
    session.lost()
    assert session.level == 4  # we hung up, not the broker


def test_next_pid_wraps():
    session = Session("c")
    seen = [session.next_pid() for _ in range(65536)]
    assert seen[:2] == [1, 2]
    assert seen[-2:] == [65535, 1]


# -- packets that arrive


def message(level, qos, body, head=0, topic=b"in"):
    """A PUBLISH; its packet identifier is 0x102."""
    ident = b"\1\2" if qos else b""
    props = b"\0" if level == 5 else b""
    start = bytes((len(topic) >> 8, len(topic) & 255)) + topic
    return packet(0x30 | qos << 1 | head, start + ident + props + body)


def test_every_event_in_one_stream():
    for level in (5, 4):
        data = (
            message(level, 0, b"zero")
            + b"\xd0\0"
            + message(level, 1, b"one", 9)
            + b"\x40\2\0\5"
            + message(level, 0, b"", 1, "\u00fc".encode())
            + (b"\x90\4\0\6\0\1" if level == 5 else b"\x90\3\0\6\1")
            + b"\xd0\0"
            + (b"\xe0\1\x8e" if level == 5 else b"\x40\2\xff\xff")
        )
        expected = [
            (MESSAGE, "in", b"zero", 0, 0, False, False),
            (MESSAGE, "in", b"one", 1, 0x102, True, True),
            (PUBACK, 5, 0),
            (MESSAGE, "\u00fc", b"", 0, 0, False, True),
            (SUBACK, 6, 1),
            (DISCONNECTED, 0x8E) if level == 5 else (PUBACK, 65535, 0),
        ]
        every_way(level, data, expected)


def test_forms_of_an_acknowledgement():
    user = b"\x26\0\1k\0\1v"
    data = (
        b"\x40\2\0\1"
        + b"\x40\3\0\2\x10"
        + b"\x40\4\0\3\x97\0"
        + packet(0x40, b"\0\4\x87\7" + user)
    )
    every_way(5, data, [(PUBACK, 1, 0), (PUBACK, 2, 16), (PUBACK, 3, 0x97), (PUBACK, 4, 0x87)])
    data = packet(0x90, b"\0\1\7" + user + b"\x87") + b"\x90\4\0\2\0\0"
    every_way(5, data, [(SUBACK, 1, 0x87), (SUBACK, 2, 0)])
    every_way(4, b"\x90\3\0\1\x80", [(SUBACK, 1, 0x80)])


def test_forms_of_disconnect():
    for data, code in (
        (b"\xe0\0", 0),
        (b"\xe0\1\x8b", 0x8B),
        (b"\xe0\2\x8e\0", 0x8E),
        (b"\xe0\6\x93\4\x1f\0\1x", 0x93),
    ):
        session = opened(5)
        assert feed(session, data) == [(DISCONNECTED, code)]
        assert not session.connected
        raises(ProtocolError, session.receive, b"\xd0\0", 0)
        session.lost()
        assert session.level == 5


def test_publish_with_properties():
    props = b"\1\1\2\0\0\0\x0a\3\0\1t\x0b\1\x0b\2\x26\0\1k\0\1v"
    data = packet(0x30, b"\0\1a" + bytes((len(props),)) + props + b"body")
    every_way(5, data, [(MESSAGE, "a", b"body", 0, 0, False, False)])


def test_largest_message_that_fits():
    for level in (5, 4):
        spare = RX - len(message(level, 1, b""))
        body = bytes(range(spare))
        expected = [(MESSAGE, "in", body, 1, 0x102, False, False), (PUBACK, 9, 0)]
        every_way(level, message(level, 1, body) + b"\x40\2\0\x09", expected)
        data = message(level, 1, body + b"x") + b"\x40\2\0\x09"
        every_way(level, data, [(SKIPPED, RX + 1, 0x102), (PUBACK, 9, 0)])


def test_too_large_is_skipped():
    for level in (5, 4):
        for qos in (0, 1):
            for topic in (b"in", b"x" * 60, b"x" * 64, b"x" * 200):
                big = message(level, qos, b"\x30" * 90, 0, topic)
                data = message(level, 0, b"a") + big + message(level, 1, b"b")
                every_way(
                    level,
                    data,
                    [
                        (MESSAGE, "in", b"a", 0, 0, False, False),
                        (SKIPPED, len(big), 0x102 if qos else 0),
                        (MESSAGE, "in", b"b", 1, 0x102, False, False),
                    ],
                )


def test_too_large_by_the_topic_alone():
    for qos in (0, 1):
        big = message(4, qos, b"", 0, b"x" * 70)
        data = big + b"\x40\2\0\1"
        every_way(4, data, [(SKIPPED, len(big), 0x102 if qos else 0), (PUBACK, 1, 0)])


def test_a_very_large_message_is_skipped():
    size = 300000
    session = opened(4)
    head = b"\x32" + bytes((size & 127 | 128, size >> 7 & 127 | 128, size >> 14))
    assert feed(session, head + b"\0\1t\0\7") == []
    left = size - 5
    block = bytes(4096)
    while left > len(block):
        assert session.receive(block, 0) == len(block)
        assert session.next_event() is None
        left -= len(block)
    assert feed(session, bytes(left) + b"\x40\2\0\1") == [(SKIPPED, size + 4, 7), (PUBACK, 1, 0)]


def test_receive_waits_for_the_caller():
    session = opened(4)
    data = message(4, 0, b"a") + message(4, 0, b"b")
    taken = session.receive(data, 0)
    assert taken == len(data) // 2
    assert session.receive(data[taken:], 0) == 0
    event = session.next_event()
    assert bytes(event[2]) == b"a"
    assert session.receive(data[taken:], 0) == taken
    assert bytes(session.next_event()[2]) == b"b"
    assert session.receive(b"", 0) == 0


# -- CONNACK, limits and the fall-back


def test_connack_every_split():
    data = packet(0x20, b"\1\0\x13\x12\0\2me\x1f\0\1r\x21\0\x14\x22\0\0\x24\0\x25\1")
    for cut in range(1, len(data)):
        session = Session("", rx_bytes=RX)
        session.connect(0)
        assert feed(session, data[:cut]) + feed(session, data[cut:]) == [(CONNECTED, True)]
        assert (session.client_id, session.receive_max, session.max_qos) == ("me", 20, 0)
    assert bytes(session.connect(0))[-4:] == b"\0\2me"
    assert (session.receive_max, session.max_qos) == (65535, 1)


def test_limits_of_connack_are_obeyed():
    session = opened(5, packet(0x20, b"\0\0\7\x27\0\0\0\x14\x24\0"))
    raises(ValueError, session.publish, "a", b"", 1, False, 1)
    assert len(session.publish("a", bytes(14))) == 20
    assert "20" in raises(ValueError, session.publish, "a", bytes(15))
    raises(ValueError, session.subscribe, "a" * 20, 0, 1)
    session.connect(0)  # a new connection, new limits
    feed(session, ACCEPT[5])
    assert len(session.publish("a", bytes(15), 1, False, 1)) == 23
    session = opened(5, packet(0x20, b"\0\0\5\x27\0\1\0\0"), tx_bytes=32)
    raises(ValueError, session.publish, "a", bytes(27))


def test_fall_back():
    # level of CONNECT, what came before the stream ended, level of the next CONNECT
    table = (
        (5, b"", 4),
        (4, b"", 5),
        (5, b"\x20\2\0", 4),
        (5, b"\x20\2\0\1", 4),  # a 3.1.1 broker refuses the version in its own format
        (5, b"\x20\3\0\x84\0", 4),
        (5, b"\x20\2\0\x84", 4),
        (4, b"\x20\2\0\1", 5),
        (4, b"\x20\3\0\x84\0", 5),  # a 5.0 broker does
        (5, b"\x20\3\0\x87\0", 5),
        (4, b"\x20\2\0\5", 4),
        (5, ACCEPT[5], 5),
        (4, ACCEPT[4], 4),
    )
    for level, data, then in table:
        session = Session("c", level=level, rx_bytes=RX)
        session.connect(0)
        feed(session, data)
        session.lost()
        session.lost()
        assert session.level == then, data
        assert not session.connected


def test_fall_back_after_nonsense_or_silence():
    for data in (b"\x20\2\0\0", b"HTTP/1.1 400", b"\x20\7"):
        session = Session("c", rx_bytes=RX)
        session.connect(0)
        if data[1] != 7:
            raises(ProtocolError, session.receive, data, 0)
        else:
            session.receive(data, 0)
            raises(ProtocolError, session.poll, 60000)
        session.lost()
        assert session.level == 4
    assert bytes(session.connect(0))[8] == 4


def test_refusals():
    for level, codes in ((5, (0x84, 0x86, 0x87, 0x9F)), (4, (1, 2, 3, 4, 5, 6))):
        for code in codes:
            session = Session("c", level=level)
            session.connect(0)
            body = bytes((0, code)) + (b"\4\x1f\0\1x" if level == 5 else b"")
            assert feed(session, packet(0x20, body)) == [(REFUSED, code)]
            assert not session.connected
            assert session.deadline() is None
            raises(ProtocolError, session.receive, b"\xd0\0", 0)


def test_connected():
    session = Session("c")
    assert not session.connected
    session.connect(0)
    assert not session.connected
    feed(session, b"\x20\3\1\0\0")
    assert session.connected
    session.lost()
    assert not session.connected
    session.connect(0)
    feed(session, ACCEPT[5])
    session.connect(1)
    assert not session.connected


# -- time


def test_keepalive():
    session = opened(4, keepalive_s=10)
    assert session.deadline() == 10000
    assert session.poll(9999) is None
    session.publish("a", b"")
    assert session.deadline() == 10000  # what is sent does not stand in for what is heard
    feed(session, message(4, 1, b""), 9999)
    assert session.deadline() == 19999
    feed(session, message(4, 1, b""), 12000)
    assert session.deadline() == 19999  # nor the other way round
    session.puback(0x102)
    assert session.deadline() == 22000
    assert bytes(session.poll(22000)) == b"\xc0\0"
    assert session.deadline() == 32000
    assert session.poll(25000) is None
    feed(session, b"\xd0\0", 26000)
    assert session.deadline() == 32000
    assert bytes(session.poll(33000)) == b"\xc0\0"
    session.subscribe("a", 0, 1)  # sent meanwhile: does not stand in for the answer
    assert session.poll(42999) is None
    assert raises(ProtocolError, session.poll, 43000).startswith("no PINGRESP")
    assert session.deadline() is None
    assert session.poll(99999) is None
    raises(ProtocolError, session.receive, b"\xd0\0", 44000)
    session.lost()
    assert session.level == 4


def test_connack_in_time():
    session = Session("c", keepalive_s=10)
    assert session.deadline() is None
    assert session.poll(5) is None
    session.connect(1000)
    assert session.deadline() == 11000
    session.publish("a", b"")
    assert session.poll(10999) is None
    assert raises(ProtocolError, session.poll, 11000).startswith("no CONNACK")
    session.connect(20000)
    feed(session, ACCEPT[5], 25000)
    assert session.deadline() == 30000


def test_keepalive_of_the_server():
    session = opened(5, packet(0x20, b"\0\0\3\x13\0\5"), keepalive_s=60)
    assert session.deadline() == 5000
    session.connect(0)
    assert session.deadline() == 60000
    session = opened(5, packet(0x20, b"\0\0\3\x13\0\5"), keepalive_s=0)
    assert session.deadline() == 5000
    # who reads from us takes our own silence for an end, whatever the server wants
    for wanted in (b"\0\0", b"\xff\xff"):
        session = opened(5, packet(0x20, b"\0\0\3\x13" + wanted), keepalive_s=60)
        assert session.deadline() == 60000
    session = opened(4, keepalive_s=0)
    assert session.deadline() is None
    assert session.poll(10**9) is None


def test_a_server_that_retains_nothing_gets_nothing_to_retain():
    session = opened(5, packet(0x20, b"\0\0\2\x25\0"))
    assert bytes(session.publish("a", b"", retain=True))[0] == 0x30
    assert bytes(opened(5).publish("a", b"", retain=True))[0] == 0x31


def test_a_will_that_the_server_refuses_is_made_smaller():
    will = ("a", b"x", True)
    for codes, flags in (((0x9A,), 0x0C), ((0x9B,), 0x24), ((0x9A, 0x9B), 0x04), ((0x97,), 0x2C)):
        session = Session("d", will=will)
        for code in codes:
            session.connect(0)
            session.receive(packet(0x20, bytes((0, code, 0))), 0)
            assert session.next_event() == (REFUSED, code)
        assert bytes(session.connect(0))[9] == flags


# -- what a server must not do


def test_malformed_at_both_levels():
    for level in (5, 4):
        props = b"\0" if level == 5 else b""
        for data in (
            b"\x30\xff\xff\xff\xff\1",  # remaining length of five bytes
            b"\xd0\x80\x80\x80\x80",
            packet(0x36, b"\0\1a\0\1" + props),  # QoS 3
            packet(0x34, b"\0\1a\0\1" + props),  # QoS 2
            packet(0x32, b"\0\1a\0\0" + props),  # packet id 0
            packet(0x32, b"\0\1a\0"),
            packet(0x32, b"\0\1a"),
            packet(0x30, b""),
            packet(0x30, b"\0"),
            packet(0x30, b"\0\5abc"),
            packet(0x30, b"\0\0" + props),  # no topic
            packet(0x30, b"\0\2\xc3\x28" + props),  # not UTF-8
            packet(0x30, b"\0\3a\0b" + props),  # U+0000
            packet(0x32, b"\0\x7fa" + bytes(100)),  # too large, and the topic is larger still
            packet(0x32, b"\0\x64" + bytes(100)),  # no room for the packet id
            packet(0x32, b"\0\x64" + bytes(101)),
            packet(0x32, b"\0\0\0\1" + bytes(100)),
            packet(0x32, b"\0\1a\0\0" + bytes(100)),  # too large, with packet id 0
            b"\x40\0",
            b"\x40\1\0",
            b"\x40\2\0\0",
            b"\x41\2\0\1",  # reserved flags
            b"\x90\2\0\1",
            b"\x91" + (b"\4\0\1\0\0" if level == 5 else b"\3\0\1\0"),
            packet(0x90, b"\0\0" + props + b"\0"),
            packet(0x90, b"\0\1" + props + b"\0\0"),  # two codes for one filter
            packet(0x90, b"\0\1" + props + bytes(80)),  # too large
            b"\xd0\1\0",
            b"\xd1\0",
            ACCEPT[level],  # a second CONNACK
        ):
            dies(level, data)


def test_malformed_at_one_level():
    for data in (
        packet(0x30, b"\0\1a"),  # no property length
        packet(0x30, b"\0\1a\5\1\1"),
        packet(0x30, b"\0\1a\xff\xff\xff\xff\1"),
        packet(0x30, b"\0\1a\2\x7f\0"),  # unknown property
        packet(0x30, b"\0\1a\3\x23\0\1"),  # topic alias
        packet(0x30, b"\0\0\3\x23\0\1"),
        b"\x40\4\0\1\0\1",
        b"\x40\5\0\1\0\0\0",
        b"\x90\3\0\1\0",
        b"\xe1\0",
        b"\xe0\3\0\0\0",
        b"\xe0\2\0\1",
    ):
        dies(5, data)
    for data in (b"\x40\3\0\1\0", b"\x40\4\0\1\0\0", b"\xe0\0", b"\xe0\1\0"):
        dies(4, data)


def test_types_that_a_client_may_not_receive():
    for level in (5, 4):
        for kind in (0, 1, 5, 6, 7, 8, 10, 11, 12, 15):
            for flags in (0, 2):
                dies(level, bytes((kind << 4 | flags, 2, 0, 1)))


def test_malformed_connack():
    for data in (
        b"\x20\0",
        b"\x20\1\0",
        b"\x21\3\0\0\0",
        b"\x20\3\2\0\0",  # reserved flags
        b"\x20\3\1\x87\0",  # refused, with a session
        b"\x20\4\0\0\0\0",
        b"\x20\4\0\0\1\x7f",
        packet(0x20, b"\0\0\5\x27\0\0\0\0"),  # Maximum Packet Size 0
        packet(0x20, b"\0\0\3\x21\0\0"),  # Receive Maximum 0
        packet(0x20, b"\0\0\2\x24\2"),  # Maximum QoS 2 is not sent but left out
        packet(0x20, b"\0\0\4\x12\0\1\xff"),
        packet(0x20, b"\0\0\x50" + b"\x25\1" * 40),  # too large
        b"\x30\4\0\1a\0",  # something else first
        b"\xd0\0",
    ):
        dies(5, data, first=True)
    for data in (b"\x20\1\0", b"\x20\3\0\0\0", b"\x20\2\2\0", b"\x20\2\1\5", b"\xe0\0"):
        dies(4, data, first=True)


class Lcg:
    """The same numbers on every runtime."""

    def __init__(self, seed):
        self._x = seed

    def below(self, n):
        """A number in 0..n-1."""
        self._x = (self._x * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._x >> 8) % n


def sizes(session):
    """What a session holds, in items and bytes."""
    state = session.__dict__
    held = [len(v) for v in state.values() if isinstance(v, (bytes, memoryview, list))]
    return len(state), sum(held), len(session._tx._buf)


def survive(session, data, step):
    """Feed until the end or a ProtocolError; any other error gets through. How many events."""
    events = 0
    try:
        for at in range(0, len(data), step):
            events += len(feed(session, data[at : at + step]))
    except ProtocolError:
        assert not session.connected
    return events


def test_garbage_raises_protocol_error_only():
    random = Lcg(1)
    session = opened(5)
    before = sizes(session)
    for turn in range(1500):
        session.level = 5 - turn % 2
        session.connect(0)
        if turn % 3:
            feed(session, ACCEPT[session.level])
        data = bytes([random.below(256) for _ in range(1 + random.below(40))])
        survive(session, data, 1 + random.below(9))
        assert sizes(session) == before


def test_damaged_packets_raise_protocol_error_only():
    random = Lcg(2)
    events = 0
    for level in (5, 4):
        session = opened(level)
        before = sizes(session)
        good = (
            message(level, 1, b"one")
            + message(level, 1, bytes(80))
            + b"\x40\2\0\1"
            + packet(0x90, b"\0\1" + (b"\0" if level == 5 else b"") + b"\1")
            + b"\xd0\0"
        )
        for _ in range(1500):
            session.level = level
            session.connect(0)
            data = bytearray(ACCEPT[level] + good)
            for _ in range(1 + random.below(3)):
                data[random.below(len(data))] ^= 1 << random.below(8)
            events += survive(session, data, 1 + random.below(30))
            assert sizes(session) == before
    assert events > 3000  # the damage left something to parse
