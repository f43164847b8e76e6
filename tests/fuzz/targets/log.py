"""Opening a log whose bytes somebody has made up: CRCs and MACs are right, the rest is not.

An input is a script that writes the segments of a chip: headers, frames, checkpoints' last frames
with their MAC, and raw bytes. Opened by the agent it gives LogError or UnknownRecord and nothing
else, and what opens can be written to and gives the same records again.
"""

import hashlib
import struct
from functools import lru_cache
from random import Random
from typing import Any
from zlib import crc32

import helpers
from chip import Chip
from mote import records as r
from mote import wire
from mote.gate import Refused
from mote.segments import HEADER, ITEMS, LAST, VERSION, LogError, Lost, genesis
from mote.state import UnknownRecord

from tests.fuzz import device, mutate, script
from tests.fuzz.script import Step
from tests.fuzz.target import Target, hold

_SEGMENTS, _SIZE = 4, 6144

# SEGMENT: first (4 bytes), chain hash (32), changes to the rest. FRAME: kind, sequence (2),
# payload. CLOSE: whether the MAC is right, sequence (2). RAW: bytes. SKIP: erased bytes (2).
SEGMENT, FRAME, CLOSE, RAW, SKIP = range(5)
_OPERATIONS = 5
_START = genesis(helpers.DEVICE)


class Log(Target):
    name = "log"
    sources = tuple(
        f"core/mote/{n}.py" for n in ("log", "recovery", "segments", "state", "turn", "index")
    )
    steps = 120

    def make(self, random: Random) -> bytes:
        steps = list(random.choice(_genuine()))
        for _ in range(random.choice((0, 1, 1, 2, 4))):
            at = random.randrange(len(steps))
            operation, body = steps[at]
            if operation == FRAME:
                steps[at] = FRAME, _frame(random, body)
            elif operation == SEGMENT and not random.randrange(4):
                steps[at] = SEGMENT, mutate.mutated(body, random)
        return script.pack(steps)

    def check(self, data: bytes) -> str:
        chip = Chip(1, _SEGMENTS, _SIZE)
        _write(chip, script.unpack(data, self.steps))
        try:
            bench = device.booted(chip, 1000)
        except (LogError, UnknownRecord) as exc:
            hold(0 < len(str(exc)) < 200, "an error without words")
            return f"{type(exc).__name__} {str(exc).partition(': ')[2][:30]}"
        return f"{_use(bench)} {' '.join(sorted(_notes(bench)))}"


def _notes(bench: Any) -> set[str]:
    assert all(len(note) < 200 for note in bench.log.notes)
    return {note.partition(": ")[2][:16] for note in bench.log.notes}


def _use(bench: Any) -> str:
    """What opened can be read, written to and opened again."""
    log, agent = bench.log, bench.agent
    for seq in range(max(log.oldest(), log.seq - 50), log.seq + 1):
        try:
            log.frame(seq)
        except Lost:
            continue
    said = "taken"
    try:
        bench.ask("still there?", "main", "new")
    except Refused as exc:
        said = str(exc)[:20]
    bench.settle()
    log.sync()
    again = device.booted(bench.chip.copy(), bench.now_ms)
    assert again.log.seq >= log.seq + 1, "records are lost"
    assert [turn.seq for turn in again.agent.turns] == [turn.seq for turn in agent.turns]
    return said


# -- from a script to the bytes


def _write(chip: Any, steps: list[Step]) -> None:
    """Lay the segments of a script onto the chip; what does not fit is left out."""
    segment = -1
    made = _Segment(b"")
    for operation, body in steps:
        kind = operation % _OPERATIONS
        if kind == SEGMENT or segment < 0:
            _lay(chip, segment, made)
            segment += 1
            if segment == _SEGMENTS:
                return
            made = _Segment(body)
        elif kind == FRAME:
            made.frame(body[0] if body else 0, int.from_bytes(body[1:3], "big"), body[3:])
        elif kind == CLOSE:
            made.close(body)
        elif kind == RAW:
            made.data += body
        else:
            made.data += b"\xff" * (int.from_bytes(body[:2], "big") % 600)
    _lay(chip, segment, made)


def _lay(chip: Any, segment: int, made: "_Segment") -> None:
    if segment >= 0:
        data = made.data[:_SIZE]
        chip.cells[segment][: len(data)] = data


class _Segment:
    """A segment that is being written. `body` is that of a SEGMENT step."""

    def __init__(self, body: bytes) -> None:
        first = int.from_bytes(body[:4], "big")
        h = body[4:36].ljust(32, b"\0") if len(body) > 4 else _START
        head = bytearray(struct.pack(">4sBBHI", b"mote", VERSION, 0, 0, first) + h)
        for at, change in zip(body[36::2], body[37::2], strict=False):
            head[at % len(head)] ^= change
        self._sign = wire.subkey(helpers.KEY, "log").sign
        head += self._sign(bytes(head))
        head += struct.pack(">I", crc32(head))
        self._seed = crc32(head[:60])
        self._signed = bytes(head)  # what the checkpoint's MAC covers
        self.data = bytes(head)

    def frame(self, kind: int, seq: int, payload: bytes) -> bytes:
        """Add a frame with the right CRC; returns it without."""
        plain = struct.pack(">HBH", len(payload) & 0xFFFF, kind, seq) + payload
        self.data += plain + struct.pack(">I", crc32(plain, self._seed))
        if kind == ITEMS:
            self._signed += plain
        return plain

    def close(self, body: bytes) -> None:
        """Add the last frame of a checkpoint."""
        mac = self._sign(hashlib.sha256(self._signed).digest())
        if body[:1] not in (b"", b"\1"):
            mac = body[3:19]
        self.frame(LAST, int.from_bytes(body[1:3], "big"), b"\x91" + mutate.packed(mac))


# -- genuine logs as scripts


@lru_cache
def _genuine() -> list[list[Step]]:
    """Logs that devices really write, of different ages."""
    found = []
    for turns in (1, 3, 12):
        chip = Chip(1, _SEGMENTS, _SIZE)
        bench = device.booted(chip)
        for n in range(turns):
            _turn(bench, n)
        bench.log.sync()
        found.append(_script_of(chip))
    return found


def _turn(bench: Any, n: int) -> None:
    bench.now_ms += 60000
    try:
        turn = bench.turn(bench.ask("what is the moisture?", f"s{n % 4}", f"a{n}"))
    except Refused:
        return
    bench.agent.remember(f"k{n % 2}", "v" * 20)
    bench.settle(acknowledge=False)
    bench.log.acked = bench.log.synced
    bench.reply(turn, [("look", {"n": 1}), ("pour", {"n": 2})])
    if n % 3 == 2:
        bench.agent.cancel(None)
    bench.settle(acknowledge=False)
    if turn.state == 1:
        bench.reply(turn, [], "dry " * 20)
    bench.settle(acknowledge=n % 5 < 4)
    if n % 5 == 0:
        bench.agent.publish_again()
        bench.settle()


def _script_of(chip: Any) -> list[Step]:
    """The script that writes what is on a chip, but for the seeds of CRCs within a sync."""
    steps: list[Step] = []
    for cells in chip.cells:
        data = bytes(cells)
        if data[:4] != b"mote":
            continue
        steps.append((SEGMENT, data[8:44]))
        at = HEADER
        while at + 9 <= len(data) and data[at] != 0xFF:
            length, kind, seq = struct.unpack_from(">HBH", data, at)
            payload = data[at + 5 : at + 5 + length]
            if kind == LAST:
                steps.append((CLOSE, b"\1" + struct.pack(">H", seq)))
            else:
                steps.append((FRAME, struct.pack(">BH", kind, seq) + payload))
            at += 9 + length
    return steps


def _frame(random: Random, body: bytes) -> bytes:
    """A frame with another payload, kind or number."""
    kind, seq, payload = body[0], body[1:3], body[3:]
    choice = random.randrange(6)
    if choice == 0:
        kind = random.choice((*range(1, 18), ITEMS, LAST, r.REFUSED, random.randrange(256)))
    elif choice == 1:
        seq = struct.pack(
            ">H", (int.from_bytes(seq, "big") + random.choice((-1, 1, 2, 9))) & 0xFFFF
        )
    elif choice == 2:
        payload = mutate.packed(mutate.value(random), random)
    elif choice == 3:
        payload = mutate.packed(
            [mutate.value(random, 2) for _ in range(random.randrange(7))], random
        )
    else:
        payload = mutate.mutated(payload, random)
    return bytes([kind]) + seq + payload


def make_target() -> Target:
    """The target."""
    return Log()
