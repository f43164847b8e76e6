"""Uploads with references: what stands for a record is made here, and proven by the chain."""

import hashlib
import struct
from dataclasses import replace

import pytest
from fake_device import FakeDevice
from mote import records as r
from mote import wire
from mote.msgpack import FormatError, Packer
from mote_host import references
from mote_host.references import MAX_RESOLVED_BYTES, Known, before_references, resolve, split
from mote_host.replica import Replica
from mote_host.store import Store, StoredReply
from mote_host.turns import overheard
from mote_host.uplink import Upload, read_array
from source import chained

BODY = b"It was dry, so I watered it. " * 40


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "gateway.db")
    yield store
    store.close()


class Log:
    """BOOT, ASK, REQ, PARTs of two sizes, REPLY_END, ANSWER; any of them as a reference."""

    def __init__(self):
        device = FakeDevice("fern", bytes(32))
        device.ask("water it")
        device.settle()
        turn = device.agent.turns[0]
        for at in range(0, len(BODY), 500):
            device.agent.part(turn, at, BODY[at : at + 500])
        digest = hashlib.sha256(BODY).digest()[:16]
        device.agent.reply_end(turn, len(BODY), digest, 0, 77)
        device.settle()
        self.device = device
        self.frames, self.hashes = chained(device)
        self.last = len(self.frames) - 1
        self.req = next(n for n, f in enumerate(self.frames) if f and f[2] == r.REQ)

    def reference(self, seq):
        kind = self.frames[seq][2]
        data = bytes((wire.REFERENCE, kind)) + (seq & 0xFFFF).to_bytes(2, "big")
        data += self.req.to_bytes(4, "big")
        if kind == r.PART:
            at = sum(1 for n in range(1, seq) if self.frames[n][2] == r.PART) * 500
            data += min(500, len(BODY) - at).to_bytes(2, "big")
        return data

    def upload(self, first, last, refer=True, wanted=None):
        data = b""
        for n in range(first, last + 1):
            known = refer and self.frames[n][2] in (r.PART, r.REPLY_END)
            data += self.reference(n) if known else self.frames[n]
        check = self.hashes[last][: wire.CHECK] if refer else None
        return Upload(1, first, self.hashes[first - 1][:16], data, check, wanted)

    def keep_reply(self, store, body=BODY):
        request_id = self.hashes[self.req][:16]
        assert store.claim("fern", request_id, "me", 0, 9)
        assert store.finish("fern", request_id, StoredReply("done", body, 0, 70, 7))


@pytest.fixture
def log():
    return Log()


def test_a_log_is_the_same_with_references_and_without(store, log):
    assert log.last >= 8
    replica = Replica(store)
    replica.upload("fern", log.upload(1, log.req), 5)
    log.keep_reply(store)
    out = replica.upload("fern", log.upload(log.req + 1, log.last), 6)
    assert (out.device.tip_hash, out.whole, out.rejected) == (log.hashes[-1], None, None)
    assert [frame for _, _, frame in store.frames("fern")] == log.frames[1:]
    assert [x.at_ms for x in store.records("fern")] == [5] * log.req + [6] * (log.last - log.req)


def test_references_one_by_one_and_again_and_across_the_tip(store, log):
    replica = Replica(store)
    replica.upload("fern", log.upload(1, log.req), 0)
    log.keep_reply(store)
    for n in range(log.req + 1, log.last + 1):
        assert replica.upload("fern", log.upload(n, n), 0).device.tip == n
        for first in range(1, n + 1):
            out = replica.upload("fern", log.upload(first, n), 0)
            assert (out.device.tip, out.whole, out.alarm) == (n, None, None)
    assert [frame for _, _, frame in store.frames("fern")] == log.frames[1:]


def test_a_reply_that_is_gone_asks_for_the_records_whole(store, log):
    replica = Replica(store)
    out = replica.upload("fern", log.upload(1, log.last), 0)
    assert (out.device.tip, out.whole, out.rejected) == (log.req, log.last, None)
    out = replica.upload("fern", log.upload(log.req + 1, log.last), 0)
    assert (out.device.tip, out.whole) == (log.req, log.last)
    assert replica.upload("fern", log.upload(log.req + 1, log.last, refer=False), 0).whole is None
    assert store.device("fern").tip_hash == log.hashes[-1]


@pytest.mark.parametrize("body", [b"X" + BODY[1:], BODY[:-1], BODY + b"!"])
def test_another_reply_fails_the_check_and_is_no_fork(store, log, body):
    replica = Replica(store)
    replica.upload("fern", log.upload(1, log.req), 0)
    log.keep_reply(store, body)
    out = replica.upload("fern", log.upload(log.req + 1, log.last), 0)
    assert (out.device.tip, out.whole, out.alarm) == (log.req, log.last, None)
    if len(body) >= len(BODY):
        assert out.rejected == f"the check behind record {log.last} fails"


def test_a_reply_that_failed_is_none_to_refer_to(store, log):
    replica = Replica(store)
    replica.upload("fern", log.upload(1, log.req), 0)
    request_id = log.hashes[log.req][:16]
    store.claim("fern", request_id, "me", 0, 9)
    store.finish("fern", request_id, StoredReply("failed", BODY, 0, 70, 7))
    assert replica.upload("fern", log.upload(log.req + 1, log.last), 0).whole == log.last


def test_the_request_may_be_in_the_same_upload(store, log):
    replica = Replica(store)
    replica.upload("fern", log.upload(1, log.req), 0)
    log.keep_reply(store)
    with store.transaction() as db:
        db.execute("DELETE FROM records WHERE seq > 1")
        db.execute("UPDATE devices SET tip = 1, tip_hash = ?", (log.hashes[1],))
    out = replica.upload("fern", log.upload(2, log.last), 0)
    assert (out.device.tip_hash, out.whole) == (log.hashes[-1], None)


def test_what_is_wanted_is_a_request_that_is_there(store, log):
    replica = Replica(store)
    assert replica.upload("fern", log.upload(1, 1, wanted=log.req), 0).wanted is None
    out = replica.upload("fern", log.upload(2, log.req, wanted=2), 0)
    assert (out.wanted, out.implied) == (None, False)
    out = replica.upload("fern", log.upload(2, log.req, wanted=log.req), 0)
    assert (out.wanted, out.implied) == (log.hashes[log.req][:16], True)
    log.keep_reply(store)
    out = replica.upload("fern", log.upload(2, log.last, wanted=log.req), 0)
    assert (out.wanted, out.implied) == (log.hashes[log.req][:16], False)


def test_a_check_is_due_with_references_and_is_looked_at_without(store, log):
    replica = Replica(store)
    good = log.upload(1, log.last)
    with pytest.raises(FormatError, match="no check"):
        replica.upload("fern", Upload(1, 1, good.before, good.frames), 0)
    plain = log.upload(1, 2, refer=False)
    wrong = Upload(1, 1, plain.before, plain.frames, b"wrong..!"[: wire.CHECK])
    with pytest.raises(FormatError, match="the check behind record 2 fails"):
        replica.upload("fern", wrong, 0)
    assert store.device("fern") is None


def test_frames_before_the_first_reference_count(log):
    pieces = split(log.upload(1, log.last).frames)
    nobody = Known(lambda _: None, lambda _: 0, lambda _: None)
    found = resolve(pieces, 1, log.hashes[0], {}, nobody)
    assert not found.whole
    assert (len(found.frames), found.h) == (log.req, log.hashes[log.req])
    assert before_references(pieces, log.hashes[0]) == found


def test_uploads_are_cut_at_every_byte(log):
    data = log.upload(1, log.last).frames
    pieces = split(data)
    assert len(pieces) == log.last
    ends = set()
    for end in range(len(data)):
        try:
            split(data[:end])
            ends.add(end)
        except FormatError:
            pass
    assert len(ends) == log.last  # where a frame or a reference begins, and nowhere else


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xff\x03" + bytes(8), b"\xff\x04" + bytes(7), b"\xff\x04" + bytes(8)]
)
def test_references_that_are_none(data):
    with pytest.raises(FormatError):
        split(data)


def test_who_listens_hears_of_references(log):
    frames = log.upload(1, log.last).frames
    message = bytes(wire.MAC) + packed_upload(frames)
    heard = overheard(message)
    assert [x.seq for x in heard] == list(range(1, log.last + 1))
    assert {tuple(x.fields) for x in heard if x.kind in (r.PART, r.REPLY_END)} == {("req",)}
    assert heard[1].fields["text"] == "water it"


def packed_upload(frames):
    packer = Packer(bytearray(len(frames) + 100))
    packer.array(7).int(wire.UPLOAD).int(1).int(1).bin(bytes(16)).bin(frames)
    return bytes(packer.value(bytes(wire.CHECK)).value(None).taken())


@pytest.mark.parametrize(("size", "taken"), [(7, False), (8, True), (16, True), (17, False)])
def test_how_much_of_a_hash_says_where_the_chain_goes_on(store, log, size, taken):
    frames = b"".join(log.frames[3:5])
    packer = Packer(bytearray(len(frames) + 100)).array(7).int(wire.UPLOAD).int(1).int(3)
    packer.bin(log.hashes[2][:size]).bin(frames).value(None).value(None)
    replica = Replica(store)
    replica.upload("fern", log.upload(1, 2), 0)
    if not taken:
        with pytest.raises(FormatError, match=f"{size} bytes of a hash"):
            read_array(packer.taken())
        return
    out = replica.upload("fern", read_array(packer.taken()), 0)
    assert (out.device.tip, out.alarm) == (4, None)


def test_a_chain_that_differs_in_its_eighth_byte_is_another_one(store, log):
    replica = Replica(store)
    replica.upload("fern", log.upload(1, 2), 0)
    good = log.upload(3, 4)
    before = bytearray(log.hashes[2][: wire.SHORT])
    before[-1] ^= 1
    out = replica.upload("fern", replace(good, before=bytes(before)), 0)
    assert (out.device.tip, out.alarm) == (2, "fork at record 2")


def counted(reply):
    """What knows one reply, for any REQ, and counts how often it is read."""
    reads = []

    def read(request_id):
        reads.append(request_id)
        return reply

    return Known(lambda req: req.to_bytes(wire.ID, "big"), lambda req: 0, read), reads


def test_a_reply_is_read_and_hashed_once_in_an_upload(monkeypatch):
    hashed = []
    digest = references.digest
    monkeypatch.setattr(references, "digest", lambda body: hashed.append(1) or digest(body))
    known, reads = counted(StoredReply("done", b"x" * 65536))
    data = b"".join(struct.pack(">BBHI", 0xFF, r.REPLY_END, n, 5 + n % 2) for n in range(1, 1001))
    found = resolve(split(data), 1, bytes(32), {}, known)
    assert (found.whole, len(found.frames)) == (True, 1000)
    assert (len(reads), len(hashed)) == (2, 2)
    assert found.frames[0].payload != found.frames[1].payload


def test_references_stand_for_a_bounded_number_of_bytes():
    known, _ = counted(StoredReply("done", b"y" * 65000))
    most = MAX_RESOLVED_BYTES // 65000

    def made(n):
        parts = [struct.pack(">BBHIH", 0xFF, r.PART, i, i, 65000) for i in range(1, n + 1)]
        return resolve(split(b"".join(parts)), 1, bytes(32), {}, known)

    assert made(most).whole
    beyond = made(most + 1)
    assert (beyond.whole, beyond.frames) == (False, [])
