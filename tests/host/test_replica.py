"""What is kept of an upload, and what a hello means, over logs that the real core wrote."""

import hashlib
import random
from dataclasses import replace

import pytest
from fake_device import FakeDevice
from mote import records as r
from mote.log import chain, genesis
from mote.msgpack import FormatError, Packer
from mote_host import frames
from mote_host.audit import verify_replica
from mote_host.frames import Record, cut, decode, describe
from mote_host.replica import Replica
from mote_host.store import Store
from mote_host.uplink import Hello, Missing, Upload


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "gateway.db")
    yield store
    store.close()


@pytest.fixture
def replica(store):
    return Replica(store)


class Source:
    """A log of two turns and a restart, and uploads of any part of it."""

    def __init__(self, text="water it", seed=1):
        device = FakeDevice("fern", bytes(32), seed=seed)
        device.ask(text)
        device.settle()
        turn = device.agent.turns[0]
        body = b"\x92\xa8run_pump\x81\xa7seconds\x03"
        device.agent.part(turn, 0, body)
        digest = hashlib.sha256(body).digest()[:16]
        device.agent.reply_end(turn, len(body), digest, 1, 40)
        device.settle()
        device.boot(["pump"])
        device.settle()
        device.ask("and again", session="kitchen")
        device.settle()
        device.agent.fail(device.agent.turns[0], "no model")
        device.settle()
        log = device.agent.log
        self.frames = [b"", *(bytes(log.frame(n)) for n in range(1, log.seq + 1))]
        self.hashes = [genesis("fern")]
        for frame in self.frames[1:]:
            self.hashes.append(chain(self.hashes[-1], frame))
        self.last = log.seq

    def upload(self, first, last):
        return Upload(
            1, first, self.hashes[first - 1][:16], b"".join(self.frames[first : last + 1])
        )

    def hello(self, before, head, epoch=1, nonce=b"n" * 8):
        b, h = self.hashes[before][:16], self.hashes[head][:16]
        return Hello(epoch, nonce, before, b, head, h, 1, 512)


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
    assert replica.hello("fern", source.hello(7, 12, epoch=2), 0).alarm is None
    alarm = replica.hello("fern", other.hello(9, 12, epoch=3, nonce=b"x" * 8), 0).alarm
    assert alarm == "fork at or before record 9"
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
    assert out.alarm is None
    assert (out.device.epoch, out.device.nonce, out.device.counter) == (2, b"n" * 8, 0)
    assert (out.device.hello_unix_ms, out.device.part_bytes) == (1000, 512)
    assert store.take_counters("fern") == (b"n" * 8, 1)
    # said again, by the device or by somebody else: no counter comes twice
    replica.upload("fern", source.upload(6, 8), 0)
    assert replica.hello("fern", source.hello(5, 6, epoch=2), 2000).alarm is None
    assert store.take_counters("fern") == (b"n" * 8, 2)
    replica.hello("fern", source.hello(5, 8, epoch=2, nonce=b"m" * 8), 2000)
    assert store.take_counters("fern") == (b"m" * 8, 1)


def test_hellos_that_can_not_be(store, replica):
    source, other = Source(), Source(text="WATER it")
    replica.upload("fern", source.upload(1, 5), 0)
    replica.hello("fern", source.hello(5, 6, epoch=3), 1000)
    nonce = b"x" * 8
    for hello, words in [
        (source.hello(5, 6, epoch=2, nonce=nonce), "epoch 2 after epoch 3"),
        (source.hello(3, 4, epoch=3, nonce=nonce), "the log ends at record 4, its replica at 5"),
        (other.hello(3, 6, epoch=4, nonce=nonce), "fork at or before record 3"),
        (other.hello(0, 5, epoch=4, nonce=nonce), "fork at or before record 5"),
    ]:
        assert words in replica.hello("fern", hello, 0).alarm
        assert words in store.device("fern").alarm
        assert store.device("fern").nonce == b"n" * 8
        assert store.device("fern").epoch == 3


# -- frames


def test_frames_are_cut_as_they_were_written():
    source = Source()
    data = b"".join(source.frames)
    found = list(cut(data))
    assert [x.data for x in found] == source.frames[1:]
    assert [x.seq16 for x in found] == list(range(1, source.last + 1))
    ends = {0, *(sum(map(len, source.frames[: n + 1])) for n in range(1, source.last + 1))}
    for end in range(len(data)):
        if end in ends:
            list(cut(data[:end]))
        else:
            with pytest.raises(FormatError):
                list(cut(data[:end]))


def packed(*values):
    return bytes(Packer(bytearray(1200)).value(list(values)).taken())


def test_fields_have_names_and_newer_ones_are_passed_over():
    fields = decode(r.ASK, packed("main", "id", "text", 5, 2, "new", [1]))
    known = {"session": "main", "ask_id": "id", "text": "text", "unix_s": 5}
    assert fields == known | {"previous": 2}
    # a replica that an older mote began
    assert decode(r.ASK, packed("main", "id", "text", 5)) == known | {"previous": 0}
    assert decode(r.BOOT, packed(1, b"n" * 8, [], "0.1"))["limits"] is None
    assert decode(0x90, b"\xff\xff") == {"raw": b"\xff\xff"}


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (r.ASK, packed("main", "id", "text")),
        (r.ASK, packed("main", "id", "text", "5")),
        (r.ASK, packed("main", "id", "text", -1)),
        (r.ASK, packed("main", "id", "text", 5, None)),
        (r.BOOT, packed(1, b"n" * 8, [], "0.1", 8)),
        (r.GAP, packed(1, 2, b"", b"")),
        (r.FACT, packed("key", 3)),
        (r.ASK, packed("main", "id", "text", True)),
        (r.SENT, packed(1 << 60)),
        (r.SENT, packed(1) + b"\x01"),
        (r.SENT, b"\x01"),
        (r.SENT, b""),
        (0x70, packed(1)),
    ],
)
def test_payloads_that_are_not_what_their_kind_says(kind, payload):
    with pytest.raises(FormatError):
        decode(kind, payload)


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        (r.BOOT, packed(2, b"n" * 8, ["pump"], "0.1"), "started, epoch 2, mote 0.1; reset: pump"),
        (
            r.BOOT,
            packed(2, b"n" * 8, [], "0.1", [8, 4, 16]),
            "started, epoch 2, mote 0.1; limits: steps 4",
        ),
        (r.ASK, packed("main", "", "hi\x1b[2J\nthere", 0), "asked in session main: hi [2J there"),
        (r.REQ, packed(2, b"t" * 16, None, 4096), "model request abababab for ask 2"),
        (r.PART, packed(3, b"12345"), "5 bytes of the reply to request 3"),
        (
            r.START,
            packed(3, 0, 2, "run_pump", {"seconds": 3}),
            "run_pump(seconds=3) starts (ONCE)",
        ),
        (r.RESULT, packed(3, 0, 0, "done"), "result: ok: done"),
        (r.RESULT, packed(3, 0, 4, "cut"), "result: outcome unknown: cut"),
        (r.ANSWER, packed(2, 1, 0, "out of time"), "ask 2 answered (limit reached): out of time"),
        (r.FAIL, packed(3, "no model"), "request 3 failed: no model"),
        (r.REFUSED, packed(3), "3 asks were refused"),
        (r.END, packed(2, "out of memory"), "the device ended ask 2: out of memory"),
        (
            r.GAP,
            packed(120, 340, b"h" * 32, b"i" * 32, 0),
            "records 120 to 340 are missing: dropped before the gateway had them",
        ),
        (r.GAP, packed(7, 7, b"h" * 32, b"i" * 32, 1), "record 7 is missing: damaged"),
        (r.TRUST, packed(9), "the gateway has the same log up to record 9"),
        (r.FACT, packed("plant", "fern"), "remembers plant: fern"),
        (r.FACT, packed("plant", None), "forgot plant"),
        (0x90, b"abc", "3 bytes of the unknown kind 0x90"),
    ],
)
def test_records_in_words(kind, payload, words):
    assert describe(Record(7, kind, b"\xab" * 32, decode(kind, payload))) == words


def test_every_kind_can_be_told():
    assert set(frames._TELL) == set(frames.KINDS)
    long = Record(1, r.ASK, b"", decode(r.ASK, packed("m", "", "x" * 900, 0)))
    assert len(describe(long)) == 400
