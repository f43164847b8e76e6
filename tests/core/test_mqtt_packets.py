"""The fields of MQTT packets: bounds of the reader and of the writer."""

from mote.mqtt.packets import ProtocolError, Reader, Writer


def raises(error, function, *args):
    """The text of the `error` that the call raises; it fails if none comes."""
    try:
        function(*args)
    except error as e:
        return str(e)
    raise AssertionError("no error")


def reader(data):
    """A reader of all of `data`."""
    r = Reader(memoryview(data))
    r.start(0, len(data))
    return r


def writer(size):
    """A writer with an empty packet."""
    w = Writer(size)
    w.start()
    return w


# Variable byte integers at the edges of their sizes, table 1-1 of MQTT 5.0.
VARINTS = (
    (0, b"\0"),
    (127, b"\x7f"),
    (128, b"\x80\x01"),
    (16383, b"\xff\x7f"),
    (16384, b"\x80\x80\x01"),
    (2097151, b"\xff\xff\x7f"),
    (2097152, b"\x80\x80\x80\x01"),
    (268435455, b"\xff\xff\xff\x7f"),
)


def test_reader_numbers():
    r = reader(b"\x01\x02\x03\x04\x05\x06\x07")
    assert (r.uint(1), r.uint(2), r.uint(4)) == (1, 0x0203, 0x04050607)
    assert r.left() == 0
    raises(ProtocolError, r.uint, 1)


def test_reader_stays_inside_its_part():
    r = Reader(memoryview(b"abcdef"))
    r.start(1, 3)
    raises(ProtocolError, r.raw, 3)
    assert bytes(r.raw(2)) == b"bc"
    raises(ProtocolError, r.raw, 1)
    assert bytes(r.raw(0)) == b""


def test_reader_varint():
    for value, data in VARINTS:
        assert reader(data).varint() == value
        for end in range(len(data)):
            raises(ProtocolError, reader(data[:end]).varint)
    raises(ProtocolError, reader(b"\xff\xff\xff\xff\x01").varint)


def test_reader_packet_id():
    assert reader(b"\xff\xff").pid() == 65535
    raises(ProtocolError, reader(b"\0\0").pid)
    raises(ProtocolError, reader(b"\1").pid)


def test_reader_text():
    assert reader("\0\6gr\u00fc\u00df".encode()).text() == "gr\u00fc\u00df"
    malformed = (
        b"",
        b"\0",
        b"\0\2a",
        b"\0\0",
        b"\0\1\xff",
        b"\0\2\xc3(",
        b"\0\1\xc3",
        b"\0\3a\0b",
    )
    for data in malformed:
        raises(ProtocolError, reader(data).text)


# One of every property, with the value where the reader keeps it; MQTT 5.0 section 2.2.2.2.
PROPERTIES = (
    (b"\x01\x01", 1),
    (b"\x02\x01\x02\x03\x04", 0x01020304),
    (b"\x03\x00\x01x", None),
    (b"\x08\x00\x00", None),
    (b"\x09\x00\x02\xff\xfe", None),
    (b"\x0b\x80\x01", 128),
    (b"\x11\xff\xff\xff\xff", 0xFFFFFFFF),
    (b"\x12\x00\x02me", "me"),
    (b"\x13\x00\x3c", 60),
    (b"\x15\x00\x01x", None),
    (b"\x16\x00\x01x", None),
    (b"\x17\x01", 1),
    (b"\x18\x00\x00\x00\x01", 1),
    (b"\x19\x00", 0),
    (b"\x1a\x00\x01x", None),
    (b"\x1c\x00\x01x", None),
    (b"\x1f\x00\x01x", None),
    (b"\x21\x00\x14", 20),
    (b"\x22\x00\x0a", 10),
    (b"\x23\x00\x01", 1),
    (b"\x24\x01", 1),
    (b"\x25\x01", 1),
    (b"\x26\x00\x01k\x00\x02vv", None),
    (b"\x27\x00\x01\x00\x00", 65536),
    (b"\x28\x01", 1),
    (b"\x29\x01", 1),
    (b"\x2a\x01", 1),
)


def listed(data):
    """`data` behind its length, as a property list."""
    return (bytes((len(data),)) if len(data) < 128 else bytes((len(data) & 127 | 128, 1))) + data


def test_every_property_alone():
    for data, value in PROPERTIES:
        r = reader(listed(data) + b"rest")
        assert r.properties().get(data[0]) == value, data
        assert r.left() == 4


def test_all_properties_at_once():
    found = reader(listed(b"".join([p[0] for p in PROPERTIES]))).properties()
    wanted = {p[0][0]: p[1] for p in PROPERTIES if p[1] is not None}
    assert found == wanted


def test_truncated_properties():
    for data, _ in PROPERTIES:
        for end in range(1, len(data)):
            # The list ends inside the property, even if the packet goes on behind it.
            raises(ProtocolError, reader(listed(data[:end]) + b"\0" * 9).properties)
            raises(ProtocolError, reader(listed(data)[: end + 1]).properties)
    raises(ProtocolError, reader(b"").properties)
    assert reader(b"\0").properties() == {}


def test_unknown_properties():
    known = [p[0][0] for p in PROPERTIES]
    for ident in range(256):
        if ident not in known:
            raises(ProtocolError, reader(listed(bytes((ident,)) + b"\0" * 20)).properties)


def test_writer_header():
    for size in (0, 1, 127, 128, 16383, 16384):
        header = [data for value, data in VARINTS if value == size] or [bytes((size,))]
        w = writer(size + 4)
        w.raw(bytes(size))
        packet = w.end(0x30)
        assert bytes(packet[: 1 + len(header[0])]) == b"\x30" + header[0]
        assert len(packet) == 1 + len(header[0]) + size


def test_writer_fields():
    w = writer(32)
    w.uint(7, 1)
    w.uint(0x1234, 2)
    w.uint(0xFFFFFFFF, 4)
    w.uint(0, 0)
    w.data("\u00fc")
    w.data(b"bin")
    w.raw(memoryview(b"view"))
    w.raw(bytearray(b"array"))
    body = b"\x07\x12\x34\xff\xff\xff\xff\0\2\xc3\xbc\0\3binviewarray"
    assert bytes(w.end(0x10)) == b"\x10" + bytes((len(body),)) + body


def test_writer_numbers_do_not_wrap():
    w = writer(16)
    for value, size in ((256, 1), (65536, 2), (-1, 2), (1 << 32, 4), (1, 0)):
        raises(ValueError, w.uint, value, size)
    raises(ValueError, writer(70000).data, bytes(65536))


def test_writer_limit_is_exact():
    for size, header in ((10, 2), (129, 2), (131, 3), (300, 3)):
        for limit in (size, 400):
            w = writer(400)
            w.limit = limit
            w.raw(bytes(size - header))
            assert len(w.end(0x30)) == size
        w.limit = size - 1
        w.start()
        assert str(size - 1) in raises(ValueError, w.raw, bytes(size - header))


def test_writer_after_an_error():
    w = writer(8)
    raises(ValueError, w.raw, bytes(7))
    w.start()
    w.raw(b"abcdef")
    assert bytes(w.end(0x30)) == b"\x30\x06abcdef"
