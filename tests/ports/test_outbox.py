"""Answers that the broker refuses, takes slowly, or has already; long ones."""

import asyncio

import virtual
from bed import TURN, Bed
from hooks import big_bed, interrupted, watched
from mote.agent import Agent
from mote.log import Lost

DONE = [("done", "done " * 300)]
ONE = b"\x21\0\1"  # Receive Maximum: 1


async def _cut_off(bed, present):
    """The broker has an answer, and does not say so before the connection ends."""
    bed.broker.deaf = True
    await bed.until(lambda: bed.broker.outs)
    bed.broker.deaf, bed.broker.present = False, present
    bed.broker.hang_up()
    await bed.answered()


def test_a_session_that_was_kept_gets_the_same_packet_again():
    bed = Bed(TURN)
    bed.broker.ask("do it", "1")
    bed.run(_cut_off(bed, True))
    first, again = bed.broker.packets
    assert first[1] is False
    assert again == (first[0], True)


def test_a_session_that_was_lost_gets_a_new_packet():
    bed = Bed(TURN)
    bed.broker.ask("do it", "1")
    bed.run(_cut_off(bed, False))
    first, again = bed.broker.packets
    assert (first[1], again[1]) == (False, False)
    assert bed.broker.outs[0] == bed.broker.outs[1]


def test_no_more_fly_than_the_broker_receives_at_once():
    bed = Bed(TURN * 3)
    bed.broker.properties = ONE

    async def go():
        await bed.until(lambda: bed.broker.states)
        bed.broker.deaf = True
        for n in range(3):
            bed.broker.ask("do it", str(n), "session %d" % n)
        await bed.until(lambda: bed.broker.outs)
        await asyncio.sleep(30)
        assert len(bed.broker.outs) == 1
        bed.broker.deaf = False
        bed.broker.hang_up()
        await bed.answered(4)

    bed.run(go())
    for n in range(3):
        assert bed.broker.answers(str(n)) == DONE


def test_an_ask_that_is_repeated_often_is_answered_once_more():
    bed = Bed(TURN)
    bed.broker.ask("do it", "1")

    async def go():
        await bed.answered()
        bed.broker.deaf = True
        for _ in range(4):
            bed.broker.ask("do it", "1")
        await bed.until(lambda: not bed.broker.waiting())
        for _ in range(4):
            bed.broker.ask("do it", "1")
        await asyncio.sleep(1)
        assert len(bed.broker.outs) == 2
        bed.broker.deaf = False
        bed.broker.hang_up()
        await asyncio.sleep(60)

    bed.run(go())
    assert 3 <= len(bed.broker.outs) <= 4
    assert bed.broker.answers("1") == DONE


def test_an_answer_that_the_broker_refuses_three_times_is_in_the_log_only():
    bed = Bed(TURN)
    bed.broker.refusal = 0x87
    bed.broker.ask("do it", "1")
    begun = virtual.now_ms()
    bed.run(bed.answered())
    assert 60000 < virtual.now_ms() - begun < 100000
    assert bed.broker.connections == 1
    assert len(bed.broker.outs) == 3
    refusals = [text for text in bed.said if "refuses the answer" in text]
    assert len(refusals) == 3 and "not authorized" in refusals[0]
    assert [text for text in bed.said if "in the log only" in text]


def test_a_refused_answer_is_sent_again_and_may_be_taken_then():
    bed = Bed(TURN)
    bed.broker.refusal = 0x97

    async def go():
        await bed.until(lambda: bed.broker.outs)
        await asyncio.sleep(1)
        assert bed.agent.turns
        bed.broker.refusal = 0
        await bed.answered(2)

    bed.broker.ask("do it", "1")
    bed.run(go())
    assert bed.broker.answers("1") == DONE
    assert [text for text in bed.said if "quota exceeded" in text]
    assert not [text for text in bed.said if "in the log only" in text]


def test_an_answer_of_64_kib_goes_out_in_pieces():
    bed, data = big_bed(65000)
    sizes = watched(bed)
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert bed.broker.answers("1") == [("done", data.decode())]
    assert max(sizes) <= bed.link.message_bytes + 64


def test_what_is_written_meanwhile_follows_the_answer():
    bed, data = big_bed(20000)
    left = interrupted(bed, lambda: bed.broker.publish(b'{"no text": 1}'))
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert not left
    assert bed.broker.answers("1") == [("done", data.decode())]
    assert len(bed.broker.refused) == 1
    assert bed.broker.connections == 1
    assert bed.broker.waiting() == 0


def test_a_connection_that_ends_in_the_middle_of_an_answer_repeats_it():
    bed, data = big_bed(20000)
    interrupted(bed, bed.broker.hang_up)
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert bed.broker.connections == 2
    assert bed.broker.answers("1") == [("done", data.decode())]
    assert len(bed.broker.outs) == 1


def test_a_flood_of_bad_asks_does_not_end_an_answer():
    bed, data = big_bed(20000)

    def flood():
        for _ in range(50):
            bed.broker._send_publish("in", b'{"no text": 1}')

    interrupted(bed, flood)
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert bed.broker.connections == 1
    assert bed.broker.answers("1") == [("done", data.decode())]
    assert 10 < len(bed.broker.refused) <= 50


def test_an_answer_that_the_log_loses_meanwhile_is_told_as_lost():
    bed, _ = big_bed(20000)

    lost = []
    answer = Agent.answer

    class Torn:
        def __init__(self, body):
            self.body = body

        def fill(self, into):
            if lost:
                raise Lost("it is not in the log")
            return self.body.fill(into)

    def answered(agent, seq, number):
        session, name, how, text = answer(agent, seq, number)
        return session, name, how, lambda: Torn(text())

    Agent.answer = answered
    interrupted(bed, lambda: lost.append(1))
    bed.broker.ask("do it", "1")
    try:
        bed.run(bed.until(lambda: bed.broker.outs))
    finally:
        Agent.answer = answer
    assert bed.broker.outs[0]["status"] == "failed"
    assert "no longer in the log" in bed.broker.outs[0]["text"]
    assert bed.broker.connections == 2
    assert [text for text in bed.said if "went out of the log" in text]


def test_a_reply_that_is_no_utf8_is_still_an_answer():
    bed = Bed([(b"\xff\xfe", 0, 10)])
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert bed.broker.answers("1") == [("done", "(reply not UTF-8)")]
