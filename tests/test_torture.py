"""A bounded part of the exhaustive runs of `make torture`: a sample of each kind."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from tests.torture import cutting, raising  # noqa: E402 (the line above makes it importable)
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
