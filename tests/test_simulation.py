"""The simulator: kept seeds, some fixed ones of every mix, and that it finds what is broken."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import mote.agent  # noqa: E402 (the line above makes the following importable)
from mote.agent import Agent  # noqa: E402
from mote.link import Link  # noqa: E402
from mote.log import Log  # noqa: E402
from mote.turn import CALL, FORGET  # noqa: E402
from mote.uplink import Uplink  # noqa: E402
from mote_host import replica  # noqa: E402
from mote_host.hellos import Judgement, Meaning  # noqa: E402
from mote_host.store import Store  # noqa: E402

from tests.simulation import runs  # noqa: E402
from tests.simulation.__main__ import INTERRUPTED, main  # noqa: E402
from tests.simulation.faults import ANY, MIXES, Mix, chosen, told  # noqa: E402
from tests.simulation.report import Report  # noqa: E402
from tests.simulation.runs import Job  # noqa: E402
from tests.simulation.simulation import simulate  # noqa: E402

SEEDS = range(2, 5)  # of each mix; with what is kept, about a minute on two cores
SEVERAL = range(3, 7)  # in one of them what is broken must be found
SMALL = {"devices": 2, "minutes": 2}


@pytest.mark.slow
def test_kept_seeds_and_some_of_every_mix():
    jobs = [job for job, _ in runs.kept()]
    jobs += [Job(seed, mix) for seed in SEEDS for mix in MIXES]
    found = Report()
    for job, outcome in runs.run(iter(jobs), 2):
        found.add(job, outcome)
    assert [(job.command(), outcome.broken) for job, outcome in found.broken] == []
    assert found.seeds == len(jobs)
    assert set(found.mixes) == set(MIXES)
    # a world in which nothing happens proves nothing
    assert found.sums["turns"] > 100 * found.seeds
    assert found.sums["once_runs"] > 20 * found.seeds
    for accident in (
        *("power-cut", "flash-fails", "bit-flips", "log-restored", "log-error", "stalls"),
        *("lost", "hang-up", "expired", "cancel", "refused"),
        *("crash", "stop", "clock-jumps"),
    ):
        assert found.happened[accident], accident


def test_a_seed_gives_the_same_world_in_another_process():
    mixes = "storm", "driver", "store"
    ours = [simulate(5, mix, **SMALL).hash for mix in mixes]
    assert len(set(ours)) == len(mixes)
    code = (
        "from tests.simulation.simulation import simulate\n"
        f"print([simulate(5, mix, **{SMALL!r}).hash for mix in {mixes!r}])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == repr(ours)
    assert simulate(6, "storm", **SMALL).hash not in ours


def test_kept_seeds_say_what_they_found():
    for job, found in runs.kept():
        assert job.mix in MIXES
        assert found.endswith(".")


# -- what is broken on purpose is found


def once_again(monkeypatch):
    """What became of a call that was interrupted is decided as if it had never begun."""
    decide = mote.agent.decide

    def decided(turn, limits):
        due = decide(turn, limits)
        if due == FORGET:
            turn.running, due = False, CALL
        return due

    monkeypatch.setattr(mote.agent, "decide", decided)


def all_claim(monkeypatch):
    """Every gateway takes every request."""
    monkeypatch.setattr(Store, "claim", lambda *_: True)


def unsafe(monkeypatch):
    """An upload does not wait until the log is safe."""
    synced = Uplink.upload

    def upload(*given):
        with monkeypatch.context() as inside:
            inside.setattr(Log, "sync", lambda log: None)
            return synced(*given)

    monkeypatch.setattr(Uplink, "upload", upload)


def forgetful(monkeypatch):
    """No ask has an id that was seen before."""
    monkeypatch.setattr(mote.agent, "key_of", lambda name: None)


def twice(monkeypatch):
    """A device takes each message from the gateway, however often it comes."""
    monkeypatch.setattr(Link, "_count", lambda link, counter: False)


def blind(monkeypatch):
    """A log that lost its tail is taken for one that went on."""
    judge = replica.hellos.judge

    def judged(*given):
        found = judge(*given)
        return Judgement(Meaning.SAME) if found.meaning == Meaning.LOST else found

    monkeypatch.setattr(replica.hellos, "judge", judged)


def silent(monkeypatch):
    """What was not acknowledged is not said again."""
    monkeypatch.setattr(Agent, "publish_again", lambda agent: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "mix", "words"),
    [
        (once_again, "power", "ran twice"),
        (all_claim, "gateway", "2 calls for request"),
        (unsafe, "calm", "is not safe and is told"),
        (forgetful, "network", "is taken again"),
        (twice, "network", "is taken twice"),
        (blind, "restore", "does not come to rest"),
        (silent, "storm", "does not come to rest"),
    ],
)
def test_what_is_broken_is_found(monkeypatch, break_it, mix, words):
    break_it(monkeypatch)
    tried = []
    for seed in SEVERAL:
        outcome = simulate(seed, mix)
        if words in (outcome.broken or ""):
            assert len(outcome.tail) > 10
            return
        tried.append(outcome.broken)
    raise AssertionError(tried)


# -- the command


def test_the_command_tells_what_it_did(capsys, tmp_path):
    file = tmp_path / "found.json"
    world = ["--mix", "storm", "--devices", "2", "--minutes", "1"]
    assert main([*world, "--seeds", "3:5", "--processes", "1", "--json", str(file)]) == 0
    said = capsys.readouterr()
    assert "0 of 2 seeds broke a promise" in said.out
    assert "2 seeds, " in said.err
    found = json.loads(file.read_text())
    assert (found["seeds"], found["mixes"], found["broken"]) == (2, {"storm": 2}, [])
    assert found["turns"] > 0
    assert main([*world, "--seed", "4", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["hash"] == simulate(4, "storm", 2, 1).hash


def test_the_command_shows_a_broken_promise_and_how_to_see_it_again(capsys, monkeypatch):
    unsafe(monkeypatch)
    world = ["--mix", "calm", "--devices", "1", "--minutes", "1"]
    assert main([*world, "--seed", "4", "--trace"]) == 1
    said = capsys.readouterr().out
    assert "accepted ask" in said or "boot epoch 1" in said
    again = "python -m tests.simulation --mix calm --seed 4 --trace --devices 1 --minutes 1"
    assert f"to see it again: {again}\n" in said
    assert "1 of 1 seeds broke a promise" in said


def test_the_command_teaches(capsys):
    for arguments in (["--help"], ["--trace"], ["--seeds", "x"], ["--minutes", "0"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == (0 if arguments == ["--help"] else 2)
    assert "0:50" in capsys.readouterr().err
    assert main(["--mixes"]) == 0
    assert all(f"{name}  " in capsys.readouterr().out for name in list(MIXES)[:1])


def test_ctrl_c_ends_with_the_numbers_so_far():
    command = [sys.executable, "-m", "tests.simulation", "--minutes", "1", "--seconds", "60"]
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "fresh seeds from" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    said, errors = child.communicate(timeout=30)
    assert "seeds broke a promise" in said
    assert errors.endswith("interrupted\n")
    assert child.returncode == INTERRUPTED


def test_mixes_are_what_they_say():
    assert told(Mix(loss=0.5, gateways=2)).startswith("loss 0.5, gateways 2")
    names = {chosen(ANY, Random(seed))[0] for seed in range(200)}
    assert names == set(MIXES) - {"calm"}
