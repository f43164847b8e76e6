"""Against the `msgpack` package, both ways, and with what is malformed."""

import random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mote.msgpack import FormatError, Packer, Unpacker

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20)
    ),
    max_leaves=30,
).filter(lambda value: _depth(value) <= 8)


def _depth(value):
    if isinstance(value, dict):
        return 1 + max([_depth(v) for v in value.values()], default=0)
    if isinstance(value, list):
        return 1 + max([_depth(v) for v in value], default=0)
    return 0


def _in_key_order(value):
    if isinstance(value, dict):
        return {key: _in_key_order(value[key]) for key in sorted(value)}
    return [_in_key_order(v) for v in value] if isinstance(value, list) else value


@settings(derandomize=True, deadline=None, max_examples=300)
@given(values)
def test_what_we_write_is_what_it_writes(value):
    ours = bytes(Packer(bytearray(200000)).value(value).taken())
    assert ours == msgpack.packb(_in_key_order(value))
    assert msgpack.unpackb(ours, strict_map_key=False) == value


@settings(derandomize=True, deadline=None, max_examples=300)
@given(values)
def test_what_it_writes_is_what_we_read(value):
    theirs = msgpack.packb(value)
    assert Unpacker(bytearray(theirs)).value() == value


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.floats(width=32, allow_nan=False))
def test_short_floats_are_read(value):
    theirs = msgpack.packb(value, use_single_float=True)
    assert Unpacker(bytearray(theirs)).value() == value


# What the package takes and we refuse, each by what we say.
OURS_ALONE = ("type 0xc7", "type 0xc8", "type 0xc9", "type 0xd", "nested over 8 deep")


def ours(data):
    """(value, bytes taken), or why not."""
    u = Unpacker(bytearray(data))
    try:
        value = u.value()
    except FormatError as error:
        return str(error)
    return value, u.pos


def theirs(data):
    """(value, bytes taken), or why not."""
    u = msgpack.Unpacker(strict_map_key=False)
    u.feed(data)
    try:
        value = u.unpack()
    except (msgpack.UnpackException, ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return value, u.tell()


def agree(data):
    """Both read the same or both refuse, but for what we alone refuse. True if it was read."""
    mine, other = ours(data), theirs(data)
    if isinstance(mine, tuple):
        assert repr(mine) == repr(other), data
        return True
    assert isinstance(other, str) or mine.startswith(OURS_ALONE), (data, mine, other)
    return False


@settings(derandomize=True, deadline=None, max_examples=120)
@given(values, st.randoms(use_true_random=False))
def test_what_is_malformed_is_refused_by_both(value, draw):
    whole = msgpack.packb(value)
    assert agree(whole)
    for _ in range(20):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(data))
            data[at] = draw.choice((data[at] ^ 1 << draw.randrange(8), draw.randrange(256)))
        agree(bytes(data))
        agree(bytes(data[: draw.randrange(len(data))]))


def test_noise_is_read_the_same_or_refused():
    draw = random.Random(1)
    read = sum(agree(draw.randbytes(draw.randint(1, 24))) for _ in range(20000))
    assert 2000 < read < 18000, read


def test_every_first_byte_with_little_behind_it():
    for tag in range(256):
        for rest in (b"", b"\0", b"\1\0", b"\0\1\0", bytes(8), b"\xff" * 8, bytes(40)):
            agree(bytes([tag]) + rest)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_what_neither_can_write(value):
    with pytest.raises(FormatError):
        Packer(bytearray(20)).value(value)
    with pytest.raises(OverflowError):
        msgpack.packb(value)
