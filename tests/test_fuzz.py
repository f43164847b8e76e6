"""A short run of every target of `make fuzz`, and what was found once."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from tests.fuzz import coverage, engine, target  # noqa: E402 (the line above makes it importable)
from tests.fuzz.__main__ import main  # noqa: E402

INPUTS = {
    "mqtt": 600,
    "msgpack": 1500,
    "toml": 2000,
    "in": 1000,
    "link": 120,
    "upload": 200,
    "log": 200,
}
KEPT = sorted(path.name for path in target.KEPT.glob("*.txt"))


@pytest.mark.parametrize("name", target.SHARES)
def test_a_short_run(name):
    report = engine.run(name, INPUTS[name], seed=7)
    assert not report.findings, [f"{f.what}: {f.data.hex()}" for f in report.findings]
    assert report.inputs == INPUTS[name]
    assert len(report.outcomes) > 8, "it comes to nothing: the inputs are all alike"
    assert report.lines > 50


@pytest.mark.parametrize("file", KEPT)
def test_what_was_found_once(file):
    path = target.KEPT / file
    tried = target.load(file.partition("-")[0])
    engine.guarded(tried, target.read_kept(path))


class Brittle(target.Target):
    """Breaks on two bytes that follow each other somewhere."""

    name = "brittle"

    def make(self, random):
        return random.randbytes(random.randrange(40))

    def check(self, data):
        if b"\x07\x08" in data:
            raise IndexError(len(data))
        return "even" if len(data) % 2 else "odd"


@pytest.fixture
def brittle(monkeypatch, tmp_path):
    monkeypatch.setattr(target, "load", lambda name: Brittle())
    monkeypatch.setattr("tests.fuzz.__main__._FOLDER", tmp_path)
    monkeypatch.setattr(engine, "ROOT", tmp_path)


def test_a_finding_is_found_and_made_small(brittle):
    report = engine.run("toml", 40000, seed=1)
    [finding] = report.findings
    assert finding.data == b"\x07\x08"
    assert finding.what.startswith("IndexError at ")


def test_the_same_seed_gives_the_same_inputs():
    one, other = (engine.run("toml", 500, seed=3) for _ in range(2))
    assert one.outcomes == other.outcomes
    assert one.outcomes != engine.run("toml", 500, seed=4).outcomes


def test_the_command_prints_what_replays_a_finding(brittle, capsys, tmp_path):
    assert main(["toml", "--replay", "ff0708ff"]) == 1
    said = capsys.readouterr()
    assert r"b'\x07\x08'" in said.out
    assert "-m tests.fuzz toml --replay '0708'" in said.out
    assert "Traceback" in said.err
    [kept] = tmp_path.glob("toml-*.bin")
    assert kept.read_bytes() == b"\x07\x08"
    assert main(["toml", "--replay", str(kept)]) == 1
    assert main(["toml", "--replay", "ff"]) == 0


def test_the_command_tells_what_it_tried(capsys, tmp_path):
    numbers = tmp_path / "numbers.json"
    assert main(["msgpack", "--inputs", "300", "--json", str(numbers)]) == 0
    out = capsys.readouterr().out
    assert "msgpack" in out
    assert " 300 " in out
    assert '"inputs": 300' in numbers.read_text()


def test_the_command_says_what_is_missing(capsys, monkeypatch):
    assert main(["--replay", "00"]) == 2
    assert main(["toml", "--replay", "no digits"]) == 2
    monkeypatch.setattr(coverage, "is_there", lambda: False)
    assert main(["toml", "--engine", "atheris"]) == 2
    assert "pip install atheris" in capsys.readouterr().err


def test_an_input_that_does_not_end_is_a_finding(monkeypatch):
    class Endless(Brittle):
        def check(self, data):
            while True:
                pass

    monkeypatch.setattr(engine, "HANG_S", 0.05)
    with pytest.raises(engine.Hang):
        engine.guarded(Endless(), b"")
