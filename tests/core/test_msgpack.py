"""MessagePack: every form and boundary, streams cut anywhere, and nothing but FormatError."""

import struct

from helpers import Random, raises
from mote.msgpack import FormatError, Packer, Unpacker

INTS = (
    (0, "00"),
    (127, "7f"),
    (128, "cc80"),
    (255, "ccff"),
    (256, "cd0100"),
    (65535, "cdffff"),
    (65536, "ce00010000"),
    (2**32 - 1, "ceffffffff"),
    (2**32, "cf0000000100000000"),
    (2**64 - 1, "cfffffffffffffffff"),
    (-1, "ff"),
    (-32, "e0"),
    (-33, "d0df"),
    (-128, "d080"),
    (-129, "d1ff7f"),
    (-32768, "d18000"),
    (-32769, "d2ffff7fff"),
    (-(2**31), "d280000000"),
    (-(2**31) - 1, "d3ffffffff7fffffff"),
    (-(2**63), "d38000000000000000"),
)

SAMPLE = {
    "a": [1, -7, 300, None],
    "b": {"deep": [True, False, "\u00e9x"]},
    "c": b"\x00\xff",
    "d": 1.5,
}


def packed(value, size=70000):
    return bytes(Packer(bytearray(size)).value(value).taken())


def unpacked(data):
    u = Unpacker(bytearray(data))
    value = u.value()
    assert not u.more(), "bytes are left"
    return value


def feeder(pieces):
    """A `fill` that gives one piece a call, as far as there is room."""
    left = [bytes(piece) for piece in pieces if piece]

    def fill(view):
        if not left:
            return 0
        n = min(len(view), len(left[0]))
        view[:n] = left[0][:n]
        left[0] = left[0][n:]
        if not left[0]:
            left.pop(0)
        return n

    return fill


def test_integers_take_their_shortest_form():
    for n, form in INTS:
        assert packed(n).hex() == form, n
        assert unpacked(bytes.fromhex(form)) == n
        assert Unpacker(bytearray(bytes.fromhex(form))).int() == n


def test_integers_over_64_bits_are_refused():
    for n in (2**64, -(2**63) - 1, 2**80):
        raises(FormatError, Packer(bytearray(32)).int, n)


def test_integers_are_read_in_longer_forms_too():
    for form, n in (("cc05", 5), ("cd0005", 5), ("d300000000000000ff", 255), ("d1ffff", -1)):
        assert unpacked(bytes.fromhex(form)) == n


def test_plain_values():
    for value, form in ((None, "c0"), (False, "c2"), (True, "c3"), (1.5, "cb3ff8000000000000")):
        assert packed(value).hex() == form
        got = unpacked(bytes.fromhex(form))
        assert got == value
        assert type(got) is type(value)
    assert unpacked(b"\xca" + struct.pack(">f", 0.25)) == 0.25


def test_strings_at_each_length_boundary():
    for n, head in (
        (0, "a0"),
        (31, "bf"),
        (32, "d920"),
        (255, "d9ff"),
        (256, "da0100"),
        (65535, "daffff"),
    ):
        data = packed("x" * n)
        assert data.hex()[: len(head)] == head
        assert len(data) == len(head) // 2 + n
        assert unpacked(data) == "x" * n
    assert unpacked(bytes.fromhex("db00000002") + b"hi") == "hi"


def test_the_length_of_a_string_is_in_bytes():
    text = "\u00e9" * 16
    assert packed(text)[:2] == b"\xd9\x20"
    assert unpacked(packed(text)) == text


def test_binary_at_each_length_boundary():
    for n, head in ((0, "c400"), (255, "c4ff"), (256, "c50100"), (65535, "c5ffff")):
        data = packed(b"y" * n)
        assert data.hex()[: len(head)] == head
        assert len(data) == len(head) // 2 + n
        assert unpacked(data) == b"y" * n
        assert Unpacker(bytearray(data)).bin() == b"y" * n
        raises(FormatError, Unpacker(bytearray(data[:-1] if n else data[:1])).bin)
    assert unpacked(bytes.fromhex("c600000002") + b"hi") == b"hi"


def test_arrays_and_maps_at_each_length_boundary():
    for n, head in ((0, "90"), (15, "9f"), (16, "dc0010"), (300, "dc012c")):
        data = packed([7] * n)
        assert data.hex()[: len(head)] == head
        assert unpacked(data) == [7] * n
    for n, head in ((0, "80"), (15, "8f"), (16, "de0010"), (300, "de012c")):
        value = dict.fromkeys(range(n), 1)
        data = packed(value)
        assert data.hex()[: len(head)] == head
        assert unpacked(data) == value
    assert unpacked(bytes.fromhex("dd0000000105")) == [5]
    assert unpacked(bytes.fromhex("df000000010506")) == {5: 6}


def test_headers_of_65535_items_and_no_more():
    p = Packer(bytearray(8))
    assert bytes(p.array(65535).taken()).hex() == "dcffff"
    assert bytes(p.reset(0).map(65535).taken()).hex() == "deffff"
    raises(FormatError, p.reset(0).array, 65536)
    raises(FormatError, p.map, 65536)
    raises(FormatError, Packer(bytearray(70000)).bin, bytes(65536))
    raises(FormatError, Packer(bytearray(70000)).str, "x" * 65536)


def test_maps_are_written_in_the_order_of_their_keys():
    keys = ["zeta", "alpha", "m", "beta"]
    one = packed(dict.fromkeys(keys, 1))
    assert one == packed(dict.fromkeys(reversed(keys), 1))
    assert one.find(b"alpha") < one.find(b"beta") < one.find(b"zeta")


def test_the_packer_keeps_to_its_buffer():
    data = packed(SAMPLE)
    assert packed(SAMPLE, len(data)) == data
    for size in range(len(data)):
        raises(FormatError, Packer(bytearray(size)).value, SAMPLE)


def test_a_packer_starts_again_where_it_is_told():
    p = Packer(bytearray(b"########"))
    assert bytes(p.reset(2).int(5).raw(b"ab").taken()) == b"##\x05ab"
    assert bytes(p.reset(0).int(1).taken()) == b"\x01"


def nested(depth, kind):
    value = 1
    for _ in range(depth):
        value = [value] if kind == "array" else {1: value}
    return value


def test_nesting_is_bounded_both_ways():
    for kind in ("array", "map"):
        deepest = nested(8, kind)
        assert unpacked(packed(deepest)) == deepest
        raises(FormatError, packed, nested(9, kind))
    raises(FormatError, unpacked, b"\x91" * 9 + b"\x01")
    raises(FormatError, unpacked, b"\x91" * 60000)
    raises(FormatError, unpacked, b"\x81\x01" * 9 + b"\x01")


def test_keys_are_not_containers():
    raises(FormatError, unpacked, bytes.fromhex("819001"))
    raises(FormatError, unpacked, bytes.fromhex("818001"))


def test_lists_that_the_buffer_could_not_hold_are_not_begun():
    for data in ("ddffffffff", "dfffffffff", "dcffff0102", "de000901"):
        raises(FormatError, unpacked, bytes.fromhex(data))


def test_a_stream_without_end_does_not_fill_the_memory():
    def fill(view):
        view[0] = 0xC0
        return 1

    for head in (b"\xdd\x00\x00\x10\x00", b"\xdf\x00\x00\x10\x00"):
        u = Unpacker(bytearray(head + bytes(11)), 5, fill)
        raises(FormatError, u.value)
        assert u.pos == 5, "it was refused before its items"


def test_types_that_are_not_used_are_refused():
    for tag in (0xC1, 0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8):
        error = raises(FormatError, unpacked, bytes([tag]) + bytes(20))
        assert f"0x{tag:02x}" in str(error)


def test_a_field_of_another_type_is_refused():
    forms = {"array": b"\x90", "int": b"\x05", "bin": b"\xc4\x00", "str": b"\xa0"}
    for wanted in forms:
        for given, form in forms.items():
            if given != wanted:
                raises(FormatError, getattr(Unpacker(bytearray(form)), wanted))


def test_an_array_may_have_more_fields_than_are_due():
    assert Unpacker(bytearray(b"\x93")).array(2) == 3
    raises(FormatError, Unpacker(bytearray(b"\x91")).array, 2)


def test_strings_that_are_not_utf8_are_refused():
    raises(FormatError, unpacked, b"\xa2\xc3\x28")
    raises(FormatError, Unpacker(bytearray(b"\xa1\xff")).str)


def test_cut_short_at_every_byte():
    data = packed(SAMPLE)
    for n in range(len(data)):
        raises(FormatError, unpacked, data[:n])
        raises(FormatError, Unpacker(bytearray(64), fill=feeder([data[:n]])).value)
        raises(FormatError, Unpacker(bytearray(data), n).value)


def test_a_stream_split_at_every_point_is_the_same_value():
    data = packed(SAMPLE)
    for n in range(len(data) + 1):
        u = Unpacker(bytearray(64), fill=feeder([data[:n], data[n:]]))
        assert u.value() == SAMPLE
        assert not u.more()


def test_a_stream_byte_by_byte():
    data = packed(SAMPLE) * 3
    u = Unpacker(bytearray(64), fill=feeder([data[i : i + 1] for i in range(len(data))]))
    for _ in range(3):
        assert u.more()
        assert u.value() == SAMPLE
    assert not u.more()


def test_a_stream_is_larger_than_its_buffer_and_no_item_is():
    values = ["x" * n for n in range(30)]
    data = packed(values)
    assert len(data) > 64
    u = Unpacker(bytearray(64), fill=feeder([data]))
    assert u.value() == values
    u = Unpacker(bytearray(16), fill=feeder([packed("y" * 17)]))
    assert "over 16 bytes" in str(raises(FormatError, u.str))


def test_what_is_not_messagepack_is_taken_in_pieces():
    u = Unpacker(bytearray(16), fill=feeder([packed(5), b"free text, longer than the buffer"]))
    assert u.int() == 5
    text = b""
    while u.more():
        text += bytes(u.rest())
    assert text == b"free text, longer than the buffer"
    assert bytes(u.rest()) == b""


def test_garbage_raises_nothing_but_format_errors():
    random = Random(7)
    failed = 0
    for _ in range(2000):
        data = random.bytes(random.below(24))
        try:
            Unpacker(bytearray(data)).value()
        except FormatError:
            failed += 1
        try:
            Unpacker(bytearray(8), fill=feeder([data])).value()
        except FormatError:
            failed += 1
    assert failed > 100


def test_one_changed_byte_raises_nothing_but_format_errors():
    data = packed(SAMPLE)
    # MP: a board's floats have 24 bits or less, into which some changes of 53 do not reach
    double = data.index(b"\xcb") if 1.0 + 2**-30 == 1.0 else len(data)
    for at in range(len(data)):
        if double < at <= double + 8:
            continue
        for change in (1, 0x40, 0x80, 0xFF):
            bad = bytearray(data)
            bad[at] ^= change
            try:
                assert Unpacker(bad).value() != SAMPLE
            except FormatError:
                continue
