"""What a hello means for a replica, where messages overtook each other."""

from dataclasses import replace

import pytest
from fake_device import fields_of, kinds
from mote_host.hellos import Judgement, Life, Meaning, judge
from mote_host.providers.base import Reply
from mote_host.store import Device
from mote_host.uplink import Hello

NONCE, OTHER = b"n" * 8, b"o" * 8


def h(seq, log="log"):
    return f"{log} {seq}".encode().ljust(32, b".")


def device(tip):
    known = dict.fromkeys(Device.__slots__) | {"name": "fern"}
    return Device(**known | {"epoch": 9, "tip": tip, "nonce": NONCE, "hellos": 1})


def hello(head, nonce=NONCE, log="log"):
    ids = h(3)[:16], h(4)[:16]
    return Hello(9, nonce, 3, *ids, 2, head, h(head, log)[:16], 1, 512)


def meaning(message, tip):
    def hashes_at(seq):
        return [h(seq)] if seq <= tip else []

    return judge(message, device(tip), Life(1, True), hashes_at)


@pytest.mark.parametrize(
    ("message", "tip", "due"),
    [
        (hello(6), 6, Meaning.SAME),
        (hello(7), 6, Meaning.SAME),
        (hello(6), 7, Meaning.OLD),  # the upload of record 7 overtook it
        (hello(6, nonce=OTHER), 7, Meaning.FORK),  # a connection that the replica knows nothing of
        (hello(6, log="other"), 7, Meaning.FORK),
        (hello(7, log="other"), 7, Meaning.FORK),
    ],
)
def test_the_newest_record_of_the_same_life(message, tip, due):
    assert meaning(message, tip) == Judgement(due, 0 if due == Meaning.SAME else message.head)


@pytest.mark.parametrize(
    ("head", "tip", "before", "boot", "due"),
    [
        (6, 6, 6, OTHER, Meaning.OLD),  # its log went on with the life that was heard last
        (7, 6, 8, OTHER, Meaning.OLD),
        (8, 6, 8, OTHER, Meaning.OLD),
        (9, 6, 8, OTHER, Meaning.SAME),  # it has no BOOT at 9; which one the replica has is open
        (9, 8, 6, h(7)[:16], Meaning.FORK),
        (9, 8, 6, OTHER, Meaning.SAME),  # the replica has no BOOT at 7
        (9, 8, None, None, Meaning.OLD),
    ],
)
def test_a_life_before_the_one_that_was_heard_last(head, tip, before, boot, due):
    def hashes_at(seq):
        return [h(seq)] if seq <= tip else []

    late = replace(hello(head), epoch=8)
    known = replace(device(tip), before=before, boot=boot)
    found = judge(late, known, Life(1, True), hashes_at)
    assert found == Judgement(due, 7 if due == Meaning.FORK else 0)


async def test_a_hello_that_uploads_overtook_is_no_fork_and_no_counter_comes_twice(bench, fern):
    bench.provider.script = [Reply("one")]
    (first,) = fern.outgoing()
    fern.now_ms = fern.link.deadline()
    (second,) = fern.outgoing()
    await bench.service.receive("fern", first)
    await bench.turn(fern, "hello")
    await bench.sync(fern)
    before = bench.store.device("fern")
    assert (before.hellos, before.counter) > (1, 2)
    await bench.service.receive("fern", second)
    assert kinds(bench.inbox) == []
    assert bench.service.dropped["old hello"] == 1
    assert bench.store.device("fern") == before


async def test_what_is_sent_to_the_nonce_of_the_store_has_a_counter_of_the_store(bench, fern):
    (first,) = fern.outgoing()
    await bench.service.receive("fern", first)
    used, bench.inbox[:] = bench.store.device("fern").counter, []
    with bench.store.transaction() as db:  # the log becomes another one under this connection
        db.execute("UPDATE devices SET tip_hash = zeroblob(32)")
    fern.now_ms = fern.link.deadline()
    for message in fern.outgoing():
        await bench.service.receive("fern", message)
    assert bench.store.device("fern").alarm.startswith("fork")
    assert [fields[0] for fields in fields_of(bench.inbox)] == [used + 1]
