"""Asks that meet the records of a lost chain."""

import pytest
from fake_device import FakeDevice, watering
from mote_host.providers.base import Reply

OK = 0


async def test_an_ask_that_is_asked_again_before_it_comes_back_has_one_answer(bench, fern):
    bench.provider.script = watering()
    await bench.sync(fern)
    backup = fern.medium.copy()
    _, _, _, first = await bench.turn(fern, "water it", name="a1")
    await bench.sync(fern)
    again = FakeDevice("fern", fern.key, medium=backup, seed=5)
    again.ask("water it", name="a1")
    bench.provider.script = [*watering()[1:2], Reply("twice")]
    await bench.sync(again)
    assert {text for *_, text in again.answers} <= {first}
    assert again.ran == []
    again.ask("water it", name="a1")
    again.settle()
    assert again.answers[-1] == ("main", "a1", OK, first)


@pytest.mark.parametrize("more", range(3))
async def test_an_answer_of_the_lost_chain_is_for_its_own_ask(bench, fern, more):
    bench.provider.script = [Reply("one")]
    await bench.sync(fern)
    backup = fern.medium.copy()
    for _ in range(more):  # so that the asks of both chains have the same number, once
        fern.agent.cancel(None)
        fern.agent.remember("plant", "fern")
    await bench.turn(fern, "first", name="a1")
    await bench.sync(fern)
    again = FakeDevice("fern", fern.key, medium=backup, seed=5)
    again.ask("second", name="a2")
    bench.provider.script = [Reply("two")]
    await bench.until(again, lambda: any(name == "a2" for _, name, *_ in again.answers))
    assert [answer for answer in again.answers if answer[1] == "a2"] == [("main", "a2", OK, "two")]
