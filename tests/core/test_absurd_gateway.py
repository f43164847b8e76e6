"""A gateway that has the key and says absurd things."""

from helpers import answers, bench, digest16, pack_reply
from mote import records as r
from mote.turn import Limits


def test_absurd_counts_of_a_gateway_do_not_reach_the_log():
    for calls, tokens in ((-1, 5), (1 << 40, 5), (1, -1), (1, 1 << 63)):
        b = bench()
        turn = b.turn(b.ask())
        b.settle()
        for _ in range(Limits.steps):
            data = pack_reply([("look", {"n": 1})])
            assert not b.agent.part(turn, turn.got, b""), "an empty part costs flash"
            assert b.agent.part(turn, turn.got, data)
            assert b.agent.reply_end(turn, len(data), digest16(data), calls, tokens)
            b.settle()
        assert [how for how, _ in answers(b)] == [r.FAILED]
        assert turn.ncalls == turn.tokens == 0
