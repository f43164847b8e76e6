"""Against the `msgpack` package, both ways."""

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from mote.msgpack import Packer, Unpacker

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
