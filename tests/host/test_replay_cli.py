"""`mote replay`: recorded logs decide the same today, and it says where they do not."""

import json
from pathlib import Path

import pytest
import record_logs
from fake_device import watering
from helpers import bench_tools
from mote import agent as core
from mote import records as r
from mote.turn import CALLING, FINISH, Limits, Turn, decide
from mote_host.declarations import toolset
from mote_host.errors import DeviceError
from mote_host.replay import Replay, from_folder, from_replica
from mote_host.toolsets import Toolsets

LOGS = Path(__file__).parent / "logs"
NAMES = sorted(record.__name__ for record in record_logs.LOGS)
LEFT_OUT = {"limits": 1, "damaged": 6}  # asked anew; before the device told of the damage


def declared(_):
    """The declarations of the tools in the recorded logs."""
    tools = bench_tools([])
    return [bytes(tools.declaration(n)) for n in range(3)]


def check(name, declarations=declared):
    replayed = Replay(from_folder(LOGS / name), declarations, check=True)
    return replayed, list(replayed.run())


def test_all_recorded_logs_are_here():
    assert sorted(folder.name for folder in LOGS.iterdir()) == NAMES
    assert sum(file.stat().st_size for file in LOGS.rglob("*.log")) < 100_000


@pytest.mark.parametrize("name", NAMES)
def test_the_core_still_decides_as_it_did(mote, name):
    code, out = mote("replay", LOGS / name, "--check", "--json")
    told = json.loads(out)
    assert (code, told["differs"]) == (0, None)
    assert told["decisions"] - told["compared"] == told["not_compared"] == LEFT_OUT.get(name, 0)
    assert told["compared"] > 10
    assert told["unchecked_arguments"] > 0  # there is no gateway here that knows the tools
    code, out = mote("replay", LOGS / name, "--check")
    assert code == 0
    assert f"{told['compared']} decisions the same" in out
    assert "were not checked: the gateway here does not know the tools" in out


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_checked_where_the_tools_are_known(name):
    replayed, moments = check(name)
    assert (replayed.differs, replayed.unchecked) == (None, 0)
    assert replayed.compared == sum(moment.decided == "same" for moment in moments)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_replayed_is_the_state_that_the_device_had(name, tmp_path):
    """Recorded once more, the agent's own state at the end is the replayed one."""
    agents = []

    class Lives(record_logs.Lives):
        def close(self):
            agents.append(getattr(self, "bench", None) and self.bench.agent)
            super().close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_logs, "Lives", Lives)
        getattr(record_logs, name)(tmp_path / name)
    replayed = Replay(from_folder(tmp_path / name), declared)
    list(replayed.run())
    own = agents[-1].state
    for field in ("seq", "epoch", "unix_s", "doubt", "seen", "sessions", "facts", "forgot"):
        assert getattr(replayed.state, field) == getattr(own, field), field
    assert [turn.seq for turn in replayed.state.turns] == [turn.seq for turn in own.turns]


# -- it goes red when the core decides otherwise


def finish_at_two(turn, limits):
    """What a core does that runs no calls of the second reply."""
    return FINISH if turn.state == CALLING and turn.steps >= 2 else decide(turn, limits)


def test_another_decision_is_found(mote, monkeypatch):
    monkeypatch.setattr(core, "decide", finish_at_two)
    code, out = mote("replay", LOGS / "limits", "--check", "--json")
    told = json.loads(out)
    assert code == 1
    assert told["differs"]["recorded"] == "START look(n=1)"
    assert told["differs"]["today"].startswith("ANSWER")
    assert told["not_compared"] > 10  # behind the first difference nothing is compared
    code, out = mote("replay", LOGS / "limits", "--check")
    assert code == 1
    assert (
        f"DIFFERS at record {told['differs']['record']}: recorded START look(n=1), today: " in out
    )
    assert mote("replay", LOGS / "limits")[0] == 0  # it was not asked to check


@pytest.mark.parametrize(
    ("limit", "today"), [("steps", "ANSWER limit of 1 steps"), ("calls", "ANSWER limit of 1 tool")]
)
def test_other_limits_are_found(monkeypatch, limit, today):
    of = Limits.of.__func__

    def less(cls, values):
        made = of(cls, values)
        setattr(made, limit, 1)
        return made

    monkeypatch.setattr(Limits, "of", classmethod(less))
    replayed, _ = check("limits")
    assert replayed.differs.today.startswith(today)


def test_a_once_call_that_would_run_again_is_found(monkeypatch):
    def reckless(turn, limits):
        turn.interrupted = turn.running = False
        return decide(turn, limits)

    monkeypatch.setattr(core, "decide", reckless)
    replayed, _ = check("interrupted")
    assert replayed.differs.recorded.startswith("RESULT outcome unknown: restarted meanwhile")
    assert replayed.differs.today.startswith("START")


def test_other_words_are_found(monkeypatch):
    monkeypatch.setattr(core, "over_limit", lambda turn, limits: "enough")
    replayed, _ = check("limits")
    assert replayed.differs.recorded == "ANSWER limit of 3 steps"
    assert replayed.differs.today == "ANSWER enough"


def test_a_core_that_breaks_is_found(monkeypatch):
    def broken(turn, limits):
        raise KeyError("no such state")

    monkeypatch.setattr(core, "decide", broken)
    replayed, _ = check("wrapped")
    assert replayed.differs.today.startswith("KeyError: 'no such state'")


@pytest.mark.parametrize(("old", "new"), [(b"pour", b"pore"), (b"\x00\x64", b"\x00\x01")])
def test_declarations_that_are_not_what_their_hash_says_check_nothing(old, new):
    assert old in b"".join(declared(b""))

    def changed(tools):
        return [data.replace(old, new) for data in declared(tools)]

    replayed, _ = check("limits", changed)
    assert replayed.differs is None
    assert replayed.unchecked > 0


def test_arguments_that_would_be_refused_are_found(monkeypatch):
    made = toolset(declared(b""))
    for tool in made.tools:
        tool.params[0].high = 0
    monkeypatch.setattr("mote_host.replay.toolset", lambda _: made)
    replayed, _ = check("wrapped")
    assert replayed.differs.recorded.startswith("START look(n=")
    assert replayed.differs.today.startswith("RESULT rejected: look: n: ")


def test_the_fold_is_the_one_that_restarts_use(monkeypatch):
    def forgetful(self):
        self.issued = False

    monkeypatch.setattr(Turn, "boot", forgetful)
    replayed, _ = check("interrupted")
    assert replayed.differs is not None


# -- what is printed, and the replica


def test_each_record_says_what_it_changed(mote):
    _, out = mote("replay", LOGS / "interrupted")
    lines = out.splitlines()
    assert lines[5].endswith("pour(n=1) starts (ONCE)  -> ask 2: call 1 of 2 runs")
    assert lines[7].endswith("restarted meanwhile; outcome unknown  -> ask 2: call 2 of 2 is next")
    assert lines[-1].startswith("74 records, epoch 9, 0 open turns, 1 session")
    _, out = mote("replay", LOGS / "wrapped")
    assert "(open): waits for the reply, 0 bytes are here" in out.splitlines()[-1]
    _, out = mote("replay", LOGS / "damaged")
    assert "record 13 is missing: damaged  -> no ONCE call before it is confirmed" in out
    assert "-> nothing is in doubt" in out


def test_the_state_in_json(mote):
    _, out = mote("replay", LOGS / "wrapped", "--json")
    told = json.loads(out)
    (turn,) = told["state"]["turns"]
    assert (turn["session"], turn["state"]) == ("open", "waits for the reply, 0 bytes are here")
    assert list(told["state"]["facts"]) == ["plant"]
    assert told["state"]["limits"]["steps"] == 3
    assert (told["compared"], told["differs"]) == (0, None)


async def test_a_replica_is_replayed_with_the_tools_that_it_knows(bench, fern):
    bench.provider.script = watering()
    await bench.turn(fern, "water the left bed")
    await bench.sync(fern)
    replayed = Replay(from_replica(bench.store, "fern"), Toolsets(bench.store).get, check=True)
    kinds = [moment.record.kind for moment in replayed.run() if moment.decided]
    assert kinds == [r.REQ, r.START, r.REQ, r.START, r.REQ, r.ANSWER]
    assert (replayed.compared, replayed.unchecked, replayed.differs) == (6, 0, None)
    with pytest.raises(DeviceError):
        from_replica(bench.store, "moss")


def test_a_name_is_the_gateways_replica(mote, bench):
    with pytest.raises(DeviceError, match="mote devices lists"):
        mote("replay", "nobody")
