"""What a device tells of its chain when the gateway has another one."""

from chip import Chip
from gateway import Line, deliver, drain, line, replica_is_whole
from helpers import KEY, Bench, Random
from mote import wire
from mote.link import Link


def settled(segments, most=0, chip=None):
    """A line whose log has so many segments; what it sends is in the gateway's `messages`."""
    made = line(chip=chip or Chip(4, 64, 6144))
    made.link.connected(made.bench.now_ms, most=most)
    made.until_quiet()
    n = 0
    while len(made.bench.log.segments()) < segments:
        n += 1
        made.bench.agent.remember("moss", "x" * 250 + "%d" % n)
    made.until_quiet(5000)
    assert replica_is_whole(made)
    return made


def part(made):
    """Let the gateway's newest record be another one, and the device hear of it."""
    made.gateway.hashes[-1] = bytes(32)
    made.gateway.tip()
    deliver(made)
    assert "differs" in made.link.trouble


def chain_of(made):
    """[[record, id]] of the newest record, and those before which segments begin."""
    log = made.bench.log
    found = [log.seq] + [first - 1 for first, _, _ in reversed(log.segments())]
    return [[seq, log.hash_at(seq)[: wire.ID]] for seq in found]


def test_the_points_are_the_newest_record_and_the_ends_of_segments():
    made = settled(4)
    part(made)
    assert drain(made) == [wire.POINTS]
    (points,) = made.gateway.points
    assert points == chain_of(made)
    assert len(points) == 5
    assert points[-1] == [0, made.bench.log.hash_at(0)[: wire.ID]]


def test_there_are_24_at_most_the_newest():
    made = settled(26)
    part(made)
    drain(made)
    (points,) = made.gateway.points
    assert len(points) == 24
    assert points == chain_of(made)[:24]


def test_they_fit_a_packet():
    for most in (100, 128, 250, 600):
        made = settled(12, most)
        part(made)
        message = bytes(made.link.poll(made.bench.now_ms))
        assert len(message) <= most
        made.gateway.receive(message)
        assert made.gateway.seen[-1] == wire.POINTS, "in one message, not in fragments"
        (points,) = made.gateway.points
        assert points == chain_of(made)[: len(points)]
        assert len(points) == min(13, (most - 64) // 24), most


def test_then_nothing_is_sent_for_a_minute_and_then_both_again():
    made = settled(2)
    part(made)
    start = made.bench.now_ms
    assert drain(made) == [wire.POINTS]
    made.bench.agent.remember("moss", "wet")
    for later in (1, 300, 15000, 59999):
        made.bench.now_ms = start + later
        assert drain(made) == [], later
        assert made.link.deadline() == start + 60000
    made.bench.now_ms = start + 60000
    assert drain(made) == [wire.HELLO]
    deliver(made)
    assert "differs" in made.link.trouble
    assert drain(made) == [wire.POINTS]
    assert drain(made) == []
    assert made.link.deadline() == start + 120000
    assert made.gateway.points[0] != made.gateway.points[1], "there is a newer record"


def test_a_tip_that_differs_again_is_answered_with_points_again():
    made = settled(2)
    part(made)
    drain(made)
    made.gateway.tip()
    deliver(made)
    assert drain(made) == [wire.POINTS]


def test_requests_wait_meanwhile():
    made = settled(2)
    part(made)
    drain(made)
    made.bench.ask("go", "s", "1")
    made.bench.settle()
    made.bench.now_ms += 50000
    assert drain(made) == []


def test_it_goes_on_when_the_gateway_agrees_again():
    made = settled(2)
    good = made.gateway.hashes[-1]
    part(made)
    drain(made)
    made.bench.agent.remember("moss", "wet")
    made.gateway.hashes[-1] = good
    made.gateway.tip()  # somebody accepted the device's branch
    deliver(made)
    assert made.link.trouble is None
    made.bench.now_ms += 300
    made.until_quiet()
    assert replica_is_whole(made)
    assert len(made.gateway.points) == 1


def test_a_gateway_that_went_back_to_a_point_gets_what_is_behind_it():
    made = settled(4)
    part(made)
    drain(made)
    common = made.gateway.points[0][2][0]
    del made.gateway.frames[common:]
    del made.gateway.hashes[common + 1 :]
    made.until_quiet()
    assert made.link.trouble is None
    assert replica_is_whole(made)


def test_the_replicas_branch_comes_back_behind_the_points():
    made = settled(3)
    backup = made.bench.chip.copy()
    made.bench.agent.remember("fern", "dry")
    made.bench.agent.remember("moss", "wet")
    made.until_quiet()
    b = Bench(backup, now_ms=made.bench.now_ms)
    b.agent.remember("moss", "dry")
    other = Line(b, Link(b.agent, KEY, Random(3).bytes), made.gateway, Random(3))
    gateway = made.gateway
    other.link.connected(b.now_ms)
    drain(other)
    deliver(other)
    assert other.link.trouble
    drain(other)
    common = gateway.points[0][1][0]
    lost = {
        n + 1: (gateway.frames[n][2], gateway.frames[n][5:])
        for n in range(common, len(gateway.frames))
    }
    gateway.lost = (common + 1, lost)
    del gateway.frames[common:]
    del gateway.hashes[common + 1 :]
    other.until_quiet()
    assert other.link.trouble is None
    assert replica_is_whole(other)
    assert [key for key, _ in b.agent.state.facts] == ["fern", "moss"]
