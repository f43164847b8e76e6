"""A device's log on raw flash, through the block-device protocol."""

# slow on boards: test_turns_go_round_the_ring_and_over_restarts

from blockdev import BlockDevice
from helpers import Bench
from mote import records as r
from mote.turn import Limits
from mote_ports.blocks import BlockMedium

BLOCK = 4096
SEGMENT = 4 * BLOCK


def medium_on(device, unit):
    return BlockMedium(device, 6, SEGMENT, unit, first_block=2)


def limits():
    made = Limits()
    made.open_turns, made.steps, made.calls, made.reply_bytes = 2, 3, 3, 512
    made.seen_asks = made.sessions = made.facts = 4
    return made


def one_turn(b, name):
    seq = b.ask("what is it?", "s", name)
    b.settle()
    b.reply(b.turn(seq), [("look", {"n": 1}), ("pour", {"n": 2})])
    b.settle()
    b.reply(b.turn(seq), [], "it is " + name)
    b.settle()
    b.agent.confirmed(b.log.seq)
    b.agent.tidy()


def test_turns_go_round_the_ring_and_over_restarts():
    for unit in (1, 4, 16, 256):
        device = BlockDevice(BLOCK, 32, unit)
        seq = 0
        for life in range(6):
            b = Bench(medium_on(device, unit), limits=limits(), now_ms=life * 10**9)
            assert b.log.seq == seq + 1, "one BOOT more than was there"
            for n in range(60):
                b.now_ms += 10**6
                one_turn(b, "%d.%d" % (life, n))
                device.calls.clear()
            assert [text for _, (_, _, how, text) in b.published if how == r.DONE] == [
                "it is %d.%d" % (life, n) for n in range(60)
            ]
            assert b.log.notes == []
            b.log.sync()
            seq = b.log.seq
        assert b.log.oldest() > 1, "the ring has gone round"
        assert device.cells[: 2 * BLOCK] == b"\xff" * (2 * BLOCK), "nothing before the region"
        assert device.cells[26 * BLOCK :] == b"\xff" * (6 * BLOCK), "nor behind it"
