"""What a person's word makes of a fork, at the replica: nothing that anybody had is lost."""

import pytest
from mote_host.audit import verify_replica
from mote_host.branches import DUE, Branches
from mote_host.forks import REPLICA, Forks
from mote_host.hellos import Meaning
from mote_host.replica import Replica
from mote_host.store import Store
from mote_host.uplink import Missing, Points
from source import Source

STRANGE = (14, b"x" * 16)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "gateway.db")
    yield store
    store.close()


def lacks(source, first, last):
    return Missing(1, first, last, source.hashes[first - 1][:16], source.hashes[last])


def forked(store, source, *points):
    """A replica of records 1 to 12, and a device that tells of these points; REPLICA counts."""
    replica, forks = Replica(store), Forks(store)
    replica.hello("fern", source.hello(0, 1), 0)
    replica.upload("fern", source.upload(1, 12), 3)
    forks.note("fern", Points(2, points), 5)
    return replica, forks.accept("fern", REPLICA, 9)


def test_the_newest_common_point_is_where_both_go_on(store):
    source = Source()
    points = [STRANGE, *((seq, source.hashes[seq][:16]) for seq in (11, 6, 0))]
    _, done = forked(store, source, *points)
    assert (done.common, store.device("fern").tip_hash) == (11, source.hashes[11])
    (branch,) = Branches(store).all("fern")
    assert (branch.first, branch.last, branch.before) == (12, 12, source.hashes[11])


def test_what_both_have_leaves_the_branch_as_it_comes_up_again(store):
    source, other = Source(), Source(text="of the fork")
    replica, _ = forked(store, source, STRANGE)
    assert store.device("fern").tip == 0
    replica.upload("fern", source.upload(1, 1), 9)
    assert store.device("fern").branch is None, "nobody knows yet what is to be taken back"
    replica.upload("fern", other.upload(2, 5), 9)
    known = store.device("fern")
    assert (known.tip, known.branch, known.first, known.last) == (5, 1, 2, 12)
    (branch,) = Branches(store).all("fern")
    assert (branch.first, branch.before, branch.due) == (2, source.hashes[1], DUE)
    assert verify_replica(store, "fern").verified


def test_a_replica_that_is_all_of_the_branch_again_has_none(store):
    source = Source()
    replica, _ = forked(store, source, STRANGE)
    for first in range(1, 13, 3):
        replica.upload("fern", source.upload(first, first + 2), 9)
    replica.upload("fern", source.upload(13, source.last), 9)
    assert Branches(store).all("fern") == []
    assert Branches(store).records("fern", 1) == []
    assert [x.hash for x in store.records("fern")] == source.hashes[1:]


@pytest.mark.parametrize("last", [5, 12])
def test_what_the_device_dropped_comes_back_from_the_branch(store, last):
    """Its oldest records are gone by now, and no point told that they are common."""
    source = Source()
    replica, _ = forked(store, source, STRANGE)
    out = replica.missing("fern", lacks(source, 1, last), 9)
    assert (out.device.tip, out.device.tip_hash, out.gap) == (last, source.hashes[last], None)
    assert [x.hash for x in store.records("fern")] == source.hashes[1 : last + 1]
    assert {x.at_ms for x in store.records("fern")} == {3}
    assert [x.first for x in Branches(store).all("fern")] == ([] if last == 12 else [last + 1])
    replica.upload("fern", source.upload(last + 1, 13), 9)
    assert store.gaps("fern") == Branches(store).all("fern") == []
    verdict = verify_replica(store, "fern")
    assert (verdict.verified, verdict.records) == (True, 13)


def test_what_the_device_dropped_of_another_history_is_a_gap(store):
    source, other = Source(), Source(text="of the fork")
    replica, _ = forked(store, source, STRANGE)
    out = replica.missing("fern", lacks(other, 1, 5), 9)
    assert (out.device.tip_hash, str(out.gap)[:7]) == (other.hashes[5], "records")
    replica.upload("fern", other.upload(6, 8), 9)
    known = store.device("fern")
    assert (known.branch, known.first, known.last) == (1, 1, 12)
    assert [x.hash for x in Branches(store).records("fern", 1)] == source.hashes[1:13]
    assert verify_replica(store, "fern").verified


@pytest.mark.parametrize("last", [5, 8])
def test_a_gap_of_the_branch_comes_back_with_it(store, last):
    source = Source()
    replica, forks = Replica(store), Forks(store)
    replica.hello("fern", source.hello(0, 1), 0)
    replica.upload("fern", source.upload(1, 2), 0)
    replica.missing("fern", lacks(source, 3, 5), 0)
    replica.upload("fern", source.upload(6, 12), 0)
    forks.note("fern", Points(2, (STRANGE,)), 5)
    forks.accept("fern", REPLICA, 9)
    assert store.gaps("fern") == []
    assert replica.missing("fern", lacks(source, 1, last), 9).device.tip == last
    assert [(x.first, x.last) for x in store.gaps("fern")] == [(3, 5)]
    assert [x.seq for x in store.records("fern")] == [1, 2, 6, 7, 8][: last - 3]
    replica.upload("fern", source.upload(last + 1, 12), 9)
    assert verify_replica(store, "fern").verified
    assert Branches(store).all("fern") == []


def test_nobody_else_is_heard_before_the_log_that_was_accepted(store):
    """The log that the replica was of goes on meanwhile, and its life is an earlier one."""
    source, other = Source(), Source(text="of the fork")
    replica, forks = Replica(store), Forks(store)
    replica.hello("fern", source.hello(0, 1), 0)
    replica.upload("fern", source.upload(1, 12), 3)
    points = (14, other.hashes[14][:16]), (1, other.hashes[1][:16])
    forks.note("fern", Points(2, points), 5)
    forks.accept("fern", points[0][1].hex()[:8], 9)
    assert replica.hello("fern", source.hello(0, 13, count=2), 9).meaning == Meaning.OLD
    replica.upload("fern", other.upload(2, 14), 9)
    out = replica.hello("fern", source.hello(0, 13, count=2), 9)
    assert (out.meaning, out.alarm) == (Meaning.FORK, "fork at or before record 13")
