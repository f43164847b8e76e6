"""What devices say to the gateway, as typed messages. The bytes are `mote.wire`'s."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from mote import wire
from mote.msgpack import FormatError, Unpacker

from mote_host.registry import mac

MAX_BYTES = 65536
MAX_NUMBER = 1 << 48  # of a record, an epoch, an offset

MAX_POINTS = 1024

_HASH = 32
_LEAST_PART = 16
_MOST_PART = 16384


@dataclass(frozen=True, slots=True)
class Hello:
    """A connection begins, or goes on: number `count` of the hellos of one life of the device.

    `before` is the last record before the newest BOOT, whose id is `boot`.
    """

    epoch: int
    nonce: bytes
    before: int
    before_hash: bytes
    boot: bytes
    count: int
    head: int
    head_hash: bytes
    oldest: int
    part_bytes: int


@dataclass(frozen=True, slots=True)
class Upload:
    """Records from `first` on; `before` is the beginning of the chain hash in front of them.

    Some of the `frames` may be references. `check` is the beginning of the chain hash behind the
    last one, `wanted` the number of the REQ whose reply is wanted; None where there is none.
    """

    epoch: int
    first: int
    before: bytes
    frames: bytes
    check: bytes | None = None
    wanted: int | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """Records `first`..`last` are no longer in the device's log.

    If `last` is `first` - 1 none is missing, but the device can't know the hash before `first` any
    more: of the records before it some are damaged.
    `before` is the beginning of the chain hash in front of them, `after` the one behind them.
    """

    epoch: int
    first: int
    last: int
    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """Send the reply to that request from byte `offset` on."""

    request_id: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """One tool of the `count` whose declarations have the hash `tools`."""

    tools: bytes
    index: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Points:
    """Some records of the device's own chain, (number, id), newest first: its log is a fork."""

    epoch: int
    points: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Fragment:
    """Bytes from `offset` on of array `number`, which has `length` bytes."""

    number: int
    offset: int
    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Recover:
    """Send the lost record `seq` from byte `offset` of its payload on."""

    seq: int
    offset: int


Message = Hello | Upload | Missing | Complete | Declaration | Points | Fragment | Recover


class WrongMac(Exception):
    """The message was not signed with this device's key."""


def read(key: bytes, message: bytes) -> Message:
    """The message in the bytes of one `up` publication.

    Raises WrongMac if it is not the device's, FormatError if it is malformed.
    """
    if not wire.MAC < len(message) <= MAX_BYTES:
        raise FormatError(f"a message of {len(message)} bytes")
    try:
        array = wire.body(mac(key, "up"), message)
    except FormatError as exc:
        raise WrongMac(str(exc)) from exc
    return read_array(array)


def read_array(array: bytes | memoryview) -> Message:
    """The message in an array that was authenticated. Raises FormatError."""
    u = Unpacker(array)
    u.array(3)
    kind = u.int()
    readers: dict[int, Callable[[Unpacker], Message]] = {
        wire.HELLO: _hello,
        wire.UPLOAD: _upload,
        wire.GAP: _missing,
        wire.COMPLETE: _complete,
        wire.TOOL: _declaration,
        wire.POINTS: _points,
        wire.FRAGMENT: _fragment,
        wire.RECOVER: _recover,
    }
    if kind not in readers:
        raise FormatError(f"a message of kind {kind}")
    return readers[kind](u)


def _number(u: Unpacker, most: int = MAX_NUMBER, least: int = 0) -> int:
    n: int = u.int()
    if not least <= n <= most:
        raise FormatError(f"the number {n} is not in {least}..{most}")
    return n


def _bytes(u: Unpacker, n: int | None = None) -> bytes:
    found = bytes(u.bin())
    if n is not None and len(found) != n:
        raise FormatError(f"{len(found)} bytes where {n} are due")
    return found


def _beginning(u: Unpacker) -> bytes:
    """The first bytes of a chain hash, as many as tell chains apart or more."""
    found = _bytes(u)
    if not wire.SHORT <= len(found) <= wire.ID:
        raise FormatError(f"{len(found)} bytes of a hash where {wire.SHORT} are due")
    return found


def _hello(u: Unpacker) -> Hello:
    hello = Hello(
        epoch=_number(u),
        nonce=_bytes(u, wire.NONCE),
        before=_number(u),
        before_hash=_bytes(u, wire.ID),
        boot=_bytes(u, wire.ID),
        count=_number(u, least=1),
        head=_number(u),
        head_hash=_bytes(u, wire.ID),
        oldest=_number(u),
        part_bytes=_number(u, _MOST_PART, _LEAST_PART),
    )
    if hello.head <= hello.before:
        raise FormatError(f"record {hello.head} is the newest, and its BOOT is behind it")
    return hello


def _upload(u: Unpacker) -> Upload:
    epoch, first = _number(u), _number(u, least=1)
    before, frames = _beginning(u), _bytes(u)
    check, wanted = u.value(), u.value()
    if check is not None and (not isinstance(check, bytes) or len(check) != wire.CHECK):
        raise FormatError(f"a check has {wire.CHECK} bytes")
    if wanted is not None and (type(wanted) is not int or not 0 < wanted <= MAX_NUMBER):
        raise FormatError("the record whose reply is wanted is no number")
    return Upload(epoch, first, before, frames, check, wanted)


def _points(u: Unpacker) -> Points:
    epoch, count = _number(u), u.array()
    if not 0 < count <= MAX_POINTS:
        raise FormatError(f"{count} points")
    points = []
    for _ in range(count):
        u.array(2)
        points.append((_number(u), _bytes(u, wire.ID)))
    if any(later[0] > newer[0] for newer, later in pairwise(points)):
        raise FormatError("points do not go from new to old")
    return Points(epoch, tuple(points))


def _fragment(u: Unpacker) -> Fragment:
    return Fragment(_number(u), _number(u, MAX_BYTES), _number(u, MAX_BYTES, 1), _bytes(u))


def _recover(u: Unpacker) -> Recover:
    return Recover(_number(u), _number(u))


def _missing(u: Unpacker) -> Missing:
    epoch, first = _number(u), _number(u, least=1)
    return Missing(epoch, first, _number(u, least=first - 1), _bytes(u, wire.ID), _bytes(u, _HASH))


def _complete(u: Unpacker) -> Complete:
    return Complete(_bytes(u, wire.ID), _number(u))


def _declaration(u: Unpacker) -> Declaration:
    return Declaration(_bytes(u, wire.ID), _number(u), _number(u), _bytes(u))
