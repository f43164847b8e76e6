"""What a HELLO means for the replica: whose log it comes from, and what that log has lost.

A hello names the records around the BOOT of the life that it comes from, and the newest one. The
replica knows the same records, or others, or none there; `judge` draws the conclusion from that
alone. Each hello counts once: it is numbered within its life, so one that somebody recorded says
nothing. Source: FORMAT.md, "Link".
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from mote import wire

from mote_host.store import Device
from mote_host.uplink import Hello

HashesAt = Callable[[int], list[bytes]]
"""The chain hashes that the replica accepts for a record; none in a gap or beyond its tip."""
IdsAt = Callable[[int], list[bytes]]
"""The same, as ids."""


class Meaning(enum.Enum):
    """What a hello says of the device's log."""

    OLD = enum.auto()  # nothing: it was here before, or what came behind it was
    SAME = enum.auto()  # it is what the replica is of
    LOST = enum.auto()  # the same, but what the replica holds behind `at` is gone
    FORK = enum.auto()  # another one from record `at` on, or before


@dataclass(frozen=True, slots=True)
class Life:
    """What is known of the life that a hello comes from: the number of its last hello, 0 if none.

    `accepted` says whether one of them was; `superseded`, whether its BOOT is in a branch. If the
    record before its BOOT is in one that parted from the replica, that begins with `parted`.
    """

    hellos: int = 0
    accepted: bool = False
    superseded: bool = False
    parted: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a hello means, and at which record that shows."""

    meaning: Meaning
    at: int = 0


def judge(hello: Hello, device: Device, life: Life, hashes_at: HashesAt) -> Judgement:
    """What `hello` means for the replica of `device`."""

    def ids_at(seq: int) -> list[bytes]:
        return [h[: wire.ID] for h in hashes_at(seq)]

    if hello.count <= life.hellos:
        return Judgement(Meaning.OLD)
    held = hello.boot in ids_at(hello.before + 1)
    late = (hello.epoch, hello.count) <= (device.epoch, device.hellos)
    found = _late(hello, device, ids_at) if held and late else None
    if found is not None:
        return found
    if hello.before > device.tip:
        if life.parted is not None and life.parted <= device.tip:
            return Judgement(Meaning.FORK, life.parted)
        return Judgement(Meaning.SAME)
    before, boot = ids_at(hello.before), ids_at(hello.before + 1)
    # where the beginning of a life lies in a gap now, it is known by its hellos
    same = held or (life.accepted and not boot)
    if hello.before_hash not in before and (before or not same):
        return Judgement(Meaning.FORK, hello.before)
    if hello.before == device.tip:
        return Judgement(Meaning.SAME)
    if same:
        return _head(hello, device, ids_at)
    if life.superseded:
        return Judgement(Meaning.FORK, hello.before + 1)
    return Judgement(Meaning.LOST, hello.before)


def _late(hello: Hello, device: Device, ids_at: IdsAt) -> Judgement | None:
    """A life before the last one that was heard, unless both logs parted: then it may live on.

    In the log of the last one, the record behind `device.before` is its BOOT, in the other one it
    is not. None: the replica is not of the last one, or nothing tells, so this one may go on.
    """
    ids = ids_at(hello.head)
    if ids and hello.head_hash not in ids:
        return Judgement(Meaning.FORK, hello.head)
    boot = [] if device.before is None else ids_at(device.before + 1)
    if boot and device.boot not in boot:
        return None
    if ids or device.before is None or hello.head <= device.before:
        return Judgement(Meaning.OLD)
    if device.tip > device.before:
        return Judgement(Meaning.FORK, device.before + 1)
    return None


def _head(hello: Hello, device: Device, ids_at: IdsAt) -> Judgement:
    """The same life, whose newest record can't be another one, or behind the replica's.

    On the connection that the replica follows it can: a hello that was under way for long came
    after the uploads behind it, which may have gone through another gateway.
    """
    ids = ids_at(hello.head)
    if ids and hello.head_hash not in ids:
        return Judgement(Meaning.FORK, hello.head)
    if hello.head >= device.tip:
        return Judgement(Meaning.SAME)
    overtaken = hello.nonce == device.nonce
    return Judgement(Meaning.OLD if overtaken else Meaning.FORK, hello.head)
