"""Two logs that were one: a copy of a device's folder is booted while the original lives on."""

import asyncio

import pytest
from fake_device import FakeDevice
from histories import agree, hear, words
from mote import records as r
from mote_host.audit import verify_replica
from mote_host.branches import Branches
from mote_host.forks import REPLICA, Forks
from mote_host.providers.base import Reply

COPIED = "a copy of its log is in use"


@pytest.fixture
def bench(bench):
    bench.provider.script = [Reply(f"answer {n}") for n in range(20)]
    return bench


async def copied(bench, fern):
    """A turn, a copy of the log, and a turn that only the original has; the copy's medium."""
    await bench.turn(fern, "both")
    await bench.sync(fern)
    medium = fern.medium.copy()
    await bench.turn(fern, "the original")
    await bench.sync(fern)
    return medium


def boot(fern, medium, seed=9):
    return FakeDevice("fern", fern.key, medium=medium, seed=seed)


async def greet(bench, device):
    """Its hello arrives, and it hears nothing of the answer."""
    (hello,) = device.outgoing()
    await bench.service.receive("fern", hello)
    bench.inbox.clear()


async def goes_on(bench, device, text):
    """The device is served as if nothing had been."""
    device.ask(text)
    n = len(device.answers)
    await hear(bench, device, lambda: len(device.answers) > n)
    await hear(bench, device, lambda: bench.tip(device) == device.agent.log.seq)
    assert device.link.trouble is None
    assert bench.store.device("fern").tip_hash == device.agent.log.head


def taken(bench):
    """The numbers of the records that were taken back."""
    found = bench.store.records("fern")
    return {x.fields["record"] for x in found if x.kind == r.RECOVERED}


def stays(fern):
    pass


def reboots(fern):
    fern.boot()


def reboots_with_more(fern):
    fern.ask("while nobody heard")
    fern.agent.cancel(None)
    fern.settle()
    fern.boot()


@pytest.mark.parametrize("then", [stays, reboots, reboots_with_more])
async def test_a_copy_that_says_hello_and_dies(bench, fern, then):
    medium = await copied(bench, fern)
    had = bench.tip(fern)
    copy = boot(fern, medium)
    await greet(bench, copy)
    known = bench.store.device("fern")
    assert (known.tip, known.last) == (copy.agent.before_boot[0], had)
    then(fern)
    await goes_on(bench, fern, "and on")
    assert words(bench)[:2] == ["both", "the original"]
    assert agree(bench, fern)
    assert Branches(bench.store).all("fern") == Forks(bench.store).all("fern") == []
    known = bench.store.device("fern")
    assert known.branch is None
    if then is not reboots_with_more:  # that may also be what was restored: it takes back
        assert (
            known.alarm == f"it has records {copy.agent.before_boot[0] + 1} to {had} after all:"
            f" {COPIED}"
        )
        assert taken(bench) == set()
    await goes_on(bench, fern, "as before")


async def test_a_copy_of_all_that_says_hello_and_dies(bench, fern):
    await bench.turn(fern, "both")
    await bench.sync(fern)
    await greet(bench, boot(fern, fern.medium.copy()))
    await goes_on(bench, fern, "and on")
    assert bench.store.device("fern").alarm is None


async def test_an_original_that_dropped_what_the_gateway_had(bench, fern):
    """The gateway gives the records back from the branch: nobody else has them."""
    medium = await copied(bench, fern)
    before, log = bench.store.frames("fern"), fern.agent.log
    await greet(bench, boot(fern, medium))
    last = before[-1][0]
    there = log.next
    log.next = lambda seq: max(there(seq), last + 1)
    await goes_on(bench, fern, "and on")
    assert bench.store.frames("fern")[:last] == before
    assert Branches(bench.store).all("fern") == []


async def test_a_copy_that_goes_on_is_a_fork_of_the_original(bench, fern):
    medium = await copied(bench, fern)
    copy = boot(fern, medium)
    await goes_on(bench, copy, "the copy")
    before = bench.store.frames("fern")
    fern.ask("the original goes on")
    await hear(bench, fern, lambda: Forks(bench.store).all("fern"))
    (fork,) = Forks(bench.store).all("fern")
    assert (fork.last, fork.epoch) == (fern.agent.log.seq, fern.agent.epoch)
    assert bench.store.frames("fern") == before
    assert bench.store.device("fern").alarm.startswith("fork")
    await goes_on(bench, copy, "the copy is not disturbed")


@pytest.mark.parametrize("counts", ["fork", REPLICA])
async def test_a_person_ends_the_fork_of_the_original(bench, fern, counts):
    medium = await copied(bench, fern)
    copy = boot(fern, medium)
    await goes_on(bench, copy, "the copy")
    fern.ask("the original goes on")
    await hear(bench, fern, lambda: Forks(bench.store).all("fern"))
    (fork,) = Forks(bench.store).all("fern")
    branch = fork.branch if counts == "fork" else REPLICA
    await asyncio.to_thread(Forks(bench.store).accept, "fern", branch, 5)
    await hear(bench, fern, lambda: bench.tip(fern) == fern.agent.log.seq)
    await goes_on(bench, fern, "settled")
    assert {"the original", "the original goes on"} <= set(words(bench))
    kept = Branches(bench.store).all("fern")
    assert any("the copy" in words(bench, x.number) for x in kept)
    assert bool(taken(bench)) == (counts == REPLICA)
    assert {x.due for x in kept} == {0}
    assert verify_replica(bench.store, "fern").verified


async def test_a_hello_of_a_life_that_was_undone(bench, fern):
    """Somebody kept it from the gateway, until after the log was restored."""
    await bench.turn(fern, "both")
    await bench.sync(fern)
    medium = fern.medium.copy()
    fern.boot()
    (recorded,) = fern.outgoing()
    restored = boot(fern, medium)
    await goes_on(bench, restored, "after the restore")
    had = bench.store.frames("fern")
    await bench.service.receive("fern", recorded)
    bench.inbox.clear()
    assert bench.store.device("fern").last == had[-1][0]
    await goes_on(bench, restored, "and on")
    assert bench.store.frames("fern")[: len(had)] == had
    assert (taken(bench), Branches(bench.store).all("fern")) == (set(), [])


@pytest.mark.parametrize("takes", [1, 2, 5])
async def test_a_hello_of_the_lost_life_while_the_log_takes_back(bench, fern, takes):
    """Its records are due again at the next hello of the log that was restored."""
    medium = await copied(bench, fern)
    had = bench.tip(fern)
    fern.ask("unheard")
    fern.link.connected(fern.now_ms)
    fern.link.poll(fern.now_ms)
    fern.link.connected(fern.now_ms)
    (recorded, *_) = fern.outgoing()
    restored = boot(fern, medium)
    lost = restored.agent.before_boot[0] + 1
    for _ in range(takes):
        await bench.exchange(restored)
    await bench.service.receive("fern", recorded)
    bench.inbox.clear()
    (branch,) = Branches(bench.store).all("fern")
    assert (branch.first, branch.last) == (lost, had)
    if takes > 1:
        restored.boot()
    told = []
    receive = restored.incoming
    restored.incoming = lambda message: (receive(message), told.append(restored.agent.sure))
    await goes_on(bench, restored, "and on")
    assert taken(bench) == set(range(lost, had + 1))
    assert told[0] is False, "no ONCE call starts before all is taken back"
    (branch,) = Branches(bench.store).all("fern")
    assert (branch.first, branch.last, branch.due) == (lost, had, 0)


async def test_what_was_recorded_changes_nothing(bench, fern):
    heard, receive = [], bench.service.receive

    async def recording(name, message):
        heard.append(message)
        await receive(name, message)

    bench.service.receive = recording
    medium = await copied(bench, fern)
    fern.boot()
    await bench.sync(fern)
    bench.service.receive = receive
    restored = boot(fern, medium)
    for rounds in range(3):  # before it takes back, while it does, and after
        for _ in range(2):
            await bench.exchange(restored)
        if rounds == 2:
            await bench.sync(restored)
        before = bench.store.device("fern")
        for message in heard:
            await receive("fern", message)
        after = bench.store.device("fern")
        assert (after.alarm, after.alarm_at) == (before.alarm, before.alarm_at)
        assert (after.tip, after.nonce, after.branch) == (before.tip, before.nonce, before.branch)
        assert (after.epoch, after.hellos, after.last) == (
            before.epoch,
            before.hellos,
            before.last,
        )
        bench.inbox.clear()
    await goes_on(bench, restored, "and on")


async def test_an_unheard_hello_of_an_earlier_life_changes_nothing(bench, fern):
    await bench.turn(fern, "first")
    await bench.sync(fern)
    fern.link.connected(fern.now_ms)
    (recorded,) = fern.outgoing()
    fern.ask("second")
    fern.agent.cancel(None)
    fern.boot()
    await greet(bench, fern)  # nothing of this life is uploaded, nor the last of the one before
    before = bench.store.device("fern")
    await bench.service.receive("fern", recorded)
    assert bench.service.dropped["old hello"] == 1
    assert (bench.store.device("fern"), bench.inbox) == (before, [])


async def test_the_second_restore_says_hello_and_dies(bench, fern):
    medium = await copied(bench, fern)
    had = bench.tip(fern)
    first = boot(fern, medium.copy())
    await goes_on(bench, first, "the first restore")
    lost = first.agent.before_boot[0] + 1
    await greet(bench, boot(fern, medium, seed=8))
    await goes_on(bench, first, "is not over")
    assert taken(bench) == set(range(lost, had + 1))
    (branch,) = Branches(bench.store).all("fern")
    assert (branch.first, branch.last, branch.due) == (lost, had, 0)
    assert words(bench, branch.number) == ["the original"]


async def test_a_record_before_a_boot_that_is_of_another_branch_is_a_fork(bench, fern):
    """Its number is beyond the replica's tip, and its id is of a branch that was left before."""
    medium = await copied(bench, fern)
    fern.boot()
    (recorded,) = fern.outgoing()
    restored = boot(fern, medium)
    await bench.exchange(restored)
    await hear(bench, restored, lambda: bench.tip(restored) > restored.agent.before_boot[0])
    before = bench.store.device("fern")
    with bench.store.transaction() as db:  # as if the rest had not come yet
        db.execute("DELETE FROM records WHERE seq > ?", (restored.agent.before_boot[0] + 1,))
        seq, h = db.execute("SELECT seq, hash FROM records ORDER BY seq DESC").fetchone()
        db.execute("UPDATE devices SET tip = ?, tip_hash = ?", (seq, h))
    await bench.service.receive("fern", recorded)
    after = bench.store.device("fern")
    assert after.alarm == f"fork at or before record {seq}"
    assert after.nonce == before.nonce
