"""Connections: how they begin and end, what they are told, and brokers that are odd or silent."""

import asyncio

import virtual
from bed import TURN, Bed
from hooks import big_bed, forever, hooked, watched

DONE = [("done", "done " * 300)]


def test_a_subscription_that_is_refused_is_said_and_tried_again():
    bed = Bed(TURN)

    async def go():
        bed.broker.sealed = bed.driver._topic + "dn"
        await bed.until(lambda: bed.broker.connections > 2)
        assert not bed.broker.states
        bed.broker.sealed = None
        await bed.answered()

    bed.broker.ask("do it", "1")
    bed.run(go())
    refused = [text for text in bed.said if "refuses to let us read" in text]
    assert len(refused) == 1 and "not authorized" in refused[0], bed.said


def test_an_end_on_purpose_has_the_will_published():
    bed = Bed(TURN)
    bed.run(bed.until(lambda: bed.broker.states))
    assert bed.broker.farewells == [4]
    assert bed.broker.states == [{"online": True, "epoch": 1}]


def test_at_its_end_the_gateway_has_what_the_device_did():
    bed = Bed(TURN)
    bed.broker.ask("do it", "1")
    bed.run(bed.until(lambda: bed.broker.outs))
    assert bed.gateway.hashes[-1] == bed.agent.log.head
    assert not [text for text in bed.said if "closed" in text], "its own end is no news"


def test_after_a_guess_at_3_1_1_the_next_connection_tries_5_again():
    bed = Bed(TURN)
    take = bed.broker.take
    bed.broker.take = lambda head, reader: None  # a bridge that is not there yet

    async def go():
        await bed.until(lambda: bed.broker.connections == 1)
        await asyncio.sleep(2.5)
        bed.broker.take = take
        await bed.until(lambda: bed.broker.states)
        assert bed.driver.session.level == 4
        bed.broker.hang_up()
        await bed.until(lambda: len(bed.broker.states) == 2)
        assert bed.driver.session.level == 5

    bed.run(go())


def test_in_3_1_1_the_device_says_itself_that_it_is_offline():
    bed = Bed(TURN)
    bed.level = 4
    bed.run(bed.until(lambda: bed.broker.states))
    assert bed.broker.farewells == [-1]
    assert bed.broker.states[1:] == [{"online": False}]


def test_who_is_thrown_out_again_and_again_is_told_of_a_clone():
    bed = Bed(TURN)

    async def go():
        for n in range(1, 4):
            await bed.until(lambda n=n: len(bed.broker.states) == n)
            assert not [text for text in bed.said if "another client" in text], n
            bed.broker.hang_up()
        await bed.until(lambda: len(bed.broker.states) == 4)

    begun = virtual.now_ms()
    bed.run(go())
    assert len([text for text in bed.said if "another client" in text]) == 1
    assert virtual.now_ms() - begun >= 1500  # it stands back: for half of 1 and of 2 s, at least


def test_a_broker_that_reads_no_more_is_left():
    bed, data = big_bed(20000)
    forever(bed, lambda: None)
    bed.broker.ask("do it", "1")
    begun = virtual.now_ms()
    bed.run(bed.answered())
    assert virtual.now_ms() - begun < 200000
    assert bed.broker.connections == 2
    assert bed.broker.answers("1") == [("done", data.decode())]


def test_a_slow_line_that_takes_an_answer_piece_by_piece_is_not_dead():
    bed, data = big_bed(20000)

    def hook(stream):
        drain = stream.drain

        async def drained():
            if len(stream._sent) > 500:
                await asyncio.sleep(4)  # a minute and more without a word from the broker
            await drain()

        stream.drain = drained

    hooked(bed, hook)
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert bed.broker.connections == 1
    assert bed.broker.answers("1") == [("done", data.decode())]


def test_a_broker_that_answers_no_subscribe_is_left():
    bed = Bed(TURN)
    bed.broker.mute = True

    async def go():
        await bed.until(lambda: bed.broker.connections == 2)
        bed.broker.mute = False
        await bed.answered()

    bed.broker.ask("do it", "1")
    bed.run(go())
    assert [text for text in bed.said if "does not answer SUBSCRIBE" in text]


def test_a_topic_alias_stands_for_the_long_name_of_up():
    long, short = Bed(TURN), Bed(TURN)
    short.broker.properties = b"\x22\0\x0a"  # Topic Alias Maximum: 10
    counts = []
    for bed in (long, short):
        sizes = watched(bed)
        bed.broker.ask("do it", "1")
        bed.run(bed.answered())
        assert bed.broker.answers("1") == DONE
        counts.append(sum(sizes))
    assert counts[1] < counts[0] - 20


def test_a_broker_that_takes_only_tiny_packets_is_no_broker():
    bed = Bed(TURN)
    bed.broker.properties = b"\x27\0\0\0\x64"

    async def go():
        await bed.until(lambda: bed.broker.connections > 2)
        bed.broker.properties = b""
        await bed.answered()

    bed.broker.ask("do it", "1")
    bed.run(go())
    said = [text for text in bed.said if "100 bytes" in text]
    assert len(said) == 1, bed.said
