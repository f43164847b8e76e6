"""What is kept of an upload, and what a hello means, over logs that the real core wrote."""

import random
from dataclasses import replace

import pytest
from mote.msgpack import FormatError
from mote_host.audit import verify_replica
from mote_host.branches import Branches
from mote_host.hellos import Meaning
from mote_host.replica import Replica
from mote_host.store import Store
from mote_host.uplink import Missing
from source import Source


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "gateway.db")
    yield store
    store.close()


@pytest.fixture
def replica(store):
    return Replica(store)


def held(store):
    return [x.hash for x in store.records("fern")]


def test_a_whole_log(store, replica):
    source = Source()
    out = replica.upload("fern", source.upload(1, source.last), 5)
    assert (out.device.tip, out.device.tip_hash) == (source.last, source.hashes[-1])
    assert out.device.seen_at == 5
    assert list(out.new) == store.records("fern")
    assert held(store) == source.hashes[1:]


def test_turn_and_session_are_derived(store, replica):
    source = Source()
    for n in range(1, source.last + 1):  # one by one: what a record names is in the store
        replica.upload("fern", source.upload(n, n), 0)
    one_by_one = store.records("fern")
    assert [(x.name, x.turn, x.session) for x in one_by_one[:9]] == [
        ("BOOT", None, None),
        ("ASK", 2, "main"),
        ("REQ", 2, "main"),
        ("PART", 2, "main"),
        ("REPLY_END", 2, "main"),
        ("START", 2, "main"),
        ("RESULT", 2, "main"),
        ("REQ", 2, "main"),
        ("BOOT", None, None),
    ]
    assert {(x.turn, x.session) for x in one_by_one if x.name == "FAIL"} == {(2, "main")}
    store.forget("fern")
    assert list(replica.upload("fern", source.upload(1, source.last), 0).new) == one_by_one


def test_uploads_in_any_order_and_any_overlap_give_the_same_replica(store, replica):
    source = Source()
    for seed in range(20):
        store.forget("fern")
        rng = random.Random(seed)
        seen = []
        for _ in range(400):
            first = rng.randint(1, source.last)
            last = min(source.last, first + rng.randint(0, 4))
            out = replica.upload("fern", source.upload(first, last), 0)
            seen += [x.seq for x in out.new]
            assert out.alarm is None
            assert out.device.tip_hash == source.hashes[out.device.tip]
        assert seen == list(range(1, source.last + 1)), f"seed {seed}"


def test_a_gap_stores_nothing(store, replica):
    source = Source()
    replica.upload("fern", source.upload(1, 2), 0)
    out = replica.upload("fern", source.upload(4, 6), 0)
    assert (out.device.tip, out.new, out.alarm) == (2, (), None)


@pytest.mark.parametrize(("first", "last", "fork"), [(4, 6, 3), (6, 9, 5), (2, 9, 2), (1, 4, 2)])
def test_a_fork_stores_nothing_and_alarms_once(store, replica, first, last, fork):
    source, other = Source(), Source(text="WATER it", seed=1)
    replica.upload("fern", source.upload(1, 5), 0)
    before = held(store)
    out = replica.upload("fern", other.upload(first, last), 0)
    assert (out.alarm, out.new) == (f"fork at record {fork}", ())
    assert (out.device.tip, held(store)) == (5, before)
    assert replica.upload("fern", other.upload(first, last), 0).alarm is None
    assert store.device("fern").alarm == f"fork at record {fork}"
    assert replica.upload("fern", source.upload(6, 7), 0).device.tip == 7


def test_every_changed_byte_is_found(store, replica):
    source = Source()
    replica.upload("fern", source.upload(1, 4), 0)
    good = source.upload(3, 7)
    known = len(b"".join(source.frames[3:5]))
    for at in range(known):
        edited = bytearray(good.frames)
        edited[at] ^= 0x01
        try:
            out = replica.upload("fern", replace(good, frames=bytes(edited)), 0)
        except FormatError:
            continue
        assert out.new == ()
        assert out.alarm or store.device("fern").alarm
    assert store.device("fern").tip == 4


@pytest.mark.parametrize("edit", ["cut", "number", "payload", "newer"])
def test_a_malformed_upload_stores_nothing_of_it(store, replica, edit):
    source = Source()
    good = source.upload(1, 4)
    data = bytearray(good.frames)
    last = len(data) - len(source.frames[4])
    if edit == "cut":
        del data[-1]
    elif edit == "number":
        data[last + 4] ^= 1
    elif edit == "payload":
        data[last + 5] = 0xC0
    else:
        data[last + 2] = 0x7F
    with pytest.raises(FormatError):
        replica.upload("fern", replace(good, frames=bytes(data)), 0)
    assert store.device("fern") is None


# -- records that the device lacks


def lacks(source, first, last):
    return Missing(1, first, last, source.hashes[first - 1][:16], source.hashes[last])


def test_a_gap_moves_the_tip_and_records_go_on_behind_it(store, replica):
    source = Source()
    replica.upload("fern", source.upload(1, 4), 0)
    out = replica.missing("fern", lacks(source, 5, 9), 7)
    assert (out.device.tip, out.device.tip_hash) == (9, source.hashes[9])
    assert (out.device.alarm, out.device.seen_at) == (None, 7)
    assert str(out.gap).startswith("records 5 to 9 are missing")
    out = replica.upload("fern", source.upload(10, source.last), 8)
    assert (out.device.tip, out.device.tip_hash) == (source.last, source.hashes[-1])
    (gap,) = store.gaps("fern")
    assert (gap.first, gap.last, gap.after) == (5, 9, source.hashes[9])
    verdict = verify_replica(store, "fern")
    assert verdict.verified
    assert (verdict.records, verdict.last) == (source.last - 5, source.last)
    assert verdict.gaps == (gap,)


def test_a_gap_that_is_said_again_or_too_early_changes_nothing(store, replica):
    source = Source()
    replica.upload("fern", source.upload(1, 4), 0)
    for first in (3, 6):  # what is there already, and what is not due yet
        out = replica.missing("fern", lacks(source, first, 9), 0)
        assert (out.device.tip, out.gap, out.alarm) == (4, None, None)
    replica.missing("fern", lacks(source, 5, 9), 0)
    assert replica.missing("fern", lacks(source, 5, 9), 0).gap is None
    assert replica.missing("fern", lacks(source, 5, 7), 0).device.tip == 9
    assert len(store.gaps("fern")) == 1


def test_a_gap_behind_another_hash_is_a_fork(store, replica):
    source, other = Source(), Source(text="WATER it")
    replica.upload("fern", source.upload(1, 4), 0)
    out = replica.missing("fern", lacks(other, 5, 9), 0)
    assert (out.device.tip, out.gap, out.alarm) == (4, None, "fork at record 4")


def test_old_uploads_and_hellos_about_a_gap(store, replica):
    source, other = Source(), Source(text="WATER it")
    replica.upload("fern", source.upload(1, 4), 0)
    replica.missing("fern", lacks(source, 5, 9), 0)
    for first, last in ((3, 6), (6, 8), (7, 11)):  # on their way before; not known any more
        out = replica.upload("fern", source.upload(first, last), 0)
        assert (out.device.tip, out.new, out.alarm) == (9, (), None), first
    alarm = replica.hello("fern", other.hello(9, 12, epoch=3, nonce=b"x" * 8), 0).alarm
    assert alarm == "fork at or before record 9"
    store.clear_alarm("fern")
    out = replica.upload("fern", source.upload(8, 11), 0)
    assert (out.device.tip, out.alarm) == (9, None)
    assert replica.upload("fern", source.upload(10, 11), 0).device.tip == 11


def test_a_replica_with_records_removed_is_not_verified(store, replica):
    source = Source()
    replica.upload("fern", source.upload(1, source.last), 0)
    with store.transaction() as db:
        db.execute("DELETE FROM records WHERE seq BETWEEN 4 AND 6")
    verdict = verify_replica(store, "fern")
    assert verdict.why == "records 4 to 6 are missing: nothing tells why"
    with store.transaction() as db:  # and a gap that nobody told of does not hide it
        db.execute(
            "INSERT INTO gaps VALUES ('fern', 4, 6, ?, ?, 0)", (bytes(16), source.hashes[6])
        )
    assert "records 4 to 6 are missing" in verify_replica(store, "fern").why


def test_a_gap_that_is_cut_short_is_not_verified(store, replica):
    source = Source()
    replica.upload("fern", source.upload(1, 4), 0)
    replica.missing("fern", lacks(source, 5, 9), 0)
    replica.upload("fern", source.upload(10, 12), 0)
    with store.transaction() as db:
        db.execute("UPDATE gaps SET last = 8")
    assert "record 9 is missing" in verify_replica(store, "fern").why


def test_hello_begins_a_nonce_once(store, replica):
    source = Source()
    replica.upload("fern", source.upload(1, 5), 0)
    out = replica.hello("fern", source.hello(5, 6, epoch=2), 1000)
    assert (out.alarm, out.meaning) == (None, Meaning.SAME)
    assert (out.device.epoch, out.device.hellos, out.device.nonce) == (2, 1, b"n" * 8)
    assert (out.device.hello_unix_ms, out.device.part_bytes) == (1000, 512)
    assert store.take_counters("fern") == (b"n" * 8, 2)
    replica.upload("fern", source.upload(6, 8), 0)
    # the same hello again comes from somebody who recorded it
    assert replica.hello("fern", source.hello(5, 6, epoch=2), 2000).meaning == Meaning.OLD
    assert store.device("fern").hello_unix_ms == 1000
    # the device repeats itself with a number of its own, and no counter comes twice
    assert replica.hello("fern", source.hello(5, 8, epoch=2, count=2), 2000).alarm is None
    assert store.take_counters("fern") == (b"n" * 8, 3)
    replica.hello("fern", source.hello(5, 8, epoch=2, nonce=b"m" * 8, count=3), 2000)
    assert store.take_counters("fern") == (b"m" * 8, 4)


def test_hellos_of_lives_that_are_over(store, replica):
    source = Source()
    replica.hello("fern", source.hello(0, 1, count=4), 0)
    replica.upload("fern", source.upload(1, source.last), 0)
    replica.hello("fern", source.hello(8, source.last, epoch=2), 0)
    before = store.device("fern")
    for count in (3, 4, 5):  # before the last one, that one, and one that never came
        out = replica.hello("fern", source.hello(0, 1, nonce=b"x" * 8, count=count), 0)
        assert (out.meaning, out.alarm) == (Meaning.OLD, None)
    assert store.device("fern") == before


def test_hellos_of_another_log(store, replica):
    source, other = Source(), Source(text="WATER it")
    replica.upload("fern", source.upload(1, 9), 0)
    replica.hello("fern", source.hello(8, 9, epoch=3), 1000)
    nonce = b"x" * 8
    for hello, words in [
        (source.hello(8, 9, epoch=3, nonce=nonce, count=0), None),
        (other.hello(3, 6, epoch=4, nonce=nonce), "record 3"),
        (other.hello(8, 9, epoch=4, nonce=nonce), "record 8"),
        (source.hello(0, 8, epoch=4, nonce=nonce), "record 8"),  # the same life, and behind
    ]:
        out = replica.hello("fern", hello, 7)
        if words is None:
            assert out.meaning == Meaning.OLD
            continue
        assert (out.meaning, words in out.alarm) == (Meaning.FORK, True)
        assert (store.device("fern").nonce, store.device("fern").epoch) == (b"n" * 8, 3)
        assert store.device("fern").alarm_at == 7
        assert store.device("fern").tip == 9
        store.clear_alarm("fern")


def test_a_life_that_began_in_what_is_a_gap_now_goes_on(store, replica):
    source = Source()
    replica.hello("fern", source.hello(0, 1), 0)
    replica.missing("fern", lacks(source, 1, 9), 0)
    replica.upload("fern", source.upload(10, 12), 0)
    out = replica.hello("fern", source.hello(0, 12, count=2), 0)
    assert (out.meaning, out.alarm) == (Meaning.SAME, None)
    replica.missing("fern", lacks(source, 13, 13), 0)
    hello = source.hello(7, 13, epoch=2)
    assert replica.hello("fern", hello, 0).meaning == Meaning.FORK  # nobody knows that life


def test_a_log_that_lost_its_tail(store, replica):
    source, later = Source(), Source()
    replica.hello("fern", source.hello(0, 1, count=3), 0)
    replica.upload("fern", source.upload(1, 12), 4)
    hello = later.hello(5, 6, epoch=2, boot=b"b" * 16)
    out = replica.hello("fern", hello, 9)
    assert out.meaning == Meaning.LOST
    assert out.alarm == (
        "its log lost records 6 to 12, restored from a backup or damaged; kept as branch 1"
    )
    device = out.device
    assert (device.tip, device.tip_hash) == (5, source.hashes[5])
    assert (device.branch, device.first, device.last) == (1, 6, 12)
    (branch,) = Branches(store).all("fern")
    assert (branch.first, branch.last, branch.due, branch.at_ms) == (6, 12, 1, 9)
    kept = Branches(store).records("fern", 1)
    assert [x.hash for x in kept] == source.hashes[6:13]
    assert {x.at_ms for x in kept} == {4}
    assert held(store) == source.hashes[1:6]
    verdict = verify_replica(store, "fern")
    assert (verdict.verified, verdict.last) == (True, 5)
    assert "branch 1: records 6 to 12 are kept" in verdict.remark
    # nobody brings the branch back by saying it again
    assert replica.upload("fern", source.upload(6, 12), 0).device.tip == 5
    old = source.hello(0, 12, count=3, nonce=b"x" * 8)
    assert replica.hello("fern", old, 0).meaning == Meaning.OLD
    assert replica.hello("fern", hello, 0).meaning == Meaning.OLD
    assert store.device("fern") == replace(device, seen_at=0)


def test_a_copy_and_the_original_take_turns(store, replica):
    """What the original had given back in part is all due to the log that lost it."""
    source = Source()
    replica.hello("fern", source.hello(0, 1), 0)
    replica.upload("fern", source.upload(1, 12), 4)
    copy = replace(source.hello(5, 6, epoch=2, boot=b"b" * 16), head_hash=b"b" * 16)
    assert replica.hello("fern", copy, 9).meaning == Meaning.LOST
    out = replica.hello("fern", source.hello(0, 13, count=2), 9)
    assert (out.meaning, out.device.branch) == (Meaning.SAME, None)
    assert out.alarm == "it has records 6 to 12 after all: a copy of its log is in use"
    assert replica.upload("fern", source.upload(6, 8), 9).device.tip == 8
    (branch,) = Branches(store).all("fern")
    assert (branch.first, branch.last) == (9, 12)
    out = replica.hello("fern", replace(copy, count=2), 9)
    assert (out.meaning, out.device.tip) == (Meaning.LOST, 5)
    kept = [(x.first, x.last, x.due) for x in Branches(store).all("fern")]
    assert kept == [(9, 12, 1), (6, 8, 1)]
    assert replica.upload("fern", source.upload(6, 8), 9).device.tip == 5
    replica.hello("fern", source.hello(0, 13, count=3), 9)
    assert replica.upload("fern", source.upload(6, 13), 9).device.tip == 13
    assert held(store) == source.hashes[1:14]
    assert verify_replica(store, "fern").records == 13


def test_a_gap_of_a_branch_does_not_come_back(store, replica):
    source = Source()
    replica.hello("fern", source.hello(0, 1), 0)
    replica.upload("fern", source.upload(1, 5), 0)
    replica.missing("fern", lacks(source, 6, 9), 0)
    replica.upload("fern", source.upload(10, 11), 0)
    replica.hello("fern", source.hello(5, 6, epoch=2, boot=b"b" * 16), 0)
    assert store.gaps("fern") == []
    (gap,) = Branches(store).gaps("fern", 1)
    assert (gap.first, gap.last) == (6, 9)
    assert replica.missing("fern", lacks(source, 6, 9), 0).device.tip == 5
    assert verify_replica(store, "fern").verified


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "UPDATE branch_records SET frame = CAST(frame || 'x' AS BLOB) WHERE seq = 8",
            "record 8 does not",
        ),
        ("UPDATE branches SET h_before = zeroblob(32)", "nothing leads to its first record, 6"),
        ("DELETE FROM branch_records WHERE seq = 12", "branch 1: it ends at record 11"),
    ],
)
def test_an_edited_branch_is_not_verified(store, replica, change, words):
    source = Source()
    replica.upload("fern", source.upload(1, 12), 4)
    replica.hello("fern", source.hello(5, 6, epoch=2, boot=b"b" * 16), 9)
    assert verify_replica(store, "fern").verified
    with store.transaction() as db:
        db.execute(change)
    assert words in verify_replica(store, "fern").why
