"""A device on a small chip: limits that are soon reached, and an honest gateway."""

import json
from functools import lru_cache
from typing import Any

from chip import Chip
from gateway import TEXT, Gateway, Line
from helpers import KEY, Bench, Random
from mote import records as r
from mote.gate import Refused
from mote.link import Link
from mote.lookup import GONE
from mote.segments import Lost, chain
from mote.turn import CALL, STOP, Limits
from mote_ports.answers import HOW, Answer

RECORD_BYTES = 512
_PACKET = 1500
_ROUNDS = 400
_REPLY = TEXT[:400]


def limits() -> Any:
    """Small limits: a script of a few steps reaches them."""
    chosen = Limits()
    small = {"open_turns": 3, "steps": 3, "calls": 4, "reply_bytes": 512, "ask_bytes": 128}
    small |= {"result_bytes": 128, "part_bytes": 128, "seen_asks": 4, "sessions": 3, "facts": 2}
    for name, value in small.items():
        setattr(chosen, name, value)
    return chosen


class Device(Bench):  # type: ignore[misc] # the portable tests carry no annotations
    """A bench whose answers leave it as the bytes that the ports make of them."""

    def settle(self, acknowledge: bool = True) -> None:
        """Perform effects until none is due."""
        agent = self.agent
        effect = agent.next_effect()
        while effect:
            if effect[0] == CALL:
                self._call(*effect[1:])
            elif effect[0] == STOP:
                agent.result(effect[1], r.STOPPED, "stopped")
            else:
                self.published.append((effect[1:], _answer(agent.answer(*effect[1:]))))
                if acknowledge:
                    agent.sent(effect[1])
            effect = agent.next_effect()


def _answer(fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """(session, id, how, text) of what goes to `out`."""
    payload = Answer(*fields)
    try:
        size = payload.measure(_PACKET)
    except Lost:
        payload = Answer(*fields[:2], r.FAILED, GONE)
        size = payload.measure(_PACKET)
    data = b"".join(bytes(piece) for piece in payload.pieces())
    assert len(data) == size <= _PACKET, "another size than was measured"
    said = json.loads(data)
    return said["session"], said["id"], HOW.index(said["status"]), said["text"]


def booted(chip: Any, now_ms: int = 1000) -> Any:
    """The next life of the device on that chip."""
    return Device(chip, now_ms=now_ms, limits=limits(), record_bytes=RECORD_BYTES)


@lru_cache
def used_chip() -> Any:
    """A chip with a log: one turn that is over, one that waits for its reply."""
    chip = Chip(1, 4, 12288)
    bench = booted(chip)
    first = bench.turn(bench.ask("what is the moisture?", "main", "a1"))
    bench.settle()
    bench.reply(first, [("look", {"n": 1})])
    bench.settle()
    bench.reply(first, [], "dry")
    bench.settle()
    bench.ask("and now?", "main", "a2")
    bench.settle()
    bench.log.sync()
    return chip


class Honest(Gateway):  # type: ignore[misc] # the portable tests carry no annotations
    """A gateway that holds all of the log, and answers each request with the same text."""

    frames: list[Any]
    hello: Any

    def hold(self, log: Any) -> None:
        """Take over what is in the log."""
        first = log.oldest()
        h = log.hash_at(first - 1)
        self.frames, self.hashes = [None] * (first - 1), [None] * (first - 1) + [h]
        for seq in range(first, log.seq + 1):
            frame = bytes(log.frame(seq))
            h = chain(h, frame)
            self.frames.append(frame)
            self.hashes.append(h)
        assert h == log.head, "the chain does not hold"
        self.hello = self.hello or (0,)
        self.out.clear()

    def _fits(self, first: int, before: bytes) -> bool:
        return first > 0 and bool(super()._fits(first, before))  # as `uplink` refuses it

    def choose(self) -> Any:
        return (_REPLY, 0, 1)


def joined(bench: Any, random: Any = None) -> Any:
    """A Line from the device to an honest gateway; not connected yet."""
    gateway = Honest()
    gateway.hold(bench.log)
    link = Link(bench.agent, KEY, random or Random(3).bytes)
    return Line(bench, link, gateway, Random(1))


def good_turn(line: Any, name: str) -> None:
    """The device is as good as ever: it takes an ask, and answers it. Connects the line."""
    bench = line.bench
    line.gateway.hold(bench.log)
    line.link.lost()
    line.link.connected(bench.now_ms)
    seq = 0
    for _ in range(_ROUNDS):
        line.step()
        assert line.link.trouble is None, line.link.trouble
        if seq and bench.agent.state.turn(seq) is None:
            break
        if not seq:
            seq = _ask(bench, name)
            if seq:
                continue
        due = [t for t in (line.link.deadline(), bench.agent.deadline()) if t is not None]
        # nothing due: the hour's ration of asks is used up
        bench.now_ms = max(bench.now_ms + 1, min(due)) if due else bench.now_ms + 60000
        bench.agent.tick(bench.now_ms)
    told = [how for (asked, _), (_, _, how, _) in bench.published if asked == seq]
    assert told == [0], f"a good turn ends with {told}"


def _ask(bench: Any, name: str) -> int:
    try:
        return int(bench.ask("still there?", "main", name))
    except Refused:
        return 0
