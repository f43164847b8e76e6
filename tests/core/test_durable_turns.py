"""Durable turns in every interleaving, against a simple model of what must hold (model.py).

Hypothesis drives the agent on a simulated chip: asks in several sessions, new and redelivered;
replies lost, repeated and wrong; calls that end, fail, are late or stopped; answers that nobody
acknowledges; clocks that jump; starts without warning, and power cuts at any byte of any
operation. At the end of each example all that was accepted is driven to its answer.

MOTE_TORTURE=N runs N examples, each longer, from random seeds; without it a fixed set is run.
"""

import os

import pytest
from chip import BACKWARDS
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from mote import records as r
from mote.turn import WAITING, Limits
from world import EFFECTS, RECORD_BYTES, Mains, Script, World

TORTURE = int(os.environ.get("MOTE_TORTURE", "0"))
SETTINGS = settings(
    max_examples=TORTURE or 150,
    stateful_step_count=150 if TORTURE else 60,
    derandomize=not TORTURE,
    print_blob=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

SESSIONS = ("main", "plants", "\u00e9t\u00e9")
NAMES = ("", "", "a", "b", "c", "d", "e", "f")
CALLS = tuple((name, {"n": n}) for name in EFFECTS for n in (1, "7")) + (
    ("pour", {"n": 101}),
    ("look", {}),
    ("put", "not JSON"),
    ("none", {"n": 1}),
)
TEXTS = ("done", "", "\u00e9" * 40)
SMALL = st.integers(0, 7)


scripts = st.builds(
    Script,
    st.lists(st.sampled_from(CALLS), max_size=3),
    st.sampled_from(TEXTS),
    st.sampled_from((0, 10, 60)),
    st.sampled_from((b"",) * 16 + (b"\xc1" * 9, b"z" * 90, b"z" * 300)),
).filter(lambda script: script.ncalls or not script.noise or len(script.noise) > 200)


DEVICES = {
    "unit": st.sampled_from((1, 4, 16, 64, 256)),
    "segment_bytes": st.sampled_from((2048, 4096)),
    "turns": st.integers(1, 3),  # for which there is room in the log
    "open_turns": st.integers(1, 3),
    "steps": st.integers(2, 3),
    "calls": st.integers(1, 3),
    "restarts": st.integers(1, 6),
    "asks_burst": st.integers(2, 5),
    "more_ids": st.integers(0, 2),
    "sessions": st.integers(1, 3),
    "facts": st.integers(0, 2),
    "drop": st.booleans(),
}


def make_device(unit, segment_bytes, turns, more_ids, **chosen):
    """(chip, limits): a small device whose log holds some turns."""
    limits = Limits()
    for name, value in chosen.items():
        assert hasattr(limits, name), name
        setattr(limits, name, value)
    limits.tokens, limits.turn_ms, limits.asks_per_hour, limits.part_bytes = 100, 10000, 3600, 80
    limits.ask_bytes, limits.result_bytes, limits.reply_bytes = 40, 48, 200
    limits.seen_asks = limits.open_turns + more_ids
    usable = segment_bytes - segment_bytes // 16 - 64 - RECORD_BYTES - 9
    segments = 3 + turns * limits.worst_turn(unit) // usable
    return Mains(unit, segments, segment_bytes), limits


class DurableTurns(World, RuleBasedStateMachine):
    """The rules: what may happen next."""

    agent = None

    @initialize(
        device=st.fixed_dictionaries(DEVICES),
        eager=st.sampled_from((True, True, False)),
        age=st.integers(0, 30),
        unconfirmed=st.integers(0, 30),
    )
    def begin(self, device, eager, age, unconfirmed):
        self.create(*make_device(**device), eager)
        self.live(age, "main", CALLS[:2], True)
        self.live(unconfirmed, "main", CALLS[:2], False)

    # -- rules

    @rule(
        text=st.sampled_from(TEXTS[:1] * 6 + TEXTS[1:]),
        session=st.sampled_from(SESSIONS),
        name=st.sampled_from(NAMES),
    )
    def somebody_asks(self, text, session, name):
        self.act(self.ask, text, session, name)

    @rule(n=st.integers(2, 5), session=st.sampled_from(SESSIONS))
    def somebody_floods(self, n, session):
        for _ in range(n):
            self.act(self.ask, "more", session, "")

    @rule(
        n=st.integers(1, 6),
        session=st.sampled_from(SESSIONS),
        calls=st.lists(st.sampled_from(CALLS[:6]), max_size=2),
        confirm=st.booleans(),
        cut=st.none() | st.integers(0, 99),
    )
    def all_goes_well_or_nearly(self, n, session, calls, confirm, cut):
        if cut is not None:
            self.the_power_will_go(cut, cut * 3 if cut % 4 else None, cut % 3 == 0, None)
        self.live(n, session, calls, confirm)

    @precondition(lambda self: self.model.asks)
    @rule(n=SMALL)
    def an_ask_comes_again(self, n):
        asks = list(self.model.asks.values())
        ask = asks[-1 - n % len(asks)]
        self.act(self.ask, ask.text, ask.session, ask.name)

    @rule(n=SMALL, script=scripts)
    def a_reply_comes(self, n, script):
        turn = self.waiting(n)
        if turn:
            self.act(self.reply, turn, script)

    @rule(
        n=SMALL,
        script=scripts,
        how=st.sampled_from(("next", "again", "ahead", "spoilt", "end", "wrong end")),
    )
    def a_piece_comes(self, n, script, how):
        turn = self.waiting(n)
        if turn:
            self.act(self.piece, turn, script, how)

    @rule(n=SMALL, how=st.sampled_from(("fail", "long fail", "end", "busy")))
    def a_turn_goes_wrong(self, n, how):
        turn = self.waiting(n)
        if turn and how == "busy":
            turn.ask_at_ms = self.now + 1000  # as the link does
        elif turn and how.endswith("fail"):
            self.act(self.agent.fail, turn, "no provider" if how == "fail" else "\u00e9" * 99)
        turns = [turn for turn in self.agent.turns if turn.seq not in self.model.told]
        if how == "end" and turns:  # who was given the answer may not get another one
            self.act(self.agent.end, turns[n % len(turns)].seq, "out of memory")

    @rule(
        session=st.sampled_from(SESSIONS),
        name=st.sampled_from(NAMES),
        calls=st.lists(st.sampled_from(CALLS[:6]), min_size=1, max_size=2),
        then=st.sampled_from((None, "restart", "cancel", "restart, cancel")),
    )
    def a_call_begins(self, session, name, calls, then):
        self.act(self.pass_time, 1000)
        self.act(self.ask, "begin", session, name)
        self.act(self.settle)
        turn = self.waiting(-1)
        if turn:
            self.act(self.reply, turn, Script(calls, "", 1))
            self.act(self.settle)
        if then and "restart" in then:
            self.act(self.agent.log.sync)
            self.act(self.boot)
            self.act(self.settle)
        if then and "cancel" in then:
            self.act(self.cancel, session)

    @rule(
        n=SMALL,
        status=st.sampled_from((r.OK, r.ERROR, r.LATE)),
        text=st.sampled_from(("5 ml", "\u20ac" * 60)),
    )
    def a_tool_ends(self, n, status, text):
        if self.running:
            seq = sorted(self.running)[n % len(self.running)]
            self.act(self.finish, seq, status, text)

    @rule(n=SMALL, times=st.integers(1, 2))
    def an_answer_is_acknowledged(self, n, times):
        if self.flying:
            seq = self.flying.pop(n % len(self.flying))
            for _ in range(times):
                self.act(self.agent.sent, seq)

    @rule()
    def the_connection_breaks(self):
        self.flying.clear()
        self.agent.publish_again()
        self.wanted.update(ask.seq for ask in self.model.open() if ask.answer)
        self.act(self.settle)

    @rule(session=st.sampled_from(SESSIONS + (None,)))
    def somebody_cancels(self, session):
        self.act(self.cancel, session)

    @rule(
        ms=st.sampled_from((1, 500, 1500, 9999, 10001, 86400000)),
        unix=st.sampled_from((0, 0, 1, 1700000000, 4000000000)),
    )
    def time_passes(self, ms, unix):
        self.unix = unix
        self.act(self.pass_time, ms)

    @precondition(lambda self: self.limits.facts)
    @rule(
        key=st.sampled_from("xy"),
        value=st.sampled_from((None, "dry", "w" * 60)),
        times=st.sampled_from((1, 1, 1, 9, 30)),
    )
    def a_fact_is_kept(self, key, value, times):
        for _ in range(times):
            self.act(self.remember, key, value)

    @rule(share=st.integers(0, 8))
    def the_gateway_confirms(self, share):
        self.act(self.confirm, self.agent.log.synced * share // 8)

    @rule()
    def nothing_else_is_due(self):
        self.act(self.agent.tidy)

    @rule()
    def effects_are_performed(self):
        self.act(self.settle)

    @rule()
    def the_device_restarts(self):
        self.act(self.boot)

    @rule(
        after=st.integers(0, 12),
        byte=st.none() | st.integers(0, 300),
        smear=st.sampled_from((False, True, BACKWARDS)),
        again=st.none() | SMALL,
    )
    def the_power_will_go(self, after, byte, smear, again):
        chip = self.chip
        if smear == BACKWARDS and chip.unit > 4:
            smear = True  # a whole frame behind a torn one is damage, and stops ONCE calls
        chip.fuse, chip.byte, chip.smear, chip.again = after, byte, smear, again

    @invariant()
    def it_holds(self):
        if self.agent:
            self.guard(self.check)

    def teardown(self):
        if self.agent and not self.broken:
            self.end()


@pytest.mark.slow
def test_durable_turns():
    run_state_machine_as_test(DurableTurns, settings=SETTINGS)


# What it found, each in the fewest steps.


def begun(eager=True):
    """A world whose turn waits for a reply, and that turn."""
    world = World()
    world.create(
        *make_device(4, 2048, 1, 1, open_turns=1, steps=2, restarts=3, facts=1, drop=True), eager
    )
    world.act(world.ask, "do it", "main", "a")
    world.act(world.settle)
    return world, world.waiting(0)


def test_an_answer_that_is_asked_for_while_it_is_acknowledged_is_told_again():
    world, turn = begun(eager=False)
    world.act(world.reply, turn, Script([], "done", 1))
    world.act(world.settle)
    world.act(world.ask, "do it", "main", "a")
    world.act(world.agent.sent, world.flying.pop())
    world.act(world.settle)
    assert world.flying == [turn.seq]


def test_a_call_that_runs_again_is_stopped_like_any_other():
    world, turn = begun()
    world.act(world.reply, turn, Script([("look", {"n": 1})], "", 1))
    for _ in range(2):  # `boot` compares the live state with that of the records
        world.act(world.remember, "x", "dry")
        world.act(world.boot)
        world.act(world.settle)
    world.act(world.cancel, "main")
    assert world.running[turn.seq][1], "nobody told the tool to stop"
    world.end()


def test_a_reply_whose_records_were_dropped_is_asked_for_anew():
    world, turn = begun()
    script = world.script(turn, Script([], "done", 1))
    world.act(world.agent.part, turn, 0, script.data)
    while world.agent.log.oldest() <= turn.req:
        world.act(world.remember, "x", "w" * 60)
        world.act(world.agent.tidy)
    world.act(world.reply_end, turn, script, script.digest)
    assert turn.steps == 2
    assert turn.state == WAITING
    world.end()
