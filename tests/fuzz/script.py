"""Inputs that are a list of steps, as bytes: any bytes are some list, and the other way round.

A step is an operation (one byte), the length of its body (two bytes, big-endian) and the body.
The last body may be cut short. So a mutation of the bytes is a mutation of the list, and making
an input small works on bytes alone.
"""

from collections.abc import Iterable

Step = tuple[int, bytes]


def pack(steps: Iterable[Step]) -> bytes:
    """The bytes of a list of steps; a body has at most 65535."""
    parts = []
    for operation, body in steps:
        size = min(len(body), 65535)
        parts.append(bytes([operation]) + size.to_bytes(2, "big") + body[:size])
    return b"".join(parts)


def unpack(data: bytes, most: int) -> list[Step]:
    """The first `most` steps of any bytes."""
    steps: list[Step] = []
    at = 0
    while at < len(data) and len(steps) < most:
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        steps.append((data[at], data[at + 3 : at + 3 + size]))
        at += 3 + size
    return steps
