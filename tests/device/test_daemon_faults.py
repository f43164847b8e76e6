# cpython only, # slow
"""The daemon under faults: no memory, a full or a damaged log, a flash that fails."""

import asyncio

import pytest
from chip import PART, REFUSE, WRONG, Chip
from helpers import opened
from mote import records as r
from mote.agent import Agent
from mote_ports.answers import Answer
from torture.driver import DONE, OUT_OF_MEMORY, Model
from torture.house import House

CHIP = (1, 6, 20480)


@pytest.fixture
def house(tmp_path):
    with House(tmp_path, Model(), Chip(*CHIP)) as made:
        yield made
        made.check()


def _fail(monkeypatch, owner, name, when=lambda *args: True, error=MemoryError):
    """Let a method raise when it is called, as long as `when` says so; returns the calls."""
    calls = []
    method = getattr(owner, name)

    def failing(*args, **named):
        if when(*args):
            calls.append(args)
            assert len(calls) < 1000, "a busy loop"
            raise error("thrown in")
        return method(*args, **named)

    monkeypatch.setattr(owner, name, failing)
    return calls


async def _both(house):
    assert await house.asked("1") == OUT_OF_MEMORY
    assert await house.asked("2") == DONE


# -- no memory


def test_a_reply_that_does_not_fit_into_memory_ends_its_turn_only(house, monkeypatch):
    _fail(monkeypatch, Agent, "part", lambda agent, turn, *_: turn.seq == 2)
    house.run(_both(house))
    assert [text for text in house.said if "out of memory in the turn of ask 2" in text]


def test_an_answer_that_does_not_fit_into_memory_gives_way_to_one_that_does(house, monkeypatch):
    def when(answer, most):
        return not isinstance(answer._text, str) and len(house.broker.outs) == 0

    _fail(monkeypatch, Answer, "measure", when)
    house.run(_both(house))
    assert len(house.broker.outs) == 2
    # whoever asks again gets the same
    house.run(_again(house))
    assert house.broker.outs[2] == house.broker.outs[0]


async def _again(house):
    house.broker.ask("do it", "1")
    await house.until(lambda: len(house.broker.outs) == 3)


def test_an_answer_that_does_not_fit_once_comes_all_the_same(house, monkeypatch):
    calls = []
    calls = _fail(monkeypatch, Answer, "measure", lambda *_: not calls)

    async def one():
        assert await house.asked("1") == DONE

    house.run(one())
    assert len(calls) == 1


def test_a_closed_turn_that_can_not_be_answered_again_ends_nothing(house, monkeypatch):
    async def go():
        assert await house.asked("1") == DONE
        calls = _fail(monkeypatch, Answer, "measure", lambda *_: len(calls) < 3)
        for n in range(3):
            house.broker.ask("do it", "1")
            await house.until(lambda n=n: len(calls) > n)
        await house.until(lambda: not house.broker.waiting())
        await _again_after(house)

    house.run(go())
    assert len([text for text in house.said if "epoch" in text]) == 1


async def _again_after(house):
    house.broker.ask("do it", "1")
    await house.until(lambda: len(house.broker.outs) == 2)
    assert house.broker.outs[0] == house.broker.outs[1]


def test_a_tool_without_memory_is_a_result_that_the_model_reads(house, monkeypatch):
    _fail(monkeypatch, house.tools.tools[0], "run")

    async def one():
        assert await house.asked("1") == DONE

    house.run(one())
    assert any(b"MemoryError" in frame for frame in house.gateway.frames if frame)


@pytest.mark.parametrize("where", ["open", "next_effect", "tick"])
def test_no_memory_again_and_again_makes_no_busy_loop(house, monkeypatch, where):
    calls = _fail(monkeypatch, Agent, where, lambda *_: not relieved)
    relieved = []

    async def go():
        await asyncio.sleep(600)
        assert 50 < len(calls) <= 122
        relieved.append(True)
        assert await house.asked("1") in (DONE, OUT_OF_MEMORY)
        assert await house.asked("2") == DONE

    house.run(go())
    assert len([text for text in house.said if "trying again" in text]) == 1


def test_no_memory_at_every_packet_makes_no_busy_loop(house, monkeypatch):
    relieved = []
    broker = house.broker
    take = broker.take

    def failing(head, reader):
        if head >> 4 == 3 and not relieved:
            raise MemoryError("thrown in")
        take(head, reader)

    monkeypatch.setattr(broker, "take", failing)

    async def go():
        await asyncio.sleep(600)
        assert 50 < broker.connections <= 122
        relieved.append(True)
        assert await house.asked("1") == DONE

    house.run(go())


# -- the log


@pytest.mark.parametrize("kind", [REFUSE, PART, WRONG])
def test_a_chip_that_fails_at_any_operation_of_a_turn(tmp_path, kind):
    n = 0
    while True:
        with House(tmp_path, Model(), Chip(*CHIP)) as house:
            house.chip.fail(n, kind)
            house.run(_two(house))
            house.check()
            assert house.runs.count(("pour", 2)) == 2
            if house.chip.operations <= n:
                break
        n += 3
    assert n > 15


async def _two(house):
    assert await house.asked("1") == DONE
    assert await house.asked("2") == DONE


def test_a_chip_that_fails_for_a_while_is_tried_again_every_five_seconds(house):
    async def go():
        assert await house.asked("1") == DONE
        house.chip.bad_blocks = {(n, 0) for n in range(house.chip.segments)}
        house.broker.ask("do it", "2")
        await asyncio.sleep(600)
        assert not house.broker.answers("2")
        house.chip.bad_blocks = set()
        assert await house.asked("2") == DONE

    house.run(go())
    assert 1 <= len([text for text in house.said if "trying again every 5 s" in text]) <= 2


# -- a full log


async def _unheard(house, name):
    """Ask while there is no gateway: it is refused, or runs out of time."""
    del house.broker.refused[:]
    house.broker.ask("x" * 700, name)
    await house.until(lambda: house.broker.answers(name) or house.broker.refused, 20)
    await house.until(lambda: house.agent and not house.agent.turns, 20)


async def _fill(house, full):
    """Ask without a gateway until it is `full`; returns how often."""
    house.broker.absent = True
    for n in range(500):
        await _unheard(house, "unheard %d" % n)
        if full():
            return n
    raise AssertionError("it never fills")


async def _boot(house):
    del house.broker.states[:]
    await house.until(lambda: house.broker.states)


def test_a_full_log_refuses_asks_and_boots_until_the_gateway_has_it(house):
    assert house.run(_fill(house, lambda: house.broker.refused), 10**9) > 20
    for n in range(20):
        house.run(_boot(house))
        house.run(_unheard(house, "late %d" % n))
        assert [out["id"] for out in house.broker.refused] == ["late %d" % n]
        assert house.broker.refused[0]["text"].startswith("the log is full: the gateway")
    while opened(house.chip.copy(), 1024).oldest() == 1:  # boots alone make it drop records
        house.run(_boot(house))
    house.broker.absent = False
    house.run(_two(house))
    assert house.gateway.gaps[0][0] == 1


def test_a_full_log_may_drop_what_the_gateway_never_got(tmp_path):
    with House(tmp_path, Model(), Chip(*CHIP), log='when_full = "drop"') as house:
        house.run(_fill(house, lambda: house.agent.log.oldest() > 40), 10**9)
        assert not house.broker.refused

        async def back():
            house.broker.ask("do it", "1")
            await house.until(lambda: house.agent and house.agent.turns)
            house.broker.absent = False
            await _two(house)

        house.run(back())
        house.check()
        first, last = house.gateway.gaps[0]
        assert first == 1
        assert last >= 40
        assert any(frame and frame[2] == r.GAP for frame in house.gateway.frames)


# -- a damaged log


def _flip(path, at):
    """One bit; `at` counts from the end if it is negative."""
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def _newest(house):
    """The file that is written."""
    files = (house.folder / "state" / "log").glob("*.log")
    return max(files, key=lambda path: path.read_bytes()[8:12])


@pytest.fixture
def worn(tmp_path):
    """A house with real files, in which some turns have gone by, in two segments."""
    with House(tmp_path, Model()) as house:

        async def some():
            for n in range(14):
                assert await house.asked("old %d" % n) == DONE

        house.run(some())
        assert house.agent is None or house.agent.log.oldest() == 1
        yield house
        assert not house.broker.faults


def _notes(house):
    return [text for text in house.said if text.startswith("log: segment ")]


@pytest.mark.parametrize(("at", "what"), [(20, "damaged header"), (100, "damaged checkpoint")])
def test_damage_is_reported_with_its_place_and_the_daemon_goes_on(worn, at, what):
    _flip(_newest(worn), at)
    worn.run(_two(worn))
    assert [note for note in _notes(worn) if what in note]


def test_damaged_records_that_the_gateway_lacks_are_a_gap(worn):
    worn.broker.absent = True
    worn.run(_unheard(worn, "unheard"))
    worn.run(_boot(worn))
    held = len(worn.gateway.frames)
    _flip(_newest(worn), -300)
    worn.broker.absent = False
    worn.run(_answered(worn))
    assert "damaged before offset" in _notes(worn)[0]
    assert worn.gateway.gaps
    assert worn.gateway.gaps[0][0] > held


async def _answered(house):
    """As long as the log is in doubt, nothing of class ONCE is begun, and the model is told."""
    assert await house.asked("1") == DONE
    assert await house.asked("2") == DONE
    assert house.runs[-3:] == [("look", 1), ("pour", 2), ("put", 3)]


@pytest.mark.parametrize("at", [2000, -900, -300])
def test_damaged_records_that_the_gateway_has_keep_nobody_from_going_on(worn, at):
    tip = len(worn.gateway.frames)
    _flip(_newest(worn), at)
    worn.run(_answered(worn))
    assert "damaged before offset" in _notes(worn)[0]
    first, last = worn.gateway.gaps[0]
    assert first == tip + 1
    assert last == tip  # none is missing there, the chain goes on from the device's own hash
