"""References in uploads: records that a device need not send, as the gateway can make them.

A reply came from the gateway, so its PARTs and its REPLY_END are the gateway's own bytes. A
reference names the request and, for a PART, how many bytes of the reply it holds; the record is
packed here as the core packs it, and the chain hash that the upload states proves it.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from mote import records as r
from mote import wire
from mote.msgpack import FormatError, Packer
from mote.segments import chain

from mote_host.frames import Frame, decode, frame_at
from mote_host.store import StoredReply

MAX_RESOLVED_BYTES = 1 << 20  # that references of one upload may stand for

_END_BYTES = 8
_PART_BYTES = 10


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands for a PART with `size` bytes of the reply to `req`, or for its REPLY_END."""

    seq16: int
    kind: int
    req: int
    size: int = 0


Piece = Frame | Reference


def split(data: bytes) -> tuple[Piece, ...]:
    """The frames and references in an upload. Raises FormatError if it is not whole."""
    pieces: list[Piece] = []
    at = 0
    while at < len(data):
        if data[at] != wire.REFERENCE:
            frame = frame_at(data, at)
            pieces.append(frame)
            at += len(frame.data)
        else:
            reference, at = _reference(data, at)
            pieces.append(reference)
    return tuple(pieces)


def _reference(data: bytes, at: int) -> tuple[Reference, int]:
    """The reference that begins there, and where it ends."""
    kind = data[at + 1] if at + 1 < len(data) else 0
    end = at + (_PART_BYTES if kind == r.PART else _END_BYTES)
    if kind not in (r.PART, r.REPLY_END) or end > len(data):
        raise FormatError(f"a reference is cut short or of another kind at byte {at}")
    _, _, seq16, req = struct.unpack_from(">BBHI", data, at)
    if kind == r.REPLY_END:
        return Reference(seq16, kind, req), end
    size = int.from_bytes(data[end - 2 : end], "big")
    if not size:
        raise FormatError(f"a reference to nothing at byte {at}")
    return Reference(seq16, kind, req, size), end


@dataclass(frozen=True, slots=True)
class Known:
    """What the replica and the store know, for who resolves references.

    `request_id` is that of a REQ in the replica, `parts` how many bytes of its reply the replica's
    PARTs hold.
    """

    request_id: Callable[[int], bytes | None]
    parts: Callable[[int], int]
    reply: Callable[[bytes], StoredReply | None]


@dataclass(slots=True)
class Chained:
    """An upload's records in their own chain: `h` is the hash behind the last one.

    `whole` is False if a reference could not be resolved; then `frames` end before the first one.
    """

    frames: list[Frame]
    h: bytes
    whole: bool = True

    def h_at(self, n: int, h: bytes) -> bytes:
        """The hash behind frame `n` of them, if `h` is the one in front of the first."""
        for frame in self.frames[: n + 1]:
            h = chain(h, frame.data)
        return h


@dataclass(slots=True)
class _Resolver:
    known: Known
    ids: dict[int, bytes] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    # by REQ: who repeats a reference must not have the reply read and hashed each time
    replies: dict[int, StoredReply | None] = field(default_factory=dict)
    endings: dict[int, bytes] = field(default_factory=dict)
    left_bytes: int = MAX_RESOLVED_BYTES

    def note(self, seq: int, frame: Frame, h: bytes) -> None:
        """Take a new record into account."""
        if frame.kind == r.REQ:
            self.ids[seq] = h[: wire.ID]
        elif frame.kind == r.PART:
            fields = decode(frame.kind, frame.payload)
            req = fields["req"]
            self.ends[req] = self._end(req) + len(fields["data"])

    def _end(self, req: int) -> int:
        return self.ends[req] if req in self.ends else self.known.parts(req)

    def make(self, reference: Reference) -> Frame | None:
        """The record that is meant; None if it can't be told."""
        reply = self._reply(reference.req)
        if reply is None or reply.state != "done":
            return None
        if reference.kind == r.REPLY_END:
            payload = self.endings.get(reference.req) or _reply_end(reference.req, reply)
            self.endings[reference.req] = payload
        else:
            begin = self._end(reference.req)
            data = reply.body[begin : begin + reference.size]
            if len(data) != reference.size:
                return None
            payload = _part(reference.req, data)
        self.left_bytes -= len(payload)
        return _packed(reference, payload) if self.left_bytes >= 0 else None

    def _reply(self, req: int) -> StoredReply | None:
        if req not in self.replies:
            request_id = self.ids.get(req) or self.known.request_id(req)
            self.replies[req] = self.known.reply(request_id) if request_id else None
        return self.replies[req]


def _part(req: int, data: bytes) -> bytes:
    packer = Packer(bytearray(len(data) + 16))
    return bytes(packer.array(2).int(req).bin(data).taken())


def _reply_end(req: int, reply: StoredReply) -> bytes:
    packer = Packer(bytearray(64)).array(5).int(req).int(len(reply.body))
    packer.bin(digest(reply.body)).int(reply.calls).int(reply.tokens_in + reply.tokens_out)
    return bytes(packer.taken())


def digest(body: bytes) -> bytes:
    """What REPLY_END says of a reply's bytes."""
    return hashlib.sha256(body).digest()[: wire.ID]


def _packed(reference: Reference, payload: bytes) -> Frame | None:
    if len(payload) >= wire.REFERENCE << 8:
        return None
    head = struct.pack(">HBH", len(payload), reference.kind, reference.seq16)
    return Frame(reference.seq16, reference.kind, payload, head + payload)


def resolve(
    pieces: tuple[Piece, ...], first: int, h: bytes, held: dict[int, bytes], known: Known
) -> Chained:
    """Chain records `first`.. behind the hash `h`, and make those that are references.

    Where the replica holds a record already (`held`, by number), a reference is to that one.
    """
    resolver = _Resolver(known)
    found = Chained([], h)
    for seq, piece in enumerate(pieces, first):
        frame: Frame | None
        if isinstance(piece, Frame):
            frame = piece
        elif seq in held:
            frame = frame_at(held[seq], 0)
        else:
            frame = resolver.make(piece)
        if frame is None:
            return before_references(pieces, h)
        found.h = chain(found.h, frame.data)
        found.frames.append(frame)
        if seq not in held:
            resolver.note(seq, frame, found.h)
    return found


def before_references(pieces: tuple[Piece, ...], h: bytes) -> Chained:
    """What counts of an upload whose references can't be resolved, or are not what was meant."""
    found = Chained([], h, whole=False)
    for piece in pieces:
        if isinstance(piece, Reference):
            break
        found.frames.append(piece)
        found.h = chain(found.h, piece.data)
    return found


def has_references(pieces: tuple[Piece, ...]) -> bool:
    """Whether there are any."""
    return any(isinstance(piece, Reference) for piece in pieces)
