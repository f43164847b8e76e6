"""The agent over many lives: a turn cut anywhere is completed, and a fold is a fold."""

# slow on boards: test_a_turn_of_once_calls_survives_a_cut_anywhere
# slow on boards: test_a_turn_of_idempotent_calls_survives_a_cut_anywhere
# slow on boards: test_a_turn_of_read_calls_survives_a_cut_anywhere

from chip import Chip, PowerCut
from helpers import Bench, bench_tools, kept, make_log, nothing, opened, raises
from lives import STATE, TURN, busy, few, small_ring, state_of
from mote import records as r
from mote.agent import Agent
from mote.log import HEAD
from mote.msgpack import Unpacker
from mote.state import State
from mote.turn import CALLING, WAITING, Limits, Turn

TURN_NOT_STATE = ("issued", "until_ms", "ask_at_ms")
LISTS = ("turns", "seen", "sessions", "facts")

TOOLS = {r.READ: "look", r.IDEMPOTENT: "put", r.ONCE: "pour"}


def script_for(name):
    return (
        ([(name, {"n": 1}), ("look", {"n": 2}), (name, {"n": 3})], ""),
        ([(name, {"n": 4})], ""),
        ([], "the answer"),
    )


def live(b, script):
    """Ask (the same ask in each life) and go on until the turn is closed."""
    b.agent.confirmed(b.log.seq)
    seq = b.ask("go", "s", "the ask")
    b.settle()
    while b.turn(seq):
        turn = b.turn(seq)
        assert turn.state == WAITING
        calls, text = script[turn.steps - 1]
        b.reply(turn, calls, text, part=16)
        b.settle()
    b.log.sync()


def one_life(chip, runs, told, script, *, cut=None, eager=False, record_bytes=1024):
    """A life of the device until its power is cut; True if it got to the end."""
    if cut:
        chip.cut(*cut)
    b = None
    try:
        b = Bench(chip, runs, limits=few(), record_bytes=record_bytes)
        b.eager = eager
        live(b, script)
        b.agent.tidy()
    except PowerCut:
        return False
    finally:
        chip.power_on()
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


def accidents(chip, script, step, record_bytes=1024):
    """Where the power may go during a whole turn on that chip."""
    chip.record = True
    runs = []
    assert one_life(chip, runs, [], script, record_bytes=record_bytes)
    assert len(runs) == 5 - 1
    found = []
    for number, (kind, _, _, size) in enumerate(chip.ops):
        found.append((number, None, False))
        if kind == "program":
            found.extend([(number, n, n % 2 == 0) for n in range(number % step, size, step)])
        elif kind == "erase":
            found.extend([(number, n, n % 2 == 0) for n in range(0, size, size // 3)])
    return found


def survive(effect):
    name = TOOLS[effect]
    script = script_for(name)
    unknown = 0
    for cut in accidents(Chip(4, 4, 16384), script, 4):
        chip = Chip(4, 4, 16384)
        runs, told = [], []
        assert not one_life(chip, runs, told, script, cut=cut)
        assert one_life(chip, runs, told, script)
        check_whole(runs, told, name)
        unknown += len(unknown_results(chip))
    assert (unknown > 0) == (effect == r.ONCE)


def unknown_results(chip, record_bytes=1024):
    return [
        data
        for kind, data in kept(opened(chip.copy(), record_bytes))
        if kind == r.RESULT and Unpacker(data).value()[2] == r.UNKNOWN
    ]


def test_a_turn_of_read_calls_survives_a_cut_anywhere():
    survive(r.READ)


def test_a_turn_of_idempotent_calls_survives_a_cut_anywhere():
    survive(r.IDEMPOTENT)


def test_a_turn_of_once_calls_survives_a_cut_anywhere():
    survive(r.ONCE)


def worn_chip():
    """A ring of small segments that wrapped, as full as it may be."""
    chip = small_ring(20)
    oldest, n = 1, 0
    while oldest < 20:
        b = Bench(chip, [], limits=few(), record_bytes=256)
        b.agent.confirmed(b.log.seq)
        seq = b.ask("x" * (n + 1), "old", "")
        b.settle()
        b.reply(b.turn(seq), [("look", {"n": n})] * 2)
        b.settle()
        b.reply(b.turn(seq), [], "ok")
        b.settle()
        b.log.sync()
        oldest, n = b.log.oldest(), n + 1
    return chip


def test_a_turn_across_segments_survives_a_cut_anywhere():
    script = script_for("pour")
    start = worn_chip()
    whole = start.copy()
    cuts = accidents(whole, script, 16, 256)
    assert {op[0] for op in whole.ops} == {"program", "sync", "erase"}
    for cut in cuts:
        chip = start.copy()
        runs, told = [], []
        assert not one_life(chip, runs, told, script, cut=cut, record_bytes=256)
        assert one_life(chip, runs, told, script, record_bytes=256)
        check_whole(runs, told, "pour")


def test_three_lives():
    script = script_for("pour")
    cuts = accidents(Chip(16, 4, 16384), script, 40)
    for first in cuts[len(cuts) // 4 :: 3]:
        for second in range(1, 12, 4):
            chip = Chip(16, 4, 16384)
            runs, told = [], []
            one_life(chip, runs, told, script, cut=first)
            one_life(chip, runs, told, script, cut=(chip.operations + second, None))
            assert one_life(chip.copy(), runs, told, script)
            check_whole(runs, told, "pour")


def cut_at_record(chip, script, n):
    """A life that ends when `n` records are on the chip, all of them safe."""
    runs, told = [], []
    b = Bench(chip, runs, limits=few())
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
        whole = Bench(Chip(1, 4, 16384), limits=few())
        live(whole, script)
        for n in range(1, whole.log.seq):
            chip = Chip(1, 4, 16384)
            runs, told = cut_at_record(chip, script, n)
            assert one_life(chip, runs, told, script)
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
            chip = Chip(4, 4, 16384)
            runs, told = FatalTool(at), []
            assert not one_life(chip, runs, told, script_for(name), eager=True)
            assert one_life(chip, runs, told, script_for(name))
            check_whole(runs, told, name)
            # the second of the calls is a READ one in each script
            again = effect != r.ONCE or at == 2
            assert len(runs) == (5 if again else 4)
            assert len(unknown_results(chip)) == (0 if again else 1)


def test_a_tool_that_always_restarts_the_device_does_not_run_for_ever():
    limits = few()
    chip = Chip(4, 4, 16384)
    runs = []
    for life in range(20):
        again = FatalTool(1)
        if life == 0:
            done = one_life(chip, again, [], script_for("look"), eager=True)
        else:
            done = settled(chip, again)
        runs.extend(again)
        if done:
            break
    assert done
    assert runs == [("look", 1)] * (limits.restarts + 1)


def settled(chip, runs):
    """A life in which nobody asks; True if the device got through it."""
    try:
        b = Bench(chip, runs, limits=few())
        b.eager = True
        b.settle()
    except PowerCut:
        return False
    assert b.agent.turns == []
    assert b.published[0][1][2:] == (r.LIMITED, "limit of 5 restarts")
    return True


def busy_chip():
    """A log with all that can happen, and the live state behind each of its records."""
    chip = Chip(4, 4, 32768)
    states = {}

    def after(b, seq, h, kind, payload):
        states[seq] = state_of(b.agent.state)

    busy(chip, after)
    return chip, states


def test_a_fold_of_every_prefix_is_the_live_state():
    chip, states = busy_chip()
    state = State(few())
    seen = []

    def visit(seq, h, kind, payload):
        state.fold(seq, h, kind, payload)
        seen.append(kind)
        assert state_of(state) == states[seq], (seq, kind)

    make_log(chip, 1024).open(nothing, visit)
    assert len(states) == len(seen), "a state for each record"
    for kind in range(r.BOOT, r.FACT + 1):
        assert kind in seen, kind
    assert r.REFUSED in seen


def test_a_prefix_folded_twice_is_the_same():
    chip, _ = busy_chip()
    log = opened(chip, 1024)
    records = []
    for seq in range(1, log.seq + 1):
        frame = bytes(log.frame(seq))
        records.append((seq, log.hash_at(seq), frame[2], frame[HEAD:]))
    for most in range(1, log.seq + 1):
        both = []
        for _ in range(2):
            state = State(few())
            for one in records[:most]:
                state.fold(*one)
            both.append(state_of(state))
        assert both[0] == both[1]


def test_everything_that_is_state_is_compared():
    turn = Turn(1, "s", None)
    assert sorted(turn.__dict__) == sorted(list(TURN) + list(TURN_NOT_STATE))
    assert turn.state != CALLING
    assert sorted(State(Limits()).__dict__) == sorted(list(STATE) + list(LISTS) + ["limits"])


def test_the_state_is_the_agents_own():
    agent = Agent(make_log(Chip(4, 4, 4096), 1024), bench_tools([]), few())
    assert agent.turns is agent.state.turns
