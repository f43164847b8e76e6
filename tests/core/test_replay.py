"""The agent over many lives: a turn cut anywhere is completed, and a fold is a fold."""

from helpers import Bench, Nor, PowerCut, bench_tools, make_log, raises
from mote import records as r
from mote.agent import Agent
from mote.log import HEAD
from mote.msgpack import Unpacker
from mote.turn import CALLING, WAITING, Limits, Turn

STATE = ("seq", "session", "key", "state", "req", "id", "got", "ncalls", "index", "running")
STATE += ("interrupted", "effect", "steps", "calls", "tokens", "restarts", "how", "ending")
STATE += ("answer",)
NOT_STATE = ("issued", "until_ms", "ask_at_ms")

TOOLS = {r.READ: "look", r.IDEMPOTENT: "put", r.ONCE: "pour"}


def few():
    """Limits under which a turn fits a small chip, and ids are forgotten soon."""
    limits = Limits()
    limits.seen_asks, limits.steps, limits.calls, limits.reply_bytes = 3, 4, 8, 512
    return limits


def state_of(agent):
    turns = [tuple([getattr(turn, name) for name in STATE]) for turn in agent.turns]
    return (agent.epoch, turns, [tuple(entry) for entry in agent._seen])


def script_for(name):
    return (
        ([(name, {"n": 1}), ("look", {"n": 2}), (name, {"n": 3})], ""),
        ([(name, {"n": 4})], ""),
        ([], "the answer"),
    )


def live(b, script):
    """Ask (the same ask in each life) and go on until the turn is closed."""
    seq = b.ask("go", "s", "the ask")
    b.settle()
    while b.turn(seq):
        turn = b.turn(seq)
        assert turn.state == WAITING
        calls, text = script[turn.steps - 1]
        b.reply(turn, calls, text, part=16)
        b.settle()
    b.log.sync()


def one_life(nor, runs, told, script, *, cut=None, eager=False):
    """A life of the device until its power is cut; True if it got to the end."""
    nor.cut_at = cut
    b = None
    try:
        b = Bench(nor, runs, limits=few())
        b.eager = eager
        live(b, script)
    except PowerCut:
        return False
    finally:
        nor.cut_at = None
        if b:
            told.extend([answer for _, answer in b.published])
    return True


def check_whole(runs, told, name):
    assert told, "no answer"
    for answer in told:
        assert answer == ("s", "the ask", r.DONE, "the answer")
    for n in (1, 3, 4):
        times = runs.count((name, n))
        assert times <= 1 if name == "pour" else times >= 1, (n, runs)
    assert runs.count(("look", 2)) >= 1


def programmed_in_a_whole_turn(script):
    nor = Nor(4, 4, 8192)
    runs, told = [], []
    assert one_life(nor, runs, told, script)
    assert len(runs) == 5 - 1
    return nor.programmed


def survive(effect):
    name = TOOLS[effect]
    script = script_for(name)
    unknown = 0
    for cut in range(64, programmed_in_a_whole_turn(script), 3):
        nor = Nor(4, 4, 8192)
        runs, told = [], []
        assert not one_life(nor, runs, told, script, cut=cut)
        assert one_life(nor, runs, told, script)
        check_whole(runs, told, name)
        unknown += len(unknown_results(nor))
    assert (unknown > 0) == (effect == r.ONCE)


def unknown_results(nor):
    found = []

    def visit(seq, h, kind, data):
        if kind == r.RESULT and Unpacker(data).value()[2] == r.UNKNOWN:
            found.append(seq)

    make_log(nor, 1024).open(visit)
    return found


def test_a_turn_of_read_calls_survives_a_cut_anywhere():
    survive(r.READ)


def test_a_turn_of_idempotent_calls_survives_a_cut_anywhere():
    survive(r.IDEMPOTENT)


def test_a_turn_of_once_calls_survives_a_cut_anywhere():
    survive(r.ONCE)


def test_three_lives():
    script = script_for("pour")
    for first in range(120, 400, 37):
        for second in range(30, 300, 41):
            nor = Nor(16, 4, 8192)
            runs, told = [], []
            one_life(nor, runs, told, script, cut=first)
            one_life(nor, runs, told, script, cut=second)
            assert one_life(nor, runs, told, script)
            check_whole(runs, told, "pour")


def cut_at_record(nor, script, n):
    """A life that ends when `n` records are on the chip, all of them safe."""
    runs, told = [], []
    b = Bench(nor, runs, limits=few())
    append = b.log.append

    def cut(kind, payload):
        if b.log.seq == n:
            b.log.sync()
            raise PowerCut
        return append(kind, payload)

    b.log.append = cut
    raises(PowerCut, live, b, script)
    told.extend([answer for _, answer in b.published])
    return runs, told


def test_a_restart_at_every_record():
    for name in TOOLS.values():
        script = script_for(name)
        nor = Nor(1, 4, 8192)
        whole = Bench(nor, limits=few())
        live(whole, script)
        for n in range(1, whole.log.seq):
            nor = Nor(1, 4, 8192)
            runs, told = cut_at_record(nor, script, n)
            assert one_life(nor, runs, told, script)
            check_whole(runs, told, name)


class FatalTool(list):
    """Notes what runs; at the `at`th time the device stops while the tool runs."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def append(self, item):
        super().append(item)
        if len(self) == self.at:
            raise PowerCut


def test_a_restart_while_a_tool_runs():
    for effect, name in TOOLS.items():
        for at in range(1, 5):
            nor = Nor(4, 4, 8192)
            runs, told = FatalTool(at), []
            assert not one_life(nor, runs, told, script_for(name), eager=True)
            assert one_life(nor, runs, told, script_for(name))
            check_whole(runs, told, name)
            # the second of the calls is a READ one in each script
            again = effect != r.ONCE or at == 2
            assert len(runs) == (5 if again else 4)
            assert len(unknown_results(nor)) == (0 if again else 1)


def test_a_tool_that_always_restarts_the_device_does_not_run_for_ever():
    limits = few()
    nor = Nor(4, 4, 8192)
    runs = []
    for life in range(20):
        again = FatalTool(1)
        if life == 0:
            done = one_life(nor, again, [], script_for("look"), eager=True)
        else:
            done = settled(nor, again)
        runs.extend(again)
        if done:
            break
    assert done
    assert runs == [("look", 1)] * (limits.restarts + 1)


def settled(nor, runs):
    """A life in which nobody asks; True if the device got through it."""
    try:
        b = Bench(nor, runs, limits=few())
        b.eager = True
        b.settle()
    except PowerCut:
        return False
    assert b.agent.turns == []
    assert b.published[0][1][2:] == (r.LIMITED, "limit of 5 restarts")
    return True


def busy_chip():
    """A log with all that can happen, and the live state behind each of its records."""
    nor = Nor(4, 8, 16384)
    states = {}
    for life in range(3):
        b = Bench(nor, limits=few())
        states[b.log.seq] = state_of(b.agent)
        note_states(b, states)
        if life == 0:
            first_life(b)
        else:
            later_life(b, life)
        b.log.sync()
    return nor, states


def note_states(b, states):
    fold = b.agent._fold

    def noting(seq, h, kind, payload):
        fold(seq, h, kind, payload)
        states[seq] = state_of(b.agent)

    b.agent._fold = noting


def first_life(b):
    one, two, three = b.ask("x", "a", "1"), b.ask("y", "b", ""), b.ask("z", "c", "3")
    b.settle()
    b.reply(b.turn(one), [("look", {"n": 1}), ("none", {}), ("put", {"n": 2})], part=8)
    b.settle()
    b.agent.cancel("b")
    b.settle(acknowledge=False)
    b.agent.fail(b.turn(three), "not today")
    b.settle()
    b.hold = True
    b.reply(b.turn(one), [("pour", {"n": 1})])
    b.settle()
    assert b.turn(two).answer
    assert b.turn(one).running


def later_life(b, life):
    one = b.turn(b.ask("x", "a", "1"))
    if life == 1:
        b.agent.part(one, 0, b"\x92\xa4look")
        b.settle()
        assert one.interrupted is False
        b.agent.part(one, 0, b"\x92")
        return
    raises(Exception, b.ask, "", "a", "9")
    b.ask("more", "a", "4")
    b.ask("more", "a", "5")
    b.agent.tick(10**9)
    b.settle()


def test_a_fold_of_every_prefix_is_the_live_state():
    nor, states = busy_chip()
    agent = Agent(make_log(nor, 1024), bench_tools([]), few())
    seen = []

    def visit(seq, h, kind, payload):
        agent._fold(seq, h, kind, payload)
        seen.append(kind)
        if seq in states:
            assert state_of(agent) == states[seq], (seq, kind)

    agent.log.open(visit)
    assert len(states) == len(seen), "a state for each record"
    kinds = set(seen)
    for kind in range(r.BOOT, r.TIMEOUT + 1):
        assert kind in kinds, kind
    assert r.REFUSED in kinds


def test_a_prefix_folded_twice_is_the_same():
    nor, _ = busy_chip()
    log = make_log(nor, 1024)
    log.open(lambda *_: None)
    for most in range(1, log.seq + 1):
        both = []
        for _ in range(2):
            agent = Agent(make_log(nor, 1024), bench_tools([]), few())
            for seq in range(1, most + 1):
                frame = bytes(log.frame(seq))
                agent._fold(seq, log.hash_at(seq), frame[2], frame[HEAD:])
            both.append(state_of(agent))
        assert both[0] == both[1]


def test_every_attribute_of_a_turn_is_compared():
    turn = Turn(1, "s", None)
    assert sorted(turn.__dict__) == sorted(list(STATE) + list(NOT_STATE))
    assert turn.state != CALLING
