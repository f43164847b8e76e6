"""Records that a device lost before the gateway had them: the replica goes on behind them."""

import asyncio
import json
import logging

import pytest
from fake_device import FakeDevice, Ram
from mote import records as r
from mote.turn import Limits
from mote_host.audit import verify_replica
from mote_host.conversation import build, turn_messages
from mote_host.errors import DeviceError
from mote_host.frames import Gap, Record
from mote_host.providers.base import Reply
from mote_host.replay import Replay, from_replica
from mote_host.toolsets import Toolsets


def small():
    """Limits of a device whose small log drops what the gateway does not take."""
    limits = Limits()
    limits.drop = True
    limits.asks_burst = 500
    limits.steps, limits.calls, limits.reply_bytes, limits.result_bytes = 3, 3, 256, 128
    limits.open_turns, limits.seen_asks, limits.sessions, limits.facts = 2, 4, 4, 2
    return limits


@pytest.fixture
def lossy(bench):
    return FakeDevice("fern", bench.registry.enroll("fern"), Ram(8192, 4), limits=small())


def talk(device, n):
    """Turns without a gateway: each is cancelled."""
    for _ in range(n):
        device.ask("is anybody there?")
        device.settle()
        device.agent.cancel(None)
        device.settle()


async def test_the_replica_goes_on_behind_what_was_dropped(bench, lossy, caplog):
    await bench.sync(lossy)
    had = bench.tip(lossy)
    talk(lossy, 200)
    assert lossy.agent.log.oldest() > had + 100
    with caplog.at_level(logging.WARNING):
        await bench.sync(lossy)
    (gap,) = bench.store.gaps("fern")
    assert (gap.first, gap.last) == (had + 1, lossy.agent.log.oldest() - 1)
    assert gap.why == "dropped before the gateway had them"
    assert "fern: records" in caplog.text
    known = bench.store.device("fern")
    assert (known.tip_hash, known.alarm) == (lossy.agent.log.head, None)
    verdict = verify_replica(bench.store, "fern")
    assert verdict.verified
    assert verdict.gaps == (gap,)
    bench.provider.script = [Reply("I am here again.")]
    assert (await bench.turn(lossy, "is anybody there?"))[3] == "I am here again."
    assert lossy.link.trouble is None


async def test_damage_in_what_the_replica_has_begins_the_chain_anew(bench, fern):
    bench.provider.script = [Reply("It is dry."), Reply("Still dry.")]
    await bench.turn(fern, "how is the soil?")
    await bench.sync(fern)
    had = bench.tip(fern)
    fern.ask("to be cut off")
    fern.settle()
    data = fern.medium.data[0]
    at = bytes(data).find(b"how is the soil")
    data[at] ^= 1
    fern.boot()
    assert fern.agent.state.doubt
    assert (await bench.turn(fern, "how is the soil?"))[3] == "Still dry."
    assert fern.link.trouble is None
    await bench.sync(fern)
    assert not fern.agent.state.doubt, "the gateway confirmed what came behind the damage"
    known = bench.store.device("fern")
    assert (known.tip_hash, known.alarm) == (fern.agent.log.head, None)
    verdict = verify_replica(bench.store, "fern")
    assert verdict.verified, verdict.why
    assert [str(gap) for gap in verdict.gaps] == [
        f"the chain begins anew at record {had + 1}: older ones were damaged"
    ]


async def test_the_commands_show_the_gap(bench, lossy, mote):
    await bench.sync(lossy)
    talk(lossy, 200)
    await bench.sync(lossy)
    (gap,) = bench.store.gaps("fern")
    assert str(gap).endswith("are missing: dropped before the gateway had them")
    code, out = await asyncio.to_thread(mote, "devices", "--json")
    (row,) = json.loads(out)["devices"]
    assert (row["gaps"], row["alarm"]) == ([str(gap)], None)
    assert "dropped" in (await asyncio.to_thread(mote, "devices"))[1]
    code, out = mote("audit", "verify", "fern")
    assert code == 0
    assert f"  {gap}\n" in out
    assert f"-- {gap} --\n" in mote("log", "fern")[1]


async def test_a_replica_with_a_gap_is_replayed(bench, lossy):
    bench.provider.script = [Reply("one"), Reply("two"), Reply("three")]
    await bench.turn(lossy, "before the gap")
    await bench.sync(lossy)
    talk(lossy, 200)
    await bench.turn(lossy, "behind the gap")
    await bench.sync(lossy)
    unsure = Replay(from_replica(bench.store, "fern"), Toolsets(bench.store).get, check=True)
    list(unsure.run())
    lossy.boot()
    await bench.turn(lossy, "sure again")
    await bench.sync(lossy)
    sure = Replay(from_replica(bench.store, "fern"), Toolsets(bench.store).get, check=True)
    list(sure.run())
    assert unsure.differs is sure.differs is None
    # those before the gap (a request and an answer) and those behind the restart
    assert (unsure.compared, sure.compared) == (2, 4)
    assert sure.state.epoch == 2


async def test_the_replica_goes_on_behind_damage(bench, fern):
    bench.provider.script = [Reply("here"), Reply("here too")]
    await bench.turn(fern, "before")
    await bench.sync(fern)
    lost = fern.ask("what goes bad")
    fern.agent.cancel(None)
    fern.settle()
    fern.agent.log.sync()
    cells = fern.medium.data[0]
    cells[cells.find(b"what goes bad")] ^= 1
    fern.boot()
    assert (await bench.turn(fern, "behind"))[3] == "here too"
    await bench.sync(fern)
    (gap,) = bench.store.gaps("fern")
    assert (gap.first, gap.last, gap.why) == (lost, lost, "damaged")
    verdict = verify_replica(bench.store, "fern")
    assert (verdict.verified, verdict.head) == (True, fern.agent.log.head)
    assert fern.link.trouble is None


async def test_a_gap_outlives_the_devices_being_set_aside(bench, lossy):
    await bench.sync(lossy)
    talk(lossy, 200)
    await bench.sync(lossy)
    gaps = bench.store.gaps("fern")
    assert bench.store.set_aside("fern", "fern.old")
    assert bench.store.gaps("fern.old") == gaps
    assert bench.store.forget("fern.old")
    assert bench.store.gaps("fern.old") == []
    with pytest.raises(DeviceError):
        from_replica(bench.store, "fern.old")


async def test_a_request_whose_ask_is_lost_fails_with_the_reason(bench, lossy):
    await bench.sync(lossy)
    lossy.ask("the ask that gets lost", session="old")
    lossy.settle()
    (turn,) = lossy.agent.turns
    gap = (turn.seq, turn.seq)
    message = lossy.link._gap(*gap, lossy.now_ms)  # as if its record were damaged
    await bench.service.receive("fern", bytes(message))
    await bench.until(lossy, lambda: lossy.answers)
    session, _, how, text = lossy.answers[0]
    assert (session, how) == ("old", r.FAILED)
    assert "the records that it needs are lost" in text
    assert bench.provider.requests == []


async def test_turns_whose_ask_is_lost_are_left_out(bench, fern):
    bench.provider.script = [Reply("one"), Reply("two"), Reply("three")]
    for n in range(3):
        await bench.turn(fern, f"ask {n}")
    await bench.sync(fern)
    asks = [x.seq for x in bench.store.records("fern") if x.kind == r.ASK]
    request = [x for x in bench.store.records("fern") if x.kind == r.REQ][-1]
    with bench.store.transaction() as db:
        db.execute("DELETE FROM records WHERE seq = ?", (asks[1],))
    built = build(bench.store, "fern", request, [], system="", window_bytes=9999, max_tokens=100)
    assert [m.text for m in built.messages] == ["ask 0", "one", "ask 2"]


def record(seq, kind, **fields):
    return Record(seq, kind, bytes(32), fields, 1, "s")


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        ([], "not run: the turn ended before"),
        ([Gap(6, 7, "damaged")], "outcome unknown: the record of it is lost"),
        ([Gap(20, 30, "damaged")], "not run: the turn ended before"),
    ],
)
def test_a_call_whose_result_is_lost_may_have_run(gaps, said):
    body = b"\x92\xa8run_pump\x81\xa7seconds\x03"
    turn = [
        record(1, r.ASK, text="water it"),
        record(2, r.REQ, turn=1),
        record(3, r.PART, req=2, data=body),
        record(4, r.REPLY_END, req=2, length=len(body), calls=1),
        record(9, r.ANSWER, turn=1, how=r.LIMITED, req=0, text="out of time"),
    ]
    messages = turn_messages(turn, gaps)
    assert [m.role for m in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[2].text == said


def test_a_reply_with_parts_lost_is_not_read_as_another_one():
    turn = [
        record(1, r.ASK, text="say it"),
        record(4, r.PART, req=2, data=b" never water it"),
        record(5, r.REPLY_END, req=2, length=40, calls=0),
    ]
    assert turn_messages(turn)[1].text == "(this reply can't be read)"
