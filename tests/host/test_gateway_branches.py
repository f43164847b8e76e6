"""Logs and stores that went back in time, and logs that parted ways, with the real device."""

import asyncio
import json

import pytest
from fake_device import FakeDevice, complete, fields_of, kinds, request_ids, watering
from histories import agree, hear, words
from mote import records as r
from mote import wire
from mote_host.audit import verify_replica
from mote_host.branches import Branches
from mote_host.errors import DeviceError
from mote_host.forks import REPLICA, Forks
from mote_host.providers.base import Reply
from mote_host.uplink import Points

WHY = "restored from a backup or damaged"


async def test_a_device_from_a_backup_takes_back_what_it_lost(bench, fern):
    bench.provider.script = [*watering(), Reply("two")]
    await bench.sync(fern)
    backup = fern.medium.copy()
    await bench.turn(fern, "water it", name="a1")
    await bench.sync(fern)
    had, lost = bench.tip(fern), bench.tip(fern) - 1
    assert lost > 8
    restored = FakeDevice("fern", fern.key, medium=backup, seed=5)
    await bench.sync(restored)
    assert (await bench.turn(restored, "second"))[3] == "two"
    await bench.sync(restored)
    assert restored.link.trouble is None
    assert agree(bench, restored)
    known = bench.store.device("fern")
    assert known.alarm == f"its log lost records 2 to {had}, {WHY}; kept as branch 1"
    assert known.branch is None, "all was taken back"
    assert words(bench, 1) == ["water it"]
    taken = [x for x in bench.store.records("fern") if x.kind == r.RECOVERED]
    assert [x.fields["record"] for x in taken if not x.fields["offset"]] == list(range(2, had + 1))
    # what was asked before is known: it is not done again
    n = len(bench.provider.requests)
    restored.ask("water it", name="a1")
    restored.settle()
    assert restored.answers[-1][1] == "a1"
    assert (len(bench.provider.requests), restored.ran) == (n, [])


async def test_a_device_whose_newest_record_is_damaged_takes_it_back(bench, fern):
    bench.provider.script = [Reply("one"), Reply("two")]
    await bench.turn(fern, "first")
    await bench.sync(fern)
    had, data = bench.tip(fern), fern.medium.data[0]
    data[len(data.rstrip(b"\xff")) - 1] ^= 1
    fern.boot()
    assert fern.agent.before_boot[0] == had - 1
    await bench.sync(fern)
    (branch,) = Branches(bench.store).all("fern")
    assert (branch.first, branch.last, branch.due) == (had, had, 0)
    taken = [x.fields for x in bench.store.records("fern") if x.kind == r.RECOVERED]
    assert [x["record"] for x in taken] == [had]
    assert (await bench.turn(fern, "second"))[3] == "two"
    await bench.sync(fern)
    assert agree(bench, fern)


async def test_an_answer_is_not_another_one_once_it_is_taken_back(bench, fern):
    bench.provider.script = [Reply("one"), Reply("two")]
    await bench.sync(fern)
    backup = fern.medium.copy()
    await bench.turn(fern, "first", name="a1")
    await bench.turn(fern, "second")
    await bench.sync(fern)
    restored = FakeDevice("fern", fern.key, medium=backup, seed=5)
    await bench.sync(restored)
    assert {x[2:] for x in restored.answers} <= {x[2:] for x in fern.answers}
    restored.ask("first", name="a1")
    restored.settle()
    assert restored.answers[-1][1] == "a1"
    assert len(bench.provider.requests) == 2


async def test_an_answer_that_nobody_acknowledged_is_given_in_the_same_words(bench, fern):
    bench.provider.script = [Reply("one")]
    await bench.sync(fern)
    backup = fern.medium.copy()
    fern.agent.sent = lambda turn: None  # nobody has read it, as far as the log says
    await bench.turn(fern, "first", name="a1")
    await bench.sync(fern)
    restored = FakeDevice("fern", fern.key, medium=backup, seed=5)
    await bench.sync(restored)
    assert restored.answers == fern.answers == [("main", "a1", r.DONE, "one")]


async def test_a_device_that_is_restored_twice(bench, fern):
    bench.provider.script = [Reply("one"), Reply("two"), Reply("three")]
    await bench.sync(fern)
    backup = fern.medium.copy()
    await bench.turn(fern, "first")
    await bench.sync(fern)
    again = FakeDevice("fern", fern.key, medium=backup.copy(), seed=5)
    await bench.turn(again, "second")
    await bench.sync(again)
    third = FakeDevice("fern", fern.key, medium=backup, seed=6)
    await bench.turn(third, "third")
    await bench.sync(third)
    assert agree(bench, third)
    assert (words(bench, 1), words(bench, 2)) == (["first"], ["second"])
    assert bench.store.device("fern").branch is None


async def test_a_device_that_is_cut_off_while_it_takes_back(bench, fern):
    bench.provider.script = [Reply("x" * 900)]
    await bench.sync(fern)
    backup = fern.medium.copy()
    await bench.turn(fern, "first")
    await bench.sync(fern)
    had = bench.tip(fern)
    restored = FakeDevice("fern", fern.key, medium=backup, seed=5)
    for _ in range(30):
        await bench.exchange(restored)
        deadline = restored.link.deadline()
        restored.now_ms = max(restored.now_ms + 1, deadline or 0)
        restored.agent.log.sync()
        restored.boot()
        if bench.store.device("fern").branch is None and bench.tip(restored) > had:
            break
        # one message of each connection arrives
    await bench.sync(restored)
    assert agree(bench, restored)
    taken = [x.fields for x in bench.store.records("fern") if x.kind == r.RECOVERED]
    data = {}
    for f in taken:
        assert len(data.setdefault(f["record"], b"")) == f["offset"], (
            "no byte twice, none left out"
        )
        data[f["record"]] += f["data"]
    kept = {seq: frame[5:] for seq, _, frame in Branches(bench.store).frames("fern", 1)}
    assert data == kept


async def test_what_is_lost_is_sent_from_where_it_is_asked_for(bench, fern):
    bench.provider.script = [Reply("one")]
    await bench.sync(fern)
    backup = fern.medium.copy()
    await bench.turn(fern, "first")
    await bench.sync(fern)
    had = bench.tip(fern)
    with bench.store.transaction() as db:
        db.execute("DELETE FROM records WHERE seq IN (4, ?)", (had,))
    restored = FakeDevice("fern", fern.key, medium=backup, seed=5)
    hello = restored.outgoing()
    await bench.service.receive("fern", hello[0])
    (tip,) = fields_of(bench.inbox)
    assert (tip[1], tip[2], tip[6:]) == (wire.TIP, 1, [2, had])
    kept = {seq: frame[5:] for seq, _, frame in Branches(bench.store).frames("fern", 1)}
    for seq, offset, told in [
        (2, 0, [had, 2, r.ASK, 0, len(kept[2]), kept[2]]),
        (2, 3, [had, 2, r.ASK, 3, len(kept[2]), kept[2][3:]]),
        (0, 0, [had, 2, r.ASK, 0, len(kept[2]), kept[2]]),
        (4, 9, [had, 5, r.REPLY_END, 0, len(kept[5]), kept[5]]),  # 4 is not there
        (had, 0, [had, had, 0, 0, 0, b""]),  # nor is the last one
    ]:
        bench.inbox.clear()
        await bench.service.receive("fern", restored.link._up.message(wire.RECOVER, seq, offset))
        ((_, kind, *fields),) = fields_of(bench.inbox)
        assert (kind, fields) == (wire.RECORD, told), seq
    bench.inbox.clear()
    message = restored.link._up.message(wire.RECOVER, had + 1, 0)
    await bench.service.receive("fern", bytes(message))
    assert kinds(bench.inbox) == [wire.TIP]


# -- forks


async def forked(bench, fern):
    """Two devices that were one: the replica is of `fern`, the other one is the fork."""
    bench.provider.script = [Reply("one"), Reply("two"), Reply("three")]
    await bench.turn(fern, "common")
    await bench.sync(fern)
    common, copy = bench.tip(fern), fern.medium.copy()
    await bench.turn(fern, "of the replica")
    await bench.sync(fern)
    other = FakeDevice("fern", fern.key, medium=copy, seed=9)
    other.link.lost()
    for n in range(3):
        other.ask(f"of the fork {n}")
        other.agent.cancel(None)
        other.settle()
    other.boot()  # so its newest BOOT is beyond what both have, and no lost tail
    assert other.agent.before_boot[0] > common
    return other, common


async def test_a_fork_is_listed_and_stores_nothing(bench, fern, mote):
    other, _ = await forked(bench, fern)
    before = bench.store.records("fern")
    await hear(bench, other, lambda: Forks(bench.store).all())
    assert other.link.trouble
    (fork,) = Forks(bench.store).all("fern")
    assert fork.branch == other.agent.log.head.hex()[:8]
    assert (fork.last, fork.epoch) == (other.agent.log.seq, other.agent.epoch)
    assert fork.common == 0, "the beginning of its only segment is all that it can tell"
    assert bench.store.records("fern") == before
    known = bench.store.device("fern")
    assert known.alarm.startswith("fork")
    assert verify_replica(bench.store, "fern").why.startswith("alarm: fork")
    # it grows, and is the same one
    other.ask("one more")
    seen = bench.answering.now_ms()
    bench.now_s += 100
    await hear(bench, other, lambda: Forks(bench.store).all()[0].last == other.agent.log.seq)
    (again,) = Forks(bench.store).all()
    assert (again.branch, again.since) == (fork.branch, fork.since)
    assert again.seen_at > seen
    assert bench.store.device("fern").alarm_at == known.alarm_at
    code, out = await asyncio.to_thread(mote, "forks", "--json")
    assert code == 0
    assert [(x["branch"], x["last"], x["common"]) for x in json.loads(out)] == [
        ("replica", known.tip, None),
        (fork.branch, again.last, 0),
    ]
    assert fork.branch in (await asyncio.to_thread(mote, "forks", "fern"))[1]
    assert "no forks" in (await asyncio.to_thread(mote, "forks", "moss"))[1]
    # what is cleared and still wrong comes back
    assert "cleared: fork" in (await asyncio.to_thread(mote, "devices", "clear", "fern"))[1]
    assert bench.store.device("fern").alarm is None
    await hear(bench, other, lambda: bench.store.device("fern").alarm)
    assert "ALARM" in (await asyncio.to_thread(mote, "devices"))[1]


async def test_a_fork_is_accepted(bench, fern, mote):
    other, common = await forked(bench, fern)
    await hear(bench, other, lambda: Forks(bench.store).all())
    (fork,) = Forks(bench.store).all()
    tip = bench.tip(fern)
    for more in ((), ("--yes",)):  # nobody is asked about what is not there
        with pytest.raises(DeviceError, match="has no fork 12345678"):
            mote("forks", "accept", "fern", "12345678", *more)
    code, out = await asyncio.to_thread(mote, "forks", "accept", "fern", fork.branch, "--yes")
    assert code == 0
    assert "what it had behind that is branch 1" in out
    known = bench.store.device("fern")
    assert (known.tip, known.alarm, known.branch) == (0, None, None)
    await hear(bench, other, lambda: bench.tip(other) == other.agent.log.seq)
    assert other.link.trouble is None
    assert agree(bench, other)
    assert Forks(bench.store).all() == []
    assert words(bench, 1) == ["of the replica"]
    assert words(bench) == ["common", *(f"of the fork {n}" for n in range(3))]
    (branch,) = Branches(bench.store).all("fern")
    assert (branch.first, branch.last) == (common + 1, tip)
    # the other history is the fork now
    fern.boot()
    await hear(bench, fern, lambda: fern.link.trouble)
    assert bench.store.device("fern").alarm.startswith("fork")


async def test_the_replica_is_accepted_and_the_fork_takes_it_back(bench, fern, mote):
    other, common = await forked(bench, fern)
    await hear(bench, other, lambda: Forks(bench.store).all())
    tip = bench.tip(fern)
    before, accept = bench.store.device("fern"), ("forks", "accept", "fern", REPLICA)
    assert await asyncio.to_thread(mote, *accept, stdin="n\n") == (1, "")
    assert bench.store.device("fern") == before
    code, out = await asyncio.to_thread(mote, *accept, "--json", stdin="y\n")
    told = {"device": "fern", "common": 0, "branch": 1, "recovers": True}
    assert (code, json.loads(out)) == (0, told)
    assert bench.tip(fern) == 0
    sure = set()

    def parted():
        sure.add(other.agent.sure)
        return bench.store.device("fern").branch

    await hear(bench, other, parted)
    assert sure == {None, False}, "a ONCE call might have begun"
    known = bench.store.device("fern")
    assert (known.branch, known.first, known.last) == (1, common + 1, tip)
    await hear(bench, other, lambda: bench.store.device("fern").branch is None)
    await bench.sync(other)
    assert agree(bench, other)
    taken = [x.fields for x in bench.store.records("fern") if x.kind == r.RECOVERED]
    assert {f["record"] for f in taken} == set(range(common + 1, tip + 1))
    assert bench.store.device("fern").alarm is None


def points(*seqs, epoch=9, salt=b"x"):
    return Points(epoch, tuple((seq, (salt * 16)[:15] + bytes([seq])) for seq in seqs))


async def test_points_are_bounded_and_those_of_the_own_log_are_no_fork(bench, fern):
    await bench.sync(fern)
    forks = Forks(bench.store)
    head = fern.agent.log.head[:16]
    assert forks.note("fern", Points(1, ((1, head), (0, bytes(16)))), 5) is None
    assert (forks.all(), bench.store.device("fern").alarm) == ([], None)
    assert forks.note("fern", points(50, 40), 6).startswith("fork")
    for n in range(40):
        assert forks.note("fern", points(99, epoch=20 + n, salt=bytes([65 + n])), 7 + n) is None
    assert len(forks.all("fern")) == 16
    assert {fork.common for fork in forks.all()} == {None}
    named = bench.store.device("fern")
    bench.store.set_aside("fern", "fern.old")
    assert len(forks.all("fern.old")) == 16
    assert bench.store.device("fern.old").alarm == named.alarm
    assert bench.store.forget("fern.old")
    assert forks.all() == []


async def test_branches_are_shown(bench, fern, mote):
    bench.provider.script = [Reply("one")]
    await bench.sync(fern)
    backup = fern.medium.copy()
    await bench.turn(fern, "the ask that was lost")
    await bench.sync(fern)
    restored = FakeDevice("fern", fern.key, medium=backup, seed=5)
    await bench.sync(restored)
    code, out = await asyncio.to_thread(mote, "log", "fern", "--branch", 1)
    assert (code, "the ask that was lost" in out) == (0, True)
    assert "2023-11-14 22:13:20" in out
    with pytest.raises(DeviceError, match="fern has no branch 2"):
        mote("log", "fern", "--branch", 2)
    code, out = mote("audit", "verify", "fern")
    assert (code, "branch 1: records 2 to" in out) == (0, True)
    (row,) = json.loads((await asyncio.to_thread(mote, "devices", "--json"))[1])["devices"]
    assert row["branches"] == [1]
    assert row["alarm_since"] == "2023-11-14 22:13:20 UTC"
    code, out = mote("devices", "clear", "fern")
    assert (code, "its log lost records" in out) == (0, True)
    assert mote("devices", "clear", "fern")[1] == "fern has no alarm\n"
    assert bench.store.device("fern").alarm is None


async def test_a_request_of_a_branch_is_not_answered(bench, fern):
    bench.provider.script = [Reply("one")]
    await bench.sync(fern)
    backup = fern.medium.copy()
    await bench.turn(fern, "first")
    await bench.sync(fern)
    (request_id,) = request_ids(bench, fern)
    with bench.store.transaction() as db:
        db.execute("DELETE FROM replies")
    restored = FakeDevice("fern", fern.key, medium=backup, seed=5)
    await bench.service.receive("fern", restored.outgoing()[0])
    bench.inbox.clear()
    await bench.service.receive("fern", complete(restored, request_id))
    assert kinds(bench.inbox) == [wire.TIP]
    assert len(bench.provider.requests) == 1
