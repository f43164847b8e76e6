"""Messages from the gateway that come in another order, again, or too late."""

from gateway import TEXT, deliver, drain, line, replica_is_whole, texts, waiting_line
from helpers import KEY
from mote import records as r
from mote import wire
from mote.msgpack import Packer

WINDOW = 16


def signed(made, counter, kind, *fields):
    """A `dn` message with a counter of the test's choice."""
    p = Packer(bytearray(2048)).array(2 + len(fields)).int(counter).int(kind)
    for field in fields:
        p.value(field)
    body = bytes(p.taken())
    return wire.subkey(KEY, "dn").sign(made.gateway.hello[1], body) + body


def busy(made, counter, ms=1):
    """A message that changes nothing but when `turn` asks again, to any request."""
    return signed(made, counter, wire.BUSY, b"\x05" * 16, ms)


def take(made, *counters):
    """For each of these messages, True if it was taken."""
    found = []
    for counter in counters:
        before = made.link.rejected
        made.link.receive(busy(made, counter), made.bench.now_ms)
        found.append(made.link.rejected == before)
    return found


def greeted():
    """A line whose device has said hello, and nothing came down."""
    made = line()
    drain(made)
    made.gateway.out.clear()
    return made


def test_each_is_taken_once_in_any_order_within_the_window():
    for step in (1, 3, 5, 7, 9, 11, 13, 15):  # each of them gives all of 16, in another order
        made = greeted()
        order = [100 + n * step % WINDOW for n in range(WINDOW)]
        assert take(made, *order) == [True] * WINDOW, step
        assert take(made, *order) == [False] * WINDOW, step
        assert take(made, 116, 116, 115) == [True, False, False], step


def test_what_is_too_old_is_refused():
    made = greeted()
    assert take(made, 100, 100 - WINDOW, 101 - WINDOW) == [True, False, True]
    assert take(made, 101, 101 - WINDOW, 102 - WINDOW) == [True, False, True]
    assert take(made, 500, 485, 484, 101) == [True, True, False, False]


def test_the_window_moves_with_the_newest_and_forgets_nothing_in_it():
    made = greeted()
    assert take(made, 20, 18, 16) == [True] * 3
    assert take(made, 23) == [True]
    assert take(made, *range(8, 24)) == [n not in (16, 18, 20, 23) for n in range(8, 24)]
    assert take(made, 1000) == [True]
    assert take(made, *range(985, 1001)) == [True] * 15 + [False]


def test_a_leap_of_the_whole_window_forgets_all():
    for leap in (15, 16, 17, 31, 1 << 20):
        made = greeted()
        top = 50 + leap
        assert take(made, 50, top) == [True, True]
        assert take(made, *range(top - 15, top)) == [n != 50 for n in range(top - 15, top)], leap


def test_counters_that_are_not_positive_are_refused():
    made = greeted()
    assert take(made, 0, -1, -16, 1, 0, -1) == [False, False, False, True, False, False]
    assert take(made, 5, 0, -3, 2) == [True, False, False, True]


def test_counters_begin_anew_with_the_nonce():
    made = greeted()
    assert take(made, 7, 7) == [True, False]
    made.link.connected(made.bench.now_ms)
    drain(made)
    made.gateway.out.clear()
    assert take(made, 7, 6, 7) == [True, True, False]


def test_parts_of_a_reply_that_are_swapped_are_asked_for():
    made, turn, held = waiting_line()
    tip, first, second = held[0], held[1], held[2]
    for message in (tip, second, first):
        made.link.receive(message, made.bench.now_ms)
    assert made.link.rejected == 0
    assert turn.got == 512, "the second came too early, the first was taken"
    made.until_quiet()
    assert texts(made) == [(r.DONE, "done " * 300)]
    assert replica_is_whole(made)


def test_a_reply_that_comes_before_its_tip_counts():
    made, turn, held = waiting_line()
    for message in held[1:] + held[:1]:
        made.link.receive(message, made.bench.now_ms)
    assert turn.got == len(TEXT)
    assert made.link.rejected == 0
    made.until_quiet()
    assert replica_is_whole(made)
    assert len(made.gateway.completes) == 1


def test_an_older_tip_behind_a_newer_one_changes_nothing():
    made = line()
    made.until_quiet()
    gateway = made.gateway
    gateway.send(wire.TIP, 0, gateway.hashes[0][:16], 1, 5)
    old = gateway.out.pop()
    made.bench.agent.remember("moss", "wet")
    made.until_quiet()
    gateway.tip()
    deliver(made)
    tip, clock = made.link._tip, made.link.unix_s(made.bench.now_ms)
    assert tip == made.bench.log.seq
    rejected = made.link.rejected
    made.link.receive(old, made.bench.now_ms)
    assert made.link._tip == tip
    assert made.link.unix_s(made.bench.now_ms) == clock
    assert made.link.rejected == rejected
    assert drain(made) == []
    assert made.link.deadline() is None


def test_an_older_tip_does_not_bring_trouble_nor_end_it():
    made = line()
    made.until_quiet()
    gateway = made.gateway
    gateway.send(wire.TIP, 1, b"x" * 16, 1, 0)
    wrong = gateway.out.pop()
    gateway.send(wire.TIP, 1, gateway.hashes[1][:16], 1, 0)
    right = gateway.out.pop()
    made.link.receive(right, made.bench.now_ms)
    made.link.receive(wrong, made.bench.now_ms)
    assert made.link.trouble is None
    made = line()
    made.until_quiet()
    gateway = made.gateway
    gateway.send(wire.TIP, 1, gateway.hashes[1][:16], 1, 0)
    right = gateway.out.pop()
    gateway.send(wire.TIP, 1, b"y" * 16, 1, 0)
    worse = gateway.out.pop()
    made.link.receive(worse, made.bench.now_ms)
    made.link.receive(right, made.bench.now_ms)
    assert "differs" in made.link.trouble


def test_a_cancel_that_comes_late_counts_once():
    made, turn, _ = waiting_line()
    made.gateway.send(wire.CANCEL, "s", 60000)
    cancel = made.gateway.out.pop()
    made.gateway.tip()
    made.link.receive(made.gateway.out.pop(), made.bench.now_ms)
    made.link.receive(cancel, made.bench.now_ms)
    assert turn.ending == r.CANCEL
    before = made.bench.log.seq
    made.link.receive(cancel, made.bench.now_ms)
    assert made.bench.log.seq == before
