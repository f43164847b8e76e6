"""What a proxy does to connections: faults by kind, drawn from a seed.

Faults of the stream strike at a byte of one direction and leave nothing out of its middle: TCP
loses no bytes, it stops or it ends. Faults of messages leave whole PUBLISH packets out, repeat or
delay them, as a broker may do with QoS 0, and with QoS 1 when a connection ends.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

STALL = "stall"  # nothing is passed on for a while, then all of it
DELAY = "delay"  # each of the next packets is late
SLOW = "slow"  # the next packets come a few bytes at a time
FIN = "fin"  # the connection ends between two packets
RST = "rst"  # the same, by a reset
TRUNCATE = "truncate"  # it ends in the middle of a packet
SWALLOW = "swallow"  # a packet is lost and the connection is reset
HALF_OPEN = "half open"  # nothing passes in this direction any more; after a while, a reset
CLONE = "clone"  # what the client has sent is sent again, on another connection

STREAM = (STALL, DELAY, SLOW, FIN, RST, TRUNCATE, SWALLOW, HALF_OPEN, CLONE)
ENDS = frozenset((FIN, RST, TRUNCATE, SWALLOW, HALF_OPEN))

DROP = "drop"  # QoS 0
REPEAT = "repeat"  # QoS 0 as it is; QoS 1 with DUP
SWAP = "swap"  # QoS 0: behind the packet that follows
LATE = "late"  # QoS 0: some time later

MESSAGE = (DROP, REPEAT, SWAP, LATE)


@dataclass(frozen=True, slots=True)
class Fault:
    """Strikes the packet with which this direction passes `at` bytes."""

    kind: str
    at: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Mix:
    """How often what happens.

    `stream`: weight of each kind, by name; `every_bytes`: how much passes between two of them, on
    the average. `message`: the chance of each kind, for every PUBLISH.
    """

    stream: Mapping[str, float] = field(default_factory=dict)
    every_bytes: float = 4000.0
    message: Mapping[str, float] = field(default_factory=dict)

    def plan(self, chance: random.Random) -> Iterator[Fault]:
        """The faults of one direction of one connection, in order; none behind its end."""
        kinds, weights = list(self.stream), list(self.stream.values())
        at = 0
        while kinds and sum(weights):
            at += 1 + int(chance.expovariate(1 / self.every_bytes))
            kind = chance.choices(kinds, weights)[0]
            yield Fault(kind, at, chance.uniform(*_SECONDS.get(kind, (0.0, 0.0))))
            if kind in ENDS:
                return

    def of_message(self, chance: random.Random, qos: int) -> str | None:
        """What becomes of one PUBLISH."""
        draw = chance.random()
        for kind, share in self.message.items():
            draw -= share
            if draw < 0:
                return kind if qos == 0 or kind == REPEAT else None
        return None


_SECONDS = {STALL: (0.2, 2.0), DELAY: (0.02, 0.2), HALF_OPEN: (2.0, 6.0), CLONE: (0.1, 0.5)}

CALM = Mix()
DEVICE = Mix(
    {
        **{STALL: 3, DELAY: 3, SLOW: 3, FIN: 2, RST: 2, TRUNCATE: 2},
        **{SWALLOW: 2, HALF_OPEN: 1, CLONE: 1},
    },
    every_bytes=12000,
    message={DROP: 0.04, REPEAT: 0.04, SWAP: 0.03, LATE: 0.03},
)
GATEWAY = Mix(
    {STALL: 3, DELAY: 3, SLOW: 3, FIN: 1, RST: 1, TRUNCATE: 1, SWALLOW: 1, HALF_OPEN: 1},
    every_bytes=60000,
    message={DROP: 0.02, REPEAT: 0.03, SWAP: 0.02, LATE: 0.02},
)
ASKER = Mix(
    {STALL: 3, DELAY: 3, FIN: 1, RST: 1, TRUNCATE: 1, SWALLOW: 1},
    every_bytes=40000,
    message={REPEAT: 0.03},
)
