"""What devices say to the gateway, as typed messages. The bytes are `mote.wire`'s."""

from collections.abc import Callable
from dataclasses import dataclass

from mote import wire
from mote.msgpack import FormatError, Unpacker

MAX_BYTES = 65536
MAX_NUMBER = 1 << 48  # of a record, an epoch, an offset

_HASH = 32
_LEAST_PART = 16
_MOST_PART = 16384


@dataclass(frozen=True, slots=True)
class Hello:
    """A connection begins. `before` is the last record before the newest BOOT."""

    epoch: int
    nonce: bytes
    before: int
    before_hash: bytes
    head: int
    head_hash: bytes
    oldest: int
    part_bytes: int


@dataclass(frozen=True, slots=True)
class Upload:
    """Records from `first` on; `before` is the beginning of the chain hash in front of them."""

    epoch: int
    first: int
    before: bytes
    frames: bytes


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


Message = Hello | Upload | Missing | Complete | Declaration


class WrongMac(Exception):
    """The message was not signed with this device's key."""


def read(key: bytes, message: bytes) -> Message:
    """The message in the bytes of one `up` publication.

    Raises WrongMac if it is not the device's, FormatError if it is malformed.
    """
    if not wire.MAC < len(message) <= MAX_BYTES:
        raise FormatError(f"a message of {len(message)} bytes")
    try:
        array = wire.body(wire.subkey(key, "up"), message)
    except FormatError as exc:
        raise WrongMac(str(exc)) from exc
    u = Unpacker(array)
    u.array(3)
    kind = u.int()
    readers: dict[int, Callable[[Unpacker], Message]] = {
        wire.HELLO: _hello,
        wire.UPLOAD: _upload,
        wire.GAP: _missing,
        wire.COMPLETE: _complete,
        wire.TOOL: _declaration,
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


def _hello(u: Unpacker) -> Hello:
    return Hello(
        epoch=_number(u),
        nonce=_bytes(u, wire.NONCE),
        before=_number(u),
        before_hash=_bytes(u, wire.ID),
        head=_number(u),
        head_hash=_bytes(u, wire.ID),
        oldest=_number(u),
        part_bytes=_number(u, _MOST_PART, _LEAST_PART),
    )


def _upload(u: Unpacker) -> Upload:
    return Upload(_number(u), _number(u, least=1), _bytes(u, wire.ID), _bytes(u))


def _missing(u: Unpacker) -> Missing:
    epoch, first = _number(u), _number(u, least=1)
    return Missing(epoch, first, _number(u, least=first - 1), _bytes(u, wire.ID), _bytes(u, _HASH))


def _complete(u: Unpacker) -> Complete:
    return Complete(_bytes(u, wire.ID), _number(u))


def _declaration(u: Unpacker) -> Declaration:
    return Declaration(_bytes(u, wire.ID), _number(u), _number(u), _bytes(u))
