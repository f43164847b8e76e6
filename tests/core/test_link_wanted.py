"""Replies that say what has arrived, and uploads that say which reply is wanted."""

from gateway import TEXT, deliver, drain, line, replica_is_whole, texts, waiting_line, whole
from mote import records as r
from mote import wire
from mote.turn import WAITING
from uploads import Uploads

# -- what a reply says


def test_a_reply_implies_the_tip():
    made = line(whole() + whole())
    made.until_quiet()
    made.gateway.tips = False
    made.gateway.seen.clear()
    for name in ("1", "2"):
        made.bench.ask("go", "s", name)
        made.step()
    assert texts(made) == [(r.DONE, "done " * 300)] * 2
    made.until_quiet()
    assert replica_is_whole(made)
    assert wire.HELLO not in made.gateway.seen
    assert wire.COMPLETE not in made.gateway.seen
    # a REQ, behind it the rest of the last step, and what came last of all
    assert made.gateway.seen.count(wire.UPLOAD) <= 6
    assert made.link.rejected == 0


def test_busy_and_fail_imply_the_tip_too():
    for said in (("busy", 60000), ("fail", "no")):
        made = line([said])
        made.until_quiet()
        made.gateway.tips = False
        made.bench.ask("go", "s", "1")
        made.bench.settle()
        drain(made)
        deliver(made)
        assert made.link._tip == len(made.gateway.frames), said


def test_the_next_upload_goes_on_behind_a_request_that_was_replied_to():
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    made.gateway.tips = False
    up = Uploads(made)
    made.bench.ask("go", "s", "1")
    made.step()
    held = len(made.gateway.frames)
    made.until_quiet()
    assert up.fields(1)[1] == held + 1
    assert made.gateway.refused == 0


def test_a_reply_to_an_older_request_implies_nothing_about_a_newer_upload():
    made, turn, held = waiting_line()
    made.link.receive(held[0], made.bench.now_ms)  # the tip
    made.bench.agent.remember("moss", "wet")
    drain(made)
    made.bench.now_ms += 300
    message = made.link.poll(made.bench.now_ms)
    assert message is not None  # and it is lost
    for message in held[1:]:
        made.link.receive(message, made.bench.now_ms)
    assert turn.got == len(TEXT)
    made.until_quiet()
    assert replica_is_whole(made)
    assert made.gateway.refused == 0


def test_without_a_tip_the_reply_is_waited_for_three_seconds():
    made, _, _ = waiting_line()
    assert made.link.deadline() == made.bench.now_ms + 3000


# -- what is wanted


def test_an_upload_says_which_reply_is_wanted():
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    up = Uploads(made)
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert wire.COMPLETE not in made.gateway.seen
    wanted = [up.fields(n)[5] for n in range(len(up.messages))]
    requests = [n + 1 for n, frame in enumerate(made.gateway.frames) if frame[2] == r.REQ]
    assert wanted == requests + [None] * (len(wanted) - 1)
    assert [offset for _, offset in made.gateway.completes] == [0]


def test_a_reply_that_has_begun_is_not_wanted_from_its_first_byte():
    made, turn, held = waiting_line()
    for message in held[:2]:
        made.link.receive(message, made.bench.now_ms)
    del made.gateway.frames[turn.req - 1 :]  # a backup of the gateway's store was restored
    del made.gateway.hashes[turn.req :]
    made.gateway.completes.clear()
    made.gateway.choose = lambda: (TEXT, 0, 1)
    made.link.connected(made.bench.now_ms)
    made.until_quiet()
    assert made.gateway.completes == [(turn.id, 512)]
    assert texts(made) == [(r.DONE, "done " * 300)]


def test_the_request_is_repeated_with_the_bytes_that_are_here():
    made, turn, held = waiting_line()
    for message in held[:2]:
        made.link.receive(message, made.bench.now_ms)
    assert turn.state == WAITING
    assert turn.got == 512
    made.bench.now_ms += 4999
    assert wire.COMPLETE not in drain(made)
    made.bench.now_ms += 1
    assert wire.COMPLETE in drain(made)
    assert made.gateway.completes[-1] == (turn.id, 512)
