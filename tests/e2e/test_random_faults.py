"""A slice of the storm: real processes, killed at random, over connections that fail."""

import itertools
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from tests.e2e import storm_accidents, storm_checks  # noqa: E402 (the line above makes it importable)
from tests.e2e.storm import main, weather  # noqa: E402
from tests.e2e.storm_asker import Asker  # noqa: E402
from tests.e2e.storm_model import KINDS, Asked, Model, asked_in  # noqa: E402

ASKS, SEED = 160, 58  # the first seven accidents of this seed are of all kinds


@pytest.mark.slow
async def test_each_ask_has_one_answer_and_no_call_starts_twice_whatever_fails(
    tmp_path: Path,
) -> None:
    made = await weather(tmp_path, ASKS, SEED, devices=8, strike_every_s=1.5)
    counts = made.counts()
    print(counts)
    assert made.broken == []
    assert counts["distinct answers"] == ASKS
    ended = counts["how they ended"]
    assert ended["done"] >= ASKS * 9 // 10  # turns of a restored log end otherwise
    assert counts["ONCE calls started"] > ASKS // 4
    # it was a storm
    assert {"device", "gateway", "log restored"} <= set(counts["accidents"])
    assert sum(counts["accidents"].values()) >= 8
    assert len(counts["faults"]) >= 8
    assert sum(counts["faults"].values()) > ASKS


def test_the_seed_decides_which_accidents_happen() -> None:
    def first(seed: int) -> list[str]:
        return list(itertools.islice(storm_accidents._dealt(random.Random(seed)), 96))

    assert first(1) == first(1) != first(2)
    assert Counter(first(3)) == {kind: 2 * n for kind, n in storm_accidents._DECK.items()}


# What the checks find: each of them can fail.


def _asks() -> list[tuple[str, Asked]]:
    return [("a", Asked("d", 1, "talk"))]


def test_answers_that_differ_are_found() -> None:
    asker = Asker(1)
    assert storm_checks.answers(asker, _asks()) == ["a: no answer"]
    good = b'{"id": "a", "status": "done", "text": "answer to d 1"}'
    asker._take(good)
    asker._take(good)
    assert storm_checks.answers(asker, _asks()) == []
    asker._take(good.replace(b"}", b" }"))
    assert "2 distinct answers" in storm_checks.answers(asker, _asks())[0]
    other = Asker(1)
    other._take(good.replace(b"to d 1", b"to d 2"))
    assert "not the model's" in storm_checks.answers(other, _asks())[0]


def test_a_refusal_is_no_answer() -> None:
    asker = Asker(1)
    asker._take(b'{"id": "a", "status": "refused", "text": "busy"}')
    assert asker.refused == {"busy": 1}
    assert storm_checks.answers(asker, _asks()) == ["a: no answer"]


def test_provider_calls_without_a_crash_between_them_are_found() -> None:
    model = Model(1)
    key = ("d", 1, 0)
    model.completed[key] = 2
    model.begun[key], model.moments[key] = [1.0, 3.0], [2.0, 4.0]
    assert storm_checks.provider(model, [2.5], {}) == []
    assert storm_checks.provider(model, [], {"d": [2.5]}) == []
    assert len(storm_checks.provider(model, [], {"other": [2.5]})) == 1
    assert len(storm_checks.provider(model, [], {})) == 1
    assert len(storm_checks.provider(model, [0.5, 4.5], {})) == 1


def test_a_call_that_was_started_twice_is_found(tmp_path: Path) -> None:
    class Device:
        name = "d"

        def tokens(self) -> dict[str, int]:
            return {"d.1.0": 1, "d.2.0": 2}

    assert storm_checks.once([Device()]) == ["d: d.2.0 was started 2 times"]  # type: ignore[list-item]


@pytest.mark.parametrize("kind", KINDS)
def test_an_ask_is_read_out_of_a_message_that_tells_of_a_restart(kind: str) -> None:
    asked = Asked("device-1", 17, kind)
    assert asked_in(asked.text + "\n(the device restarted)") == asked


def test_the_command_tells_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--asks" in capsys.readouterr().out
