"""Uploads that refer to what the gateway sent, instead of sending it back."""

from gateway import TEXT, deliver, drain, half_a_reply, line, replica_is_whole, texts, whole
from helpers import kept, opened, pack_reply
from mote import records as r
from mote import wire
from uploads import Uploads


def same_frames(made):
    """True if the gateway's copy is the log, byte for byte."""
    log = opened(made.bench.chip.copy(), 1024)
    frames = [(frame[2], bytes(frame[5:])) for frame in made.gateway.frames]
    return frames == kept(log) and made.gateway.hashes[-1] == log.head


def test_a_reply_does_not_go_back_up():
    for part in (64, 200, 512):
        made = line(whole(), part=part)
        made.until_quiet()
        up = Uploads(made)
        made.bench.ask("go", "s", "1")
        made.until_quiet()
        assert texts(made) == [(r.DONE, "done " * 300)]
        assert same_frames(made)
        assert made.gateway.whole == 0
        assert sum([len(message) for message in up.messages]) < 1100, part
        assert b"done done" not in b"".join(up.messages)


def test_a_reply_in_the_next_life_is_referred_to_as_well():
    made = half_a_reply()
    up = Uploads(made)
    made.link.connected(0)
    made.until_quiet()
    assert same_frames(made)
    assert b"done done" not in b"".join(up.messages)


def test_the_check_is_four_bytes_of_the_hash_behind_the_last_record():
    made = line(whole())
    made.until_quiet()
    up = Uploads(made)
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    referring = 0
    for n in range(len(up.messages)):
        _, first, before, frames, check, _ = up.fields(n)
        assert before == made.gateway.hashes[first - 1][: wire.SHORT]
        at, count, refers = 0, 0, False
        while at < len(frames):
            refers = refers or frames[at] == wire.REFERENCE
            if frames[at] == wire.REFERENCE:
                at += 10 if frames[at + 1] == r.PART else 8
            else:
                at += 5 + (frames[at] << 8 | frames[at + 1])
            count += 1
        last = made.gateway.hashes[first + count - 1]
        assert check == (last[:4] if refers else None)
        referring += refers
    assert referring >= 2


def forgetful(made):
    """Let the gateway lose the replies that it sent."""
    made.gateway.replies = dict.fromkeys(made.gateway.replies, (b"", 0, 0))


def lingered(made):
    """What goes up once a record has waited for company."""
    drain(made)
    made.bench.now_ms += 300
    return drain(made)


def received(made):
    """Take all of a reply, without sending anything of it."""
    made.bench.settle()
    drain(made)
    deliver(made)


def test_whole_sends_what_the_gateway_can_not_make():
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    made.bench.ask("go", "s", "1")
    received(made)
    forgetful(made)
    up = Uploads(made)
    made.until_quiet()
    assert texts(made) == [(r.DONE, "done " * 300)]
    assert made.gateway.whole >= 1
    assert same_frames(made)
    assert made.link.trouble is None
    assert b"done done" in b"".join(up.messages)


def test_records_behind_whole_are_referred_to_again():
    made = line([(TEXT, 0, 1), (TEXT, 0, 1)])
    made.until_quiet()
    made.bench.ask("go", "s", "1")
    received(made)
    forgetful(made)
    made.until_quiet()
    made.gateway.whole = 0
    up = Uploads(made)
    made.bench.ask("go", "s", "2")
    made.until_quiet()
    assert made.gateway.whole == 0
    assert b"done done" not in b"".join(up.messages)
    assert same_frames(made)


def test_a_wrong_check_is_no_fork():
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    made.bench.ask("go", "s", "1")
    received(made)
    other = pack_reply([], "none " * 300)
    made.gateway.replies = dict.fromkeys(made.gateway.replies, (other, 0, 1))
    made.until_quiet()
    assert made.gateway.whole == 1
    assert made.link.trouble is None
    assert same_frames(made)
    assert texts(made) == [(r.DONE, "done " * 300)]


def test_a_gateway_that_lost_its_store_gets_records_and_no_references():
    made = line([(TEXT, 0, 1)])
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    gateway = made.gateway
    del gateway.frames[:]
    del gateway.hashes[1:]
    gateway.replies.clear()
    made.link.connected(made.bench.now_ms)
    made.until_quiet()
    assert gateway.whole == 0, "nobody had to say so"
    assert same_frames(made)


def test_two_uploads_that_are_given_up_are_no_fork():
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    made.bench.ask("go", "s", "1")
    received(made)
    forgetful(made)
    made.bench.settle()
    assert wire.UPLOAD in lingered(made)
    down = made.gateway.out[:]
    made.gateway.out.clear()
    assert len(down) == 2  # TIP and WHOLE
    for message in down:
        made.link.receive(message, made.bench.now_ms)
    made.gateway.tip()  # a second gateway, or a broker, says both again
    made.gateway.send(wire.WHOLE, made.bench.log.seq)
    deliver(made)
    assert made.link.trouble is None
    message = bytes(made.link.poll(made.bench.now_ms))
    for again in down:
        made.link.receive(again, made.bench.now_ms)
    made.gateway.receive(message)  # it arrives late, and is answered
    deliver(made)
    assert made.link.trouble is None
    made.until_quiet()
    assert made.link.trouble is None
    assert same_frames(made)


def test_a_tip_for_an_upload_that_was_given_up_is_compared_with_the_log():
    made = line()
    made.until_quiet()
    made.bench.ask("go", "s", "")
    made.bench.agent.cancel("s")
    drain(made)
    made.bench.now_ms += 300
    message = bytes(made.link.poll(made.bench.now_ms))
    made.gateway.send(wire.WHOLE, made.bench.log.seq)
    deliver(made)
    made.gateway.receive(message)
    made.gateway.receive(message)
    deliver(made)
    assert made.link.trouble is None
    made.until_quiet()
    assert replica_is_whole(made)
