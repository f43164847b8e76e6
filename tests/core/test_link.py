"""The link against a gateway: upload, replies, loss of any kind, and timers."""

# slow on boards: test_loss_repetition_and_disorder_complete_every_turn

from gateway import (
    TEXT,
    deliver,
    drain,
    half_a_reply,
    line,
    replica_is_whole,
    texts,
    whole,
)
from helpers import KEY, Bench, Random
from mote import records as r
from mote import wire
from mote.link import Link
from mote.turn import WAITING


def test_a_tip_may_go_back_and_forth():
    made = line()
    made.until_quiet()
    made.bench.ask("go", "s", "")
    made.bench.agent.cancel("s")
    made.until_quiet()
    # a link that did not send the records itself
    made.link = Link(made.bench.agent, KEY, Random(4).bytes)
    made.link.connected(made.bench.now_ms)
    drain(made)
    deliver(made)
    gateway = made.gateway
    for held in (len(gateway.frames), 2, len(gateway.frames)):  # one gateway lags behind
        gateway.send(wire.TIP, held, gateway.hashes[held][:16], 1, 0)
        deliver(made)
        assert made.link.trouble is None, held


def test_nothing_is_said_before_a_connection():
    made = line()
    made.link.lost()
    assert made.link.poll(10**6) is None
    assert made.link.deadline() is None


def test_hello_tells_where_the_log_stands():
    made = line()
    assert drain(made) == [wire.HELLO]
    log = made.bench.log
    epoch, nonce, b, before, head, top, oldest = made.gateway.hello
    assert (epoch, len(nonce), b, head, oldest) == (1, 8, 0, 1, 1)
    assert before == log.hash_at(0)[:16]
    assert top == log.head[:16]
    assert made.link.poll(made.bench.now_ms) is None


def test_a_new_device_and_an_empty_gateway_agree():
    made = line()
    made.until_quiet()
    assert made.link.trouble is None
    assert replica_is_whole(made)
    assert made.gateway.seen == [wire.HELLO, wire.UPLOAD]


def test_a_connection_again_agrees_with_what_was_agreed():
    made = line()
    made.until_quiet()
    for _ in range(3):
        made.link.lost()
        made.link.connected(made.bench.now_ms)
        made.until_quiet()
        assert made.link.trouble is None
    assert made.gateway.seen == [wire.HELLO, wire.UPLOAD] + [wire.HELLO] * 3


def test_a_restarted_device_with_a_known_tip_reconnects_twice():
    made = line()
    made.until_quiet()
    b = Bench(made.bench.chip, now_ms=1)
    # the gateway got the new BOOT in a life of the connection that this link does not know
    made.link = Link(b.agent, KEY, Random(5).bytes)
    made.bench = b
    made.link.connected(1)
    made.until_quiet()
    second = Link(b.agent, KEY, Random(6).bytes)
    made.link = second
    for _ in range(2):
        second.connected(b.now_ms)
        made.until_quiet()
        assert second.trouble is None
    assert replica_is_whole(made)


def test_the_clock_comes_with_the_tip():
    made = line()
    assert made.link.unix_s(5) == 0
    made.until_quiet()
    at = made.bench.now_ms
    assert made.link.unix_s(at + 2500) - made.link.unix_s(at) in (2, 3)
    assert made.link.unix_s(at) >= 1700000000


def test_a_whole_turn():
    made = line(whole())
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert texts(made) == [(r.DONE, "done " * 300)]
    assert made.bench.runs == [("look", 1), ("pour", 2)]
    assert replica_is_whole(made)
    assert made.link.rejected == 0
    assert len(made.gateway.completes) == 2


def test_a_turn_without_loss_waits_for_nothing():
    made = line(whole())
    made.until_quiet()
    before = made.bench.now_ms
    made.bench.ask("go", "s", "1")
    made.step()
    assert texts(made) == [(r.DONE, "done " * 300)]
    assert made.bench.now_ms == before


def test_uploads_go_in_batches_that_fit_a_message():
    made = line()
    made.until_quiet()
    for n in range(4):
        made.bench.ask("x" * 700, f"s{n}", "")
        made.bench.agent.cancel(None)
        made.bench.settle()
    made.gateway.seen.clear()
    made.until_quiet()
    assert replica_is_whole(made)
    assert made.gateway.seen.count(wire.UPLOAD) >= 3
    assert made.gateway.refused == 0


def test_one_upload_is_in_flight():
    made = line([(TEXT, 0, 1), (TEXT, 0, 1)])
    drain(made)
    deliver(made)
    made.bench.ask("x" * 700, "s", "1")
    made.bench.ask("x" * 700, "t", "2")
    made.bench.settle()
    kinds = drain(made)
    assert kinds.count(wire.UPLOAD) == 1
    deliver(made)
    assert drain(made).count(wire.UPLOAD) == 1


def test_a_record_waits_a_little_for_company_and_a_request_does_not():
    made = line([(TEXT, 0, 1)])
    drain(made)
    deliver(made)
    assert drain(made) == []
    assert made.link.deadline() == made.bench.now_ms + 300
    made.bench.now_ms += 299
    assert drain(made) == []
    made.bench.ask("go", "s", "1")
    made.bench.settle()
    assert drain(made) == [wire.UPLOAD]
    assert len(made.gateway.completes) == 1  # the upload says that it is wanted


def test_nothing_is_sent_before_its_deadline():
    made = line(whole(), seed=3, percent=30)
    made.bench.ask("go", "s", "1")
    for _ in range(60):
        made.step()
        due = made.link.deadline()
        if due is None:
            break
        if due > made.bench.now_ms:
            made.bench.now_ms = due - 1
            assert made.link.poll(made.bench.now_ms) is None
        made.bench.now_ms = due
    assert texts(made) == [(r.DONE, "done " * 300)]


def test_loss_repetition_and_disorder_complete_every_turn():
    for seed in range(25):
        percent = 5 + seed % 4 * 10
        made = line(whole() + whole(), seed, percent, part=100)
        made.bench.ask("go", "s", "1")
        made.bench.ask("go", "s", "2")
        made.until_quiet()
        assert texts(made) == [(r.DONE, "done " * 300)] * 2, seed
        assert made.bench.runs == [("look", 1), ("pour", 2)] * 2, seed
        assert replica_is_whole(made), seed
        assert made.link.trouble is None, seed


def test_a_lost_part_is_asked_for_by_its_offset():
    made = line([(TEXT, 0, 1)], part=400)
    made.until_quiet()
    made.bench.ask("go", "s", "1")
    made.bench.settle()
    drain(made)
    del made.gateway.out[-2]  # the third of four parts
    deliver(made)
    assert drain(made)[-1] == wire.COMPLETE
    assert made.gateway.completes[-1][1] == 800
    deliver(made)
    made.bench.settle()
    assert texts(made) == [(r.DONE, "done " * 300)]


def test_a_reply_goes_on_in_the_next_life():
    made = half_a_reply()
    made.link.connected(0)
    made.until_quiet()
    assert texts(made) == [(r.DONE, "done " * 300)]
    assert made.gateway.completes[-1][1] == 800


def test_a_reply_that_is_not_its_digest_makes_a_new_request():
    made = line([(TEXT, 0, 1), (TEXT, 0, 1)])
    made.gateway.spoil = 1
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert texts(made) == [(r.DONE, "done " * 300)]
    idents = [ident for ident, _ in made.gateway.completes]
    assert len(idents) == 2
    assert idents[0] != idents[1]


def test_busy_is_obeyed():
    made = line([("busy", 7000), (TEXT, 0, 1)])
    made.until_quiet()
    made.bench.ask("go", "s", "1")
    made.step()
    asked = made.bench.now_ms
    assert len(made.gateway.completes) == 1
    made.bench.now_ms = asked + 6999
    made.step()
    assert len(made.gateway.completes) == 1
    made.bench.now_ms = asked + 7000
    made.step()
    assert len(made.gateway.completes) == 2
    assert texts(made) == [(r.DONE, "done " * 300)]


def test_fail_ends_the_turn():
    made = line([("fail", "no provider is set up")])
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert texts(made) == [(r.FAILED, "no provider is set up")]


def test_a_request_that_is_not_answered_is_repeated():
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    seq = made.bench.ask("go", "s", "1")
    made.bench.settle()
    drain(made)
    made.gateway.out.clear()
    # the upload's repetition comes first, then the request's
    made.bench.now_ms += 3000
    assert drain(made) == [wire.UPLOAD]
    del made.gateway.out[1:]  # the tip arrives, the reply does not
    deliver(made)
    assert made.bench.turn(seq).state == WAITING
    made.bench.now_ms += 5000
    assert drain(made)[0] == wire.COMPLETE


def test_uploads_are_repeated_less_and_less_often_then_hello():
    made = line()
    drain(made)
    deliver(made)
    made.bench.now_ms += 300
    times, kinds = [], []
    drain(made)
    drain(made)
    start = made.bench.now_ms
    made.bench.now_ms += 300
    kinds += drain(made)
    while wire.HELLO not in kinds:
        made.bench.now_ms = made.link.deadline()
        times.append(made.bench.now_ms - start)
        kinds += drain(made)
        made.gateway.out.clear()
    assert kinds.count(wire.UPLOAD) >= 3
    gaps = [times[i + 1] - times[i] for i in range(len(times) - 1)]
    assert gaps == sorted(gaps)
    assert gaps[-1] <= 30000


def test_hello_is_repeated_until_it_is_answered():
    made = line()
    times = []
    for _ in range(8):
        made.bench.now_ms = made.link.deadline()
        assert drain(made) == [wire.HELLO]
        times.append(made.bench.now_ms)
    gaps = [times[i + 1] - times[i] for i in range(7)]
    assert gaps == [1000, 2000, 4000, 8000, 16000, 30000, 30000]
    nonce = made.gateway.hello[1]
    made.link.connected(made.bench.now_ms)
    drain(made)
    assert made.gateway.hello[1] != nonce
