"""Sessions: each ASK names the one before it, and only so many are remembered."""

from chip import Chip
from helpers import Bench
from lives import few
from mote import records as r
from mote.log import HEAD
from mote.lookup import newest_ask
from mote.msgpack import Unpacker


def asked(b, session):
    """Ask in a session and end the turn; (number of the ASK, the previous one it names)."""
    b.now_ms += 10**6
    seq = b.ask("x", session, "")
    frame = b.log.frame(seq)
    assert frame[2] == r.ASK
    previous = Unpacker(bytes(frame[HEAD:])).value()[4]
    b.agent.cancel(None)
    b.settle()
    return seq, previous


def device(chip=None):
    """A device that remembers four sessions."""
    b = Bench(chip or Chip(4, 4, 32768), limits=few(), record_bytes=256)
    b.log.room = lambda keep: 1 << 20  # the ring may be smaller than the limits would have it
    return b


def names(b):
    return [name for name, _ in b.agent.state.sessions]


def test_an_ask_names_the_one_before_it_in_its_session():
    b = device()
    last = {}
    for session in ("a", "b", "a", "a", "c", "b", "a"):
        seq, previous = asked(b, session)
        assert previous == last.get(session, 0)
        last[session] = seq
    b.log.sync()
    b = device(b.chip)
    for session in ("c", "a", "b"):
        assert asked(b, session)[1] == last[session]


def test_the_table_is_bounded_and_the_least_recently_used_goes():
    b = device()
    for session in ("a", "b", "c", "d"):
        asked(b, session)
    asked(b, "a")
    assert names(b) == ["b", "c", "d", "a"]
    assert b.agent.state.forgot == 0
    asked(b, "e")
    assert names(b) == ["c", "d", "a", "e"]
    assert b.agent.state.forgot == 1
    assert b.agent.state.previous("b") == 0
    b.log.sync()
    assert names(device(b.chip)) == ["c", "d", "a", "e"]


def test_a_forgotten_session_is_found_in_the_log():
    b = device()
    last = {}
    for n in range(40):
        session = "s%d" % (n * 7 % 9)
        seq, previous = asked(b, session)
        assert previous == last.get(session, 0), n
        last[session] = seq
    b.log.sync()
    b = device(b.chip)
    for n in range(9):
        session = "s%d" % n
        assert newest_ask(b.log, session) == last[session]
        assert asked(b, session)[1] == last[session]
    assert newest_ask(b.log, "never") == 0
    assert asked(b, "never")[1] == 0


def test_no_session_is_looked_for_before_one_was_forgotten():
    b = device()
    for session in ("a", "b", "c", "d"):
        asked(b, session)
    b.log.sync()
    b = device(b.chip)
    read = []
    frame = b.log.frame
    b.log.frame = lambda seq: read.append(seq) or frame(seq)
    b.ask("x", "new", "")
    assert read == []


def test_an_ask_that_went_with_its_segment_is_not_named():
    b = device(Chip(4, 4, 1024))
    first, _ = asked(b, "old")
    second, _ = asked(b, "kept")
    while b.log.oldest() <= second:
        for session in ("a", "b", "c", "d"):
            asked(b, session)
            b.agent.confirmed(b.log.seq)
            b.agent.tidy()
    assert b.log.oldest() > first
    assert asked(b, "old")[1] == 0
    seq, _ = asked(b, "kept")
    assert asked(b, "kept")[1] == seq


def test_a_session_in_the_table_may_be_older_than_the_log():
    b = device(Chip(4, 4, 1024))
    first, _ = asked(b, "a")
    while b.log.oldest() <= first:
        asked(b, "b")
        b.agent.confirmed(b.log.seq)
        b.agent.tidy()
    # the gateway has it: the number is still the right one
    assert asked(b, "a")[1] == first
