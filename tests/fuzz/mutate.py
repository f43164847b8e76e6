"""Mutations: of bytes, of lists of steps, and of MessagePack, all drawn from one `Random`."""

import struct
from random import Random
from typing import Any

from tests.fuzz import script
from tests.fuzz.script import Step

MAX_BYTES = 4096  # of an input

# Lengths and numbers at the edges of their encodings, as they stand on the wire.
_EXTREMES = (
    *(b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff\xff", b"\x00\x00", b"\x7f\xff"),
    *(b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x80\x80\x80\x80", b"\x80\x00"),
    *(b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcb" + b"\xff" * 8),
    *(bytes([tag]) + b"\xff" * 4 for tag in (0xCE, 0xDD, 0xDF, 0xDB, 0xC6)),
    *(b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\x90", b"\x80", b"\xa0", b"\xc4\x00", b"\x91" * 9),
    *(b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xef\xbb\xbf", b"\x00"),
)
EDGES: tuple[int, ...] = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**31,
    2**32 - 1,
    2**48,
    2**53,
    2**63,
)
EDGES += (2**64 - 1, -1, -32, -33, -128, -(2**31), -(2**63))


def some_bytes(random: Random, most: int) -> bytes:
    """Noise."""
    return random.randbytes(random.randint(0, most))


def mutated(data: bytes, random: Random, other: bytes = b"") -> bytes:
    """`data` with a few mutations, perhaps spliced with `other`."""
    out = bytearray(data)
    for _ in range(1 << random.randrange(4)):
        _MUTATIONS[random.randrange(len(_MUTATIONS))](out, random, other)
    return bytes(out[:MAX_BYTES])


def _place(out: bytearray, random: Random) -> tuple[int, int]:
    """A random slice, more often a short one."""
    if not out:
        return 0, 0
    at = random.randrange(len(out))
    return at, min(len(out), at + 1 + random.randrange(1 << random.randrange(7)))


def _flip(out: bytearray, random: Random, other: bytes) -> None:
    if out:
        out[random.randrange(len(out))] ^= 1 << random.randrange(8)


def _replace(out: bytearray, random: Random, other: bytes) -> None:
    if out:
        out[random.randrange(len(out))] = random.randrange(256)


def _near(out: bytearray, random: Random, other: bytes) -> None:
    """A length or a number that is off by little."""
    if out:
        at = random.randrange(len(out))
        out[at] = (out[at] + random.choice((-2, -1, 1, 2))) & 255


def _truncate(out: bytearray, random: Random, other: bytes) -> None:
    del out[random.randrange(len(out) + 1) :]


def _remove(out: bytearray, random: Random, other: bytes) -> None:
    at, end = _place(out, random)
    del out[at:end]


def _repeat(out: bytearray, random: Random, other: bytes) -> None:
    at, end = _place(out, random)
    out[at:at] = bytes(out[at:end]) * random.choice((1, 1, 2, 8))


def _insert(out: bytearray, random: Random, other: bytes) -> None:
    at, _ = _place(out, random)
    out[at:at] = random.choice(_EXTREMES)


def _overwrite(out: bytearray, random: Random, other: bytes) -> None:
    at, _ = _place(out, random)
    extreme = random.choice(_EXTREMES)
    out[at : at + len(extreme)] = extreme


def _splice(out: bytearray, random: Random, other: bytes) -> None:
    at, _ = _place(out, random)
    there, end = _place(bytearray(other), random)
    if random.randrange(2):
        out[at:] = other[there:]
    else:
        out[at:at] = other[there:end]


def _noise(out: bytearray, random: Random, other: bytes) -> None:
    at, end = _place(out, random)
    out[at:end] = random.randbytes(end - at)


_MUTATIONS = (
    *(_flip, _flip, _replace, _near, _near, _truncate, _remove, _repeat),
    *(_insert, _overwrite, _overwrite, _splice, _noise),
)


def mutated_script(data: bytes, random: Random, other: bytes, most: int) -> bytes:
    """A list of steps with a few mutations of the list, or of the bodies in it."""
    steps = script.unpack(data, most)
    others = script.unpack(other, most)
    for _ in range(1 << random.randrange(3)):
        _change(steps, others, random)
    return script.pack(steps[:most])[:MAX_BYTES]


def _change(steps: list[Step], others: list[Step], random: Random) -> None:
    if not steps:
        steps.append((random.randrange(256), some_bytes(random, 32)))
    at = random.randrange(len(steps))
    operation, body = steps[at]
    choice = random.randrange(10)
    if choice < 5:
        steps[at] = operation, mutated(body, random, random.choice(others or steps)[1])
    elif choice == 5:
        steps[at] = random.randrange(256), body
    elif choice == 6:
        del steps[at]
    elif choice == 7:
        steps.insert(random.randrange(len(steps) + 1), (operation, body))
    elif choice == 8:
        other = random.randrange(len(steps))
        steps[at], steps[other] = steps[other], steps[at]
    elif others:
        there = random.randrange(len(others))
        steps[at:at] = others[there : there + random.randint(1, 4)]


# -- MessagePack


def number(random: Random) -> int:
    """An integer, more often one at the edge of something."""
    if random.randrange(3):
        return random.randrange(8)
    return max(-(2**63), min(2**64 - 1, random.choice(EDGES) + random.randrange(-1, 2)))


def value(random: Random, depth: int = 3) -> Any:
    """Any value that MessagePack has."""
    choice = random.randrange(10 if depth else 7)
    if choice < 2:
        return number(random)
    if choice == 2:
        return random.choice((None, True, False))
    if choice == 3:
        return random.choice((0.0, 1.5, -0.0, float("nan"), float("inf"), 1e308, 5e-324))
    if choice < 6:
        return text(random)
    if choice == 6:
        return some_bytes(random, random.choice((4, 16, 40, 300)))
    if choice < 9:
        return [value(random, depth - 1) for _ in range(random.randrange(5))]
    return {text(random): value(random, depth - 1) for _ in range(random.randrange(4))}


def text(random: Random) -> str:
    """A string: short, long, or with characters that are easily mistaken."""
    words = ("", "a", "main", "x" * 31, "x" * 32, "x" * 300, "\0", "\u00e9\u4e2d", "\U0001f600")
    return random.choice(words) + random.choice(("", "", "%s", '"\\', "\r\n\x1b[2J", "{}"))


def packed(v: Any, random: Random | None = None) -> bytes:
    """MessagePack, not by the product. With `random` some heads are longer than they need be."""
    long = random is not None and not random.randrange(20)
    if v is None or isinstance(v, bool):
        return b"\xc0" if v is None else b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        return _packed_int(v, long)
    if isinstance(v, float):
        return struct.pack(">Bd", 0xCB, v)
    if isinstance(v, str):
        data = v.encode("utf-8", "surrogatepass")
        return _head(len(data), 0xA0, 32, 0xD9, long) + data
    if isinstance(v, (bytes, bytearray)):
        return _head(len(v), 0, 0, 0xC4, long) + v
    if isinstance(v, dict):
        inner = b"".join(packed(k, random) + packed(w, random) for k, w in v.items())
        return _head(len(v), 0x80, 16, 0xDD, long) + inner
    return _head(len(v), 0x90, 16, 0xDB, long) + b"".join(packed(item, random) for item in v)


def _packed_int(v: int, long: bool) -> bytes:
    if -32 <= v < 128 and not long:
        return bytes([v & 255])
    if v < 0:
        return b"\xd3" + struct.pack(">q", max(v, -(2**63)))
    for tag, form, most in ((0xCC, "B", 256), (0xCD, "H", 65536), (0xCE, "I", 2**32)):
        if v < most and not long:
            return struct.pack(">B" + form, tag, v)
    return b"\xcf" + struct.pack(">Q", min(v, 2**64 - 1))


def _head(n: int, fix: int, most: int, tag: int, long: bool) -> bytes:
    """Arrays and maps have no head of 8 bits: `tag` + 1 is that of 16."""
    if n < most and not long:
        return bytes([fix | n])
    if n < 256 and fix not in (0x80, 0x90) and not long:
        return bytes([tag, n])
    if n < 65536 and not long:
        return struct.pack(">BH", tag + 1, n)
    return struct.pack(">BI", tag + 2, n)
