"""A bounded part of the exhaustive runs of `make torture`: a sample of each kind."""

import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from helpers import Random

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from tests.emulator import cuts  # noqa: E402 (the line above makes it importable)
from tests.torture import __main__ as command  # noqa: E402
from tests.torture import cutting, driver, raising  # noqa: E402
from tests.torture.__main__ import main  # noqa: E402

CUTTING_S, RAISING_S = 11.0, 15.0  # of CPU time, each of the eight subjects and each half
SEED = 20


def _cut(subject):
    medium, unit = subject
    return cutting.run(medium, unit, CUTTING_S, SEED, lambda tally: None)


def _raise(seed):
    return raising.run(RAISING_S, seed)


@pytest.mark.slow
def test_power_cuts_on_every_medium_with_every_unit():
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        tallies = list(pool.map(_cut, cutting.SUBJECTS))
    for tally in tallies:
        assert (tally.lost, tally.once) == (0, 0), tally.examples
        assert tally.tried > 300
        assert tally.second > 100


@pytest.mark.slow
def test_exceptions_at_any_line():
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = list(pool.map(_raise, (SEED, SEED + 1)))
    for raised in found:
        assert raised.broken == 0, raised.examples
        assert 0 < raised.reopened < raised.tried
        assert raised.tried > 50


def test_the_command_tells_what_it_tried(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    assert main(["raises", "--seconds", "0.5", "--json", str(tmp_path / "found.json")]) == 0
    assert "0 broken" in capsys.readouterr().out
    assert '"broken": 0' in (tmp_path / "found.json").read_text()


def test_the_command_strikes_the_driver(capsys, tmp_path):
    assert main(["driver", "--seconds", "0.3", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["driver"]
    assert 0 < found["struck"] <= found["tried"] < found["planned"]
    assert (
        f"driver: {found['tried']} of {found['planned']} faults, 0 broken"
        in capsys.readouterr().out
    )


def test_the_command_fails_and_names_the_place_where_the_driver_breaks(capsys, monkeypatch):
    def strike(moment, error):
        raise AssertionError("OSError at log.py:7")

    monkeypatch.setattr(driver, "strike", strike)
    assert main(["driver", "--seconds", "0"]) == 1
    assert "1 broken\n  OSError at log.py:7\n" in capsys.readouterr().out


def test_the_command_simulates_fresh_seeds(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "MINUTES", 1)
    assert main(["simulation", "--seconds", "0.1", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["simulation"]
    said = capsys.readouterr()
    first = int(re.search(r"fresh seeds from (\d+) on", said.err)[1])
    assert f"simulation: seeds {first} to {first + found['seeds'] - 1}" in said.out
    assert found["turns"] > 0
    assert found["broken"] == []


async def survived(*_):
    return cuts.Survived(1, 1, [])


def test_the_command_runs_all_kinds_if_none_is_named(monkeypatch, tmp_path):
    broken = []
    monkeypatch.setattr(command.runs, "run", lambda *_: iter(()))
    monkeypatch.setattr(command, "cut_all", lambda *_: [cutting.Tally("nor", 1)])
    monkeypatch.setattr(raising, "run", lambda *_: raising.Raised())
    monkeypatch.setattr(driver, "run", lambda *_: driver.Struck(broken=len(broken)))
    monkeypatch.setattr(command.storm, "main", lambda _: len(blown))
    monkeypatch.setattr(command, "survive", survived)
    monkeypatch.setattr(command.soak, "main", lambda _: 0)
    monkeypatch.setattr(command, "check_all_on_boards", lambda: list(failed))
    file, blown, failed = tmp_path / "found.json", [], []
    assert main(["--json", str(file)]) == 0
    kinds = ["cuts", "raises", "driver", "simulation", "storm", "boards"]
    assert list(json.loads(file.read_text())) == kinds
    broken.append(1)
    assert main([]) == 1
    broken.clear()
    blown.append(1)
    assert main([]) == 1
    blown.clear()
    failed.append("on a board")
    assert main([]) == 1


@pytest.mark.parametrize("medium", cutting.MEDIA)
def test_cuts_have_one_fingerprint_if_they_leave_the_same(medium):
    left = {}
    for point in cutting.moments(medium, 256)[:40]:
        for cut in point.cuts(Random(SEED), 1):
            found, _ = point.next_life(cut, point.world, 0)
            left.setdefault((id(point), point.fingerprint(cut)), []).append(_content(found))
    contents = {key: set(found) for key, found in left.items()}
    assert all(len(found) == 1 for found in contents.values())
    assert max(len(found) for found in left.values()) > 1
    assert len(contents) > 80


def _content(medium):
    data = bytearray(medium.segment_bytes)
    found = b""
    for segment in range(medium.segments):
        medium.read(segment, 0, data)
        found += data
    return found


@pytest.mark.parametrize("unit", [1, 4])
def test_small_units_are_cut_at_every_byte(unit):
    point = next(p for p in cutting.moments("nor", unit) if p.operation)
    sample = cutting.sample(unit)
    done = {byte for _, byte, _ in point.cuts(Random(SEED), sample, True)}
    assert done == {None, *range(len(point.operation[3]) + 1)}


@pytest.mark.parametrize("unit", [16, 256])
def test_large_units_are_cut_beside_each_border(unit):
    point = next(p for p in cutting.moments("nor", unit) if p.operation)
    size = len(point.operation[3])
    done = {byte for _, byte, _ in point.cuts(Random(SEED), cutting.sample(unit), True)}
    for border in range(0, size + 1, unit):
        assert done >= {max(0, border - 1), border, min(size, border + 1)}
    assert len(done) > size // unit * 3
