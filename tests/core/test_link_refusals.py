"""The link against what it must not believe: forgeries, repetitions, forks, nonsense."""

from chip import Chip
from gateway import (
    TEXT,
    Gateway,
    deliver,
    drain,
    line,
    replica_is_whole,
    waiting_line,
)
from helpers import KEY, Random, bench_tools, make_log
from mote import records as r
from mote import wire
from mote.agent import Agent
from mote.link import Link
from mote.turn import WAITING, Limits


def test_any_changed_byte_from_below_is_ignored():
    made, turn, held = waiting_line()
    before = made.bench.log.seq
    for message in held[:1] + held[-1:]:
        for at in range(len(message)):
            bad = bytearray(message)
            bad[at] ^= 0x04
            rejected = made.link.rejected
            made.link.receive(bad, made.bench.now_ms)
            assert made.link.rejected == rejected + 1
        for n in range(0, len(message), 7):
            made.link.receive(message[:n], made.bench.now_ms)
    assert made.bench.log.seq == before
    assert turn.state == WAITING
    for message in held:
        made.link.receive(message, made.bench.now_ms)
    assert turn.got == len(TEXT)


def test_a_message_said_twice_counts_once():
    made, turn, held = waiting_line()
    for message in held[:2]:
        made.link.receive(message, made.bench.now_ms)
    before = (made.bench.log.seq, turn.got, made.link.rejected)
    for message in held[:2]:
        made.link.receive(message, made.bench.now_ms)
    assert (made.bench.log.seq, turn.got, made.link.rejected) == (
        before[0],
        before[1],
        before[2] + 2,
    )


def test_messages_under_an_old_nonce_are_ignored():
    made, turn, held = waiting_line()
    made.link.lost()
    made.link.connected(made.bench.now_ms)
    drain(made)
    for message in held:
        made.link.receive(message, made.bench.now_ms)
    assert made.link.rejected == len(held)
    assert turn.got == 0


# no value; no fields; a kind that is a string; a reply without fields; no array; a tip of text
NONSENSE = (
    b"\xc1",
    b"\x90",
    b"\x92\x7e\xa0",
    b"\x92\x7f\x02",
    b"\xcc\x80",
    b"\x93\xcd\x01\x00\x01\xa0",
)


def test_authentic_nonsense_is_counted_and_nothing_else():
    made, turn, _ = waiting_line()
    before = made.bench.log.seq
    dn = wire.subkey(KEY, "dn")
    nonce = made.gateway.hello[1]
    for body in NONSENSE:
        made.link.receive(dn.sign(nonce, body) + body, made.bench.now_ms)
    assert made.link.rejected == len(NONSENSE)
    assert made.bench.log.seq == before
    assert turn.state == WAITING


def test_replies_to_requests_that_nobody_made_are_dropped():
    made, turn, _ = waiting_line()
    before = made.bench.log.seq
    for kind, rest in (
        (wire.REPLY, (0, b"x")),
        (wire.FAIL, ("no",)),
        (wire.BUSY, (5,)),
        (99, (1,)),
    ):
        made.gateway.send(kind, b"\x05" * 16, *rest)
    deliver(made)
    assert made.bench.log.seq == before
    assert made.link.rejected == 0
    assert turn.state == WAITING


def test_cancel_ends_a_session_before_it_expires():
    for session, late, ended in (("s", 0, 1), (None, 0, 1), ("other", 0, 0), ("s", 1, 0)):
        made, turn, _ = waiting_line()
        at = made.link._hello_ms
        made.gateway.send(wire.CANCEL, session, 60000)
        message = made.gateway.out.pop()
        made.link.receive(message, at + 60000 + late)
        assert turn.ending == (r.CANCEL if ended else 0), (session, late)


def test_a_gateway_that_holds_more_is_trouble():
    made = line()
    made.until_quiet()
    made.gateway.frames.append(b"")
    made.gateway.hashes.append(bytes(32))
    made.gateway.tip()
    deliver(made)
    assert made.link.trouble == "the gateway is ahead at record 2"
    assert drain(made) == [wire.POINTS]
    assert drain(made) == []
    assert made.link.deadline() == made.bench.now_ms + 60000
    made.gateway.frames.pop()
    made.gateway.hashes.pop()
    made.until_quiet()  # it says hello again, and all is well
    assert made.link.trouble is None
    assert replica_is_whole(made)


def test_a_replica_that_differs_is_trouble():
    made = line()
    made.until_quiet()
    for again in (False, True):  # at the tip that is known, and after a new hello
        other = line(chip=made.bench.chip.copy())
        other.gateway.hashes = [bytes(32), bytes(32)]
        other.gateway.frames = list(made.gateway.frames)
        if again:
            other.gateway.frames = []
        drain(other)
        deliver(other)
        assert "differs" in (other.link.trouble or ""), again


def test_declarations_are_sent_when_they_are_needed():
    made = line()
    made.until_quiet()
    tools = made.bench.agent.tools
    made.gateway.send(wire.TOOLS, b"\x00" * 16)
    made.step()
    assert made.gateway.declared == []
    made.gateway.send(wire.TOOLS, tools.hash)
    made.step()
    assert [bytes(tools.declaration(n)) for n in range(3)] == [d[3] for d in made.gateway.declared]
    assert [d[:3] for d in made.gateway.declared] == [(tools.hash, n, 3) for n in range(3)]


def test_a_message_up_is_signed_and_fits_its_buffer():
    made = line()
    message = bytes(made.link.poll(made.bench.now_ms))
    wire.body(wire.subkey(KEY, "up"), message)
    log = make_log(Chip(1, 4, 8192), 1024)
    agent = Agent(log, bench_tools([]), Limits())
    agent.open(0, b"12345678", [], "v")
    log.append(0x90, b"y" * 1024)
    link = Link(agent, KEY, Random(1).bytes)
    gateway = Gateway()
    link.connected(0)
    gateway.receive(link.poll(0))
    link.receive(gateway.out.pop(), 0)
    now = 0
    while len(gateway.frames) < 2:
        now += 500
        message = link.poll(now)
        if message is not None:
            gateway.receive(message)
            link.receive(gateway.out.pop(), now)
    assert gateway.hashes[-1] == log.head
