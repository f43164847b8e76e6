"""MessagePack: the Unpacker over bytes and over a stream, and what it reads packed again.

An input is one byte that chooses the buffer and the pieces of the stream, and MessagePack. What
the Unpacker takes, the `msgpack` package takes with the same value; what it reads from a stream
is what it reads from the whole.
"""

import math
from collections.abc import Callable
from random import Random
from typing import Any

import msgpack
from mote.msgpack import FormatError, Packer, Unpacker

from tests.fuzz import mutate
from tests.fuzz.target import Target

_WINDOWS = (1, 2, 9, 16, 64, 512)
_BOUND = 1 << 16


class MessagePack(Target):
    name = "msgpack"
    sources = ("core/mote/msgpack.py",)

    def make(self, random: Random) -> bytes:
        head = bytes([random.randrange(256)])
        if not random.randrange(8):
            return head + mutate.some_bytes(random, 40)
        values = [
            mutate.packed(mutate.value(random, 4), random) for _ in range(random.randint(1, 3))
        ]
        return head + b"".join(values)

    def check(self, data: bytes) -> str:
        choice, data = data[:1] or b"\0", data[1:]
        whole = _read(Unpacker(bytearray(data)))
        for value, at, end in whole.values:
            _against_reference(data[at:end], value)
            _again(value)
        _stream(data, choice[0], whole)
        _fields(data, choice[0])
        return f"{min(len(whole.values), 3)} values, {whole.why}"


class Read:
    """Values with their places, and why there were no more."""

    def __init__(self) -> None:
        self.values: list[tuple[Any, int, int]] = []
        self.why = "end"


def _read(u: Any) -> Read:
    found = Read()
    try:
        while u.more():
            at = u.pos
            found.values.append((u.value(), at, u.pos))
            assert at < u.pos <= u.end <= len(u.buf), "the place is outside of the buffer"
    except FormatError as exc:
        found.why = str(exc).partition(",")[0].rstrip("0123456789 bytes")
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(map(repr, one)) == list(map(repr, other)) and all(
            map(_same, one.values(), other.values())
        )
    return type(one) is type(other) and repr(one) == repr(other)


def _against_reference(data: bytes, value: Any) -> None:
    theirs = msgpack.unpackb(data, strict_map_key=False)
    assert _same(value, theirs), f"the reference reads {theirs!r}, not {value!r}"


def _again(value: Any) -> None:
    """What was read can be packed, and is read the same."""
    try:
        data = bytes(Packer(bytearray(_BOUND)).value(value).taken())
    except FormatError:
        return
    except TypeError:
        assert not _sortable(value), "a value can't be packed"
        return
    assert repr(_sorted(Unpacker(bytearray(data)).value())) == repr(_sorted(value))


def _sortable(value: Any) -> bool:
    """False if a map in it has keys that can't be put in order: such is not for the Packer."""
    if isinstance(value, dict):
        kinds = {
            str
            if isinstance(k, str)
            else bytes
            if isinstance(k, bytes)
            else None
            if k is None
            else int
            for k in value
        }
        return (len(kinds) < 2 and (None not in kinds or len(value) < 2)) and all(
            map(_sortable, value.values())
        )
    return not isinstance(value, list) or all(map(_sortable, value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((repr(k), _sorted(v)) for k, v in value.items())
    return [_sorted(v) for v in value] if isinstance(value, list) else value


def _pieces(data: bytes, step: int) -> Callable[[Any], int]:
    """A `fill` that gives `step` bytes a call at most, and counts what it was asked after."""
    at = 0

    def fill(view: Any) -> int:
        nonlocal at
        assert len(view), "filled without room"
        n = min(len(view), step, len(data) - at)
        view[:n] = data[at : at + n]
        at += n
        return n

    return fill


def _stream(data: bytes, choice: int, whole: Read) -> None:
    window = _WINDOWS[choice % len(_WINDOWS)]
    got = _read_stream(data, window, 1 + choice // 16)
    most = len(whole.values)
    assert len(got.values) <= most, "a stream has more values than its bytes"
    for (one, _, _), (other, _, _) in zip(got.values, whole.values, strict=False):
        assert repr(one) == repr(other), "a stream is read differently"
    if window >= len(data):
        assert len(got.values) == most, "a stream that fits the buffer is refused"


def _read_stream(data: bytes, window: int, step: int) -> Read:
    found = Read()
    u = Unpacker(bytearray(window), fill=_pieces(data, step))
    try:
        while u.more():
            found.values.append((u.value(), 0, 0))
            assert 0 <= u.pos <= u.end <= window
    except FormatError as exc:
        found.why = str(exc)
    return found


def _fields(data: bytes, choice: int) -> None:
    """Field by field with the wrong expectation, as readers of messages do."""
    u = Unpacker(bytearray(data), len(data) * 3 // 4 if choice & 8 else None)
    random = Random(choice)
    for _ in range(8):
        reader = random.choice((u.array, u.int, u.bin, u.str, u.value, u.more, u.rest))
        try:
            got = reader()
        except FormatError:
            continue
        if isinstance(got, memoryview):
            assert len(got) <= u.end, "a view over the end"
        assert 0 <= u.pos <= u.end <= len(data)


def make_target() -> Target:
    """The target."""
    return MessagePack()
