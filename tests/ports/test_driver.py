"""The driver on a broker, a gateway and a chip in memory."""

# slow on boards: test_a_restart_at_any_packet_starts_no_tool_twice

import asyncio

import virtual
from bed import TURN, Bed
from chip import PART, REFUSE
from gateway import TEXT
from helpers import pack_reply, raises
from mote.log import LogError
from mote.tools import ONCE, tool

DONE = [("done", "done " * 300)]


def _tool_script(name):
    return [(pack_reply([(name, {})]), 1, 10), (TEXT, 0, 10)]


def test_a_turn_runs_its_tools_and_is_answered_once():
    bed = Bed(TURN)
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert bed.runs == [("look", 1), ("pour", 2)]
    assert bed.broker.answers("1") == DONE
    assert len(bed.broker.outs) == 1
    assert bed.broker.states[-1] == {"online": True, "epoch": 1}
    assert not bed.broker.waiting()


def test_an_answer_that_is_not_acknowledged_comes_again_with_the_same_bytes():
    bed = Bed(TURN)
    bed.broker.deaf = True
    bed.broker.ask("do it", "1")
    bed.run(bed.until(lambda: bed.broker.outs))

    async def hang_up():
        await bed.until(lambda: len(bed.broker.outs) == 2)
        bed.broker.hang_up()
        await bed.until(lambda: len(bed.broker.outs) == 3)
        bed.broker.deaf = False
        bed.broker.hang_up()
        await bed.answered()

    bed.run(hang_up())
    assert bed.broker.outs[1:] == bed.broker.outs[:1] * (len(bed.broker.outs) - 1)
    assert bed.runs == [("look", 1), ("pour", 2)]


def test_the_connection_may_end_anywhere_in_a_turn():
    bed = Bed(TURN)
    take = bed.broker.take
    left = [0]

    def count(head, reader):
        left[0] -= 1
        if not left[0]:
            bed.broker.hang_up()
        else:
            take(head, reader)

    bed.broker.take = count
    for n in range(1, 25):
        left[0] = n
        bed.gateway.script = list(TURN)
        bed.broker.ask("do it", str(n))
        bed.run(bed.answered(n))
        assert bed.broker.answers(str(n)) == DONE
        bed.broker.outs = bed.broker.outs[:n]  # one may have come twice
    assert bed.runs == [("look", 1), ("pour", 2)] * 24


def test_a_restart_at_any_packet_starts_no_tool_twice():
    bed = Bed(TURN)
    take = bed.broker.take
    left = [0]

    def count(head, reader):
        left[0] -= 1
        if not left[0]:
            raise LogError("the chip fails")  # from inside the pump, as a flash would
        take(head, reader)

    bed.broker.take = count
    for n in range(2, 18):
        left[0] = n
        bed.gateway.script = list(TURN)
        bed.broker.ask("do it", str(n))
        try:
            bed.run(bed.until(lambda: left[0] < 1))
        except LogError:
            pass
        bed.run(bed.answered(n - 1))
        assert bed.broker.answers(str(n)) == DONE
        bed.broker.outs = bed.broker.outs[: n - 1]
    assert len([run for run in bed.runs if run[0] == "pour"]) == 16


def test_what_the_log_raises_ends_the_run_and_the_next_life_goes_on():
    bed = Bed(TURN)

    async def fail():
        await bed.until(lambda: bed.agent.log.seq > 2)
        bed.chip.bad_blocks = {(n, 0) for n in range(bed.chip.segments)}
        await bed.until(lambda: bed.driver._failure)

    bed.broker.ask("do it", "1")
    raises(LogError, bed.run, fail())
    bed.chip.bad_blocks = set()
    bed.run(bed.answered())
    assert bed.broker.answers("1") == DONE


def test_a_packet_that_can_not_be_sent_is_made_up_for_by_the_next_connection():
    bed = Bed(TURN)
    take = bed.broker.take
    left = [0]

    def count(head, reader):
        left[0] -= 1
        if not left[0]:
            raise OSError(12, "no memory for a segment")
        take(head, reader)

    bed.broker.take = count
    for n in range(2, 18):
        left[0] = n
        bed.gateway.script = list(TURN)
        bed.broker.ask("do it", str(n))
        before = virtual.now_ms()
        bed.run(bed.answered(n - 1))
        assert virtual.now_ms() - before < 30000
        assert bed.broker.answers(str(n)) == DONE
        bed.broker.outs = bed.broker.outs[: n - 1]
    assert bed.runs == [("look", 1), ("pour", 2)] * 16


def test_where_nobody_can_acknowledge_an_answer_is_sent_once():
    bed = Bed(TURN)
    bed.broker.properties = b"\x24\0"  # Maximum QoS
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert len(bed.broker.outs) == 1


async def _answered_in_spite_of(bed, n, kind):
    await bed.until(lambda: bed.broker.states)
    last = bed.chip.operations + n
    bed.chip.fail(last, kind)
    bed.broker.ask("do it", "1")
    await bed.answered()
    return last


def test_a_flash_that_fails_once_at_any_operation_is_not_noticed():
    for kind in (REFUSE, PART):
        n = 0
        while True:
            bed = Bed(TURN)
            last = bed.run(_answered_in_spite_of(bed, n, kind))
            assert bed.broker.answers("1") == DONE
            assert bed.runs == [("look", 1), ("pour", 2)]
            if bed.chip.operations <= last:
                break
            n += 1
        assert n > 10


def test_silence_of_the_gateway_is_reported_once():
    bed = Bed(TURN)
    bed.broker.absent = True

    async def wait():
        await asyncio.sleep(60)
        assert len([text for text in bed.said if "no gateway" in text]) == 1
        bed.broker.absent = False
        await bed.answered()

    bed.broker.ask("do it", "1")
    bed.run(wait())
    assert bed.broker.answers("1") == DONE


def test_a_cancelled_turn_stops_its_tool():
    begun = []

    @tool("Wait.", ONCE, timeout_s=100)
    async def hold():
        begun.append(1)
        await asyncio.sleep(90)

    bed = Bed(_tool_script("hold"), [hold])

    async def cancel():
        await bed.until(lambda: begun)
        bed.agent.cancel(None)
        bed.driver._wake.set()
        await bed.answered()

    bed.broker.ask("do it", "1")
    before = virtual.now_ms()
    bed.run(cancel())
    assert bed.broker.answers("1") == [("cancelled", "cancelled")]
    assert virtual.now_ms() - before < 80000


def test_a_call_whose_task_ended_without_a_word_has_an_unknown_outcome():
    bed = Bed(TURN)

    async def silent(turn, tool, args):
        pass

    async def go():
        bed.driver._tool = silent
        await bed.answered()

    bed.broker.ask("do it", "1")
    bed.run(go())
    assert bed.broker.answers("1") == DONE
    assert len([text for text in bed.results() if b"outcome unknown" in text]) == 2


def test_a_call_without_a_task_does_not_keep_its_turn_from_ending():
    bed = Bed(TURN)
    begun = []

    async def lost(turn, tool, args):
        bed.driver._running.clear()
        begun.append(turn)

    async def go():
        bed.driver._tool = lost
        await bed.until(lambda: begun)
        bed.agent.cancel(None)
        bed.driver._wake.set()
        await bed.answered()

    bed.broker.ask("do it", "1")
    bed.run(go())
    assert bed.broker.answers("1") == [("cancelled", "cancelled")]


def test_a_tool_that_takes_too_long_is_told_to_the_model():
    @tool("Wait.", ONCE, timeout_s=2)
    async def hold():
        await asyncio.sleep(90)

    bed = Bed(_tool_script("hold"), [hold])
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert b"no result within 2 s; it was started, its outcome is unknown" in bed.results()[0]


def test_the_time_that_the_gateway_tells_may_jump():
    bed = Bed(TURN)
    tip = bed.gateway.tip
    times = [1700000000, 5, 0, 4000000000]

    def jump():
        times.append(times.pop(0))
        bed.gateway.unix_s = times[0]
        tip()

    bed.gateway.tip = jump
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert bed.broker.answers("1") == DONE
