"""Messages over a packet's size go up in fragments, which the gateway joins."""

from gateway import drain, line, replica_is_whole, texts, whole
from helpers import raises
from mote import records as r
from mote import wire
from mote.msgpack import FormatError, Unpacker
from restored import facts, reborn, restore, story, words


class Narrow:
    """Checks that no message of a line is over `most` bytes; keeps its fragments' fields."""

    def __init__(self, made, most):
        self.fragments = []
        self._most = most
        self._receive = made.gateway.receive
        made.gateway.receive = self.receive

    def receive(self, message):
        """Pass it on."""
        message = bytes(message)
        assert len(message) <= self._most
        fields = Unpacker(message[wire.MAC :]).value()
        if fields[0] == wire.FRAGMENT:
            self.fragments.append(fields[1:])
        self._receive(message)


def narrow(most, script=(), seed=1, percent=0):
    """A line to a broker that takes messages of `most` bytes; what passes is in its `narrow`."""
    made = line(script, seed, percent)
    made.link.connected(made.bench.now_ms, most=most)
    made.narrow = Narrow(made, most)
    return made


def test_no_message_is_over_what_a_packet_may_have():
    for most in (64, 100, 128, 200, 333, 500):
        made = narrow(most, whole())
        made.until_quiet()
        made.bench.ask("x" * 700, "s", "1")
        made.until_quiet()
        assert texts(made) == [(r.DONE, "done " * 300)], most
        assert replica_is_whole(made), most
        assert made.link.trouble is None
        assert made.gateway.refused == 0
        assert len(made.narrow.fragments) == made.gateway.pieces > 0, most


def test_fragments_are_full_but_the_last_one():
    made = narrow(200)
    made.until_quiet()
    made.bench.ask("x" * 700, "s", "")
    made.bench.agent.cancel(None)
    kept, keep = [], made.gateway.receive
    made.gateway.receive = lambda message: (kept.append(len(message)), keep(message))
    made.until_quiet()
    pieces = made.narrow.fragments
    for n in range(len(pieces) - 1):
        number, offset, length, data = pieces[n]
        if offset + len(data) < length:
            assert pieces[n + 1][:3] == [number, offset + len(data), length]
    assert max(kept) in (198, 199, 200)


def test_a_message_that_fits_is_no_fragment():
    made = narrow(500, whole())
    made.bench.ask("go", "s", "1")
    made.until_quiet()
    assert made.narrow.fragments == []
    assert made.link.message_bytes > 500
    made.link.connected(made.bench.now_ms)
    made.bench.ask("x" * 700, "t", "2")
    made.bench.agent.cancel("t")
    made.gateway.receive = made.narrow._receive
    made.until_quiet()
    assert made.gateway.pieces == 0
    assert replica_is_whole(made)


def test_short_records_fill_a_message_and_no_more():
    made = narrow(200)
    made.until_quiet()
    for n in range(20):
        made.bench.agent.remember("moss", "wet %d" % n)
    made.until_quiet()
    assert made.narrow.fragments == []
    assert made.gateway.seen.count(wire.UPLOAD) < 8
    assert replica_is_whole(made)


def test_the_declarations_go_up_in_fragments():
    made = narrow(100)
    tools = made.bench.agent.tools
    assert len(tools.declaration(0)) < 100
    made.until_quiet()
    made.gateway.send(wire.TOOLS, tools.hash)
    made.step()
    assert [bytes(tools.declaration(n)) for n in range(3)] == [d[3] for d in made.gateway.declared]


def test_lost_and_doubled_fragments_end_well():
    for seed in range(12):
        made = narrow((100, 128, 200, 500)[seed % 4], whole(), seed, 5 + 5 * (seed % 3))
        made.bench.ask("x" * 300, "s", "1")
        made.until_quiet(3000)
        assert texts(made) == [(r.DONE, "done " * 300)], seed
        assert made.bench.runs == [("look", 1), ("pour", 2)], seed
        assert replica_is_whole(made), seed
        assert made.link.trouble is None, seed


def test_numbers_of_fragments_rise_and_differ_between_lives():
    made = narrow(128)
    made.until_quiet()
    seen = []
    for life in range(1, 4):
        assert made.bench.agent.epoch == life
        for name in "ab":
            made.bench.ask("x" * 300, "s%d" % life, "%d%s" % (life, name))
            made.bench.agent.cancel(None)
            made.until_quiet()
        numbers = sorted({fields[0] for fields in made.narrow.fragments})
        made.narrow.fragments.clear()
        assert numbers[0] >> 16 == numbers[-1] >> 16 == life
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert len(numbers) > 1
        seen.extend(numbers)
        reborn(made, made.bench.chip)
        made.link.connected(made.bench.now_ms, most=128)
    assert sorted(set(seen)) == seen


def test_numbers_go_on_in_another_connection():
    made = narrow(128)
    made.until_quiet()
    made.bench.ask("x" * 300, "s", "1")
    made.bench.agent.cancel(None)
    made.until_quiet()
    before = made.narrow.fragments[-1][0]
    made.narrow.fragments.clear()
    made.link.lost()
    made.link.connected(made.bench.now_ms, most=128)
    made.bench.ask("x" * 300, "s", "2")
    made.bench.agent.cancel(None)
    made.until_quiet()
    assert made.narrow.fragments[0][0] == before + 1


def test_what_is_left_of_a_message_is_dropped_with_the_connection():
    made = narrow(100)
    made.until_quiet()
    made.bench.ask("x" * 300, "s", "")
    made.bench.agent.cancel(None)
    made.bench.settle()
    made.link.poll(made.bench.now_ms)
    made.bench.now_ms += 300
    made.gateway.receive(made.link.poll(made.bench.now_ms))
    assert len(made.narrow.fragments) == 1
    made.link.connected(made.bench.now_ms, most=100)
    assert drain(made) == [wire.HELLO]
    made.until_quiet()
    assert replica_is_whole(made)


def test_each_fragment_is_signed():
    made = narrow(64)  # not even a hello fits
    message = bytearray(made.link.poll(made.bench.now_ms))
    for at in range(0, len(message), 7):
        message[at] ^= 1
        raises(FormatError, made.gateway.receive, message)
        message[at] ^= 1


def test_records_come_back_over_a_narrow_link():
    made, backup = story()
    before = words(made)
    restore(made, backup)
    watched = Narrow(made, 128)
    made.link.connected(made.bench.now_ms, most=128)
    made.until_quiet()
    made.bench.ask("once more", "other", "sent")
    made.until_quiet()
    assert words(made)["sent"] == before["sent"]
    assert facts(made) == {"moss": "wet", "fern": "dry"}
    assert replica_is_whole(made)
    assert watched.fragments
