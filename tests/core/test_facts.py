"""Facts: kept for good, however often the log wraps, and forgotten for good."""

# slow on boards: test_facts_survive_a_cut_anywhere

from chip import Chip, PowerCut
from helpers import Bench, Random, bench_tools, make_log, raises, texts_of_results
from lives import few, small_ring, state_of
from mote import records as r
from mote.agent import Agent
from mote.facts import Facts
from mote.lookup import FACT_KEY, FACT_VALUE, fact_at
from mote.state import State
from mote.tools import Rejected, Toolset


class Rememberer(Bench):
    """A device with the tools `remember` and `recall`."""

    def __init__(self, chip, record_bytes=1024):
        super().__init__(chip, limits=few(), record_bytes=record_bytes)
        facts = Facts()
        facts.agent = self.agent
        declared = bench_tools(self.runs).tools
        self.agent.tools = Toolset(declared + facts.tools())

    def call(self, name, **args):
        """What the tool says to the model in a turn of its own: (status, text)."""
        self.now_ms += 10**6
        seq = self.ask("go", "s", "")
        self.settle()
        self.reply(self.turn(seq), [(name, args)])
        self.settle()
        self.reply(self.turn(seq), [], "ok")
        self.settle()
        return texts_of_results(self)[-1]


def facts_of(agent):
    """{key: value} as the log has it."""
    return {key: fact_at(agent.log, seq) for key, seq in agent.state.facts}


def test_what_is_remembered_is_recalled():
    b = Rememberer(Chip(4, 4, 32768))
    assert b.call("recall", key="") == (r.OK, "nothing is remembered")
    assert b.call("remember", key="moss", value="wet") == (r.OK, "remembered")
    assert b.call("remember", key="fern", value="dry \u00e9") == (r.OK, "remembered")
    assert b.call("recall", key="moss") == (r.OK, "moss: wet")
    assert b.call("recall", key="") == (r.OK, "moss: wet\nfern: dry \u00e9")
    assert b.call("remember", key="moss", value="drier") == (r.OK, "remembered")
    assert b.call("recall", key="moss") == (r.OK, "moss: drier")
    assert b.call("remember", key="moss", value="") == (r.OK, "forgotten")
    assert b.call("recall", key="moss") == (r.OK, "nothing is remembered")
    b = Rememberer(b.chip)
    assert b.call("recall", key="") == (r.OK, "fern: dry \u00e9")


def test_the_tools_say_what_they_may_do():
    remember, recall = Facts().tools()
    assert (remember.effect, recall.effect) == (r.IDEMPOTENT, r.READ)
    tools = Toolset([remember, recall])
    raises(Rejected, tools.check, "remember", {"key": "k" * 33, "value": "v"})
    raises(Rejected, tools.check, "remember", {"key": "k", "value": "v" * (FACT_VALUE + 1)})


def test_facts_are_bounded():
    b = Bench(Chip(4, 4, 8192), limits=few())
    remember = b.agent.remember
    for n in range(3):
        remember("%d" % n, "v" * FACT_VALUE)
    before = b.log.seq
    assert "3 facts are remembered" in str(raises(ValueError, remember, "more", "v"))
    assert "at most 256 bytes" in str(raises(ValueError, remember, "1", "v" * (FACT_VALUE + 1)))
    for key in ("", "\u00e9" * (FACT_KEY // 2) + "k"):
        assert "1 to 32 bytes" in str(raises(ValueError, remember, key, "v"))
    remember("unknown", None)
    assert b.log.seq == before, "nothing of that is in the log"
    remember("1", "other")
    remember("0", None)
    remember("\u00e9" * (FACT_KEY // 2), "v")
    assert sorted(facts_of(b.agent)) == ["1", "2", "\u00e9" * (FACT_KEY // 2)]


def test_a_fact_is_safe_when_it_is_said_to_be():
    b = Bench(Chip(4, 4, 8192), limits=few())
    b.agent.remember("moss", "wet")
    assert b.log.synced == b.log.seq


def device(chip):
    """A device that can be opened in a ring that is small for its limits."""
    log = make_log(chip, 320)
    agent = Agent(log, bench_tools([]), few())
    agent.open(0, b"12345678", [], "test")
    agent.confirmed(log.seq)
    return agent


def wrap(agent, times=1):
    """Fill the log until all that was in it is gone, `times` times."""
    for _ in range(times):
        end = agent.log.seq
        while agent.log.oldest() <= end:
            agent.fail(WAITS, "x" * 60)
            agent.confirmed(agent.log.seq)
            agent.tidy()


class WAITS:
    """What `fail` needs of a turn; the record tells of one that is over."""

    req = 1 << 30


def test_facts_outlive_the_segments_that_held_them():
    for segments in (3, 6):
        chip = small_ring(segments)
        agent = device(chip)
        agent.remember("moss", "wet" * 20)
        agent.remember("fern", "\u00e9 dry")
        agent.remember("gone", "soon")
        agent.remember("gone", None)
        wanted = {"moss": "wet" * 20, "fern": "\u00e9 dry"}
        wrap(agent, 4)
        assert facts_of(agent) == wanted
        for _ in range(3):
            agent.log.sync()
            agent = device(chip)
            assert facts_of(agent) == wanted
            wrap(agent)
        agent.remember("fern", None)
        wrap(agent, 2)
        assert facts_of(agent) == {"moss": "wet" * 20}


def test_facts_are_not_copied_more_often_than_the_ring_goes_round():
    chip = small_ring(6)
    agent = device(chip)
    agent.remember("moss", "wet")
    seen = set()
    rounds = 0
    while rounds < 5:
        end = agent.log.seq
        wrap(agent)
        rounds += 1
        seen.update([seq for _, seq in agent.state.facts])
        assert agent.log.oldest() > end
    assert len(seen) <= rounds + 1


def random_life(chip, model, random, steps):
    """Remember and forget at random; `model` is the list of states that the log went through."""
    agent = device(chip)
    for _ in range(steps):
        key = "k%d" % random.below(4)
        value = None if random.below(4) == 0 else "%d" % random.below(1000) * 12
        now = dict(model[-1])
        if value is None:
            now.pop(key, None)
        elif key in now or len(now) < 3:
            now[key] = value
        else:
            continue
        model.append(now)
        agent.remember(key, value)
        agent.confirmed(agent.log.seq)
        agent.tidy()
    return agent


def test_facts_are_what_was_remembered_last():
    chip = small_ring(4)
    model, random = [{}], Random(3)
    for _ in range(12):
        agent = random_life(chip, model, random, 30)
        assert facts_of(agent) == model[-1]
    assert agent.log.oldest() > 100


def test_facts_survive_a_cut_anywhere():
    start, past, random = small_ring(4), [{}], Random(8)
    for _ in range(4):
        random_life(start, past, random, 60)
    assert device(start.copy()).log.oldest() > 20
    whole = start.copy()
    whole.record = True
    random_life(whole, past[:], Random(5), 90)
    kinds = [op[0] for op in whole.ops]
    assert kinds.count("erase") >= 2
    for operation in range(len(kinds)):
        for byte in (None, whole.ops[operation][3] // 2, whole.ops[operation][3]):
            chip, model = start.copy(), past[:]
            chip.cut(operation, byte)
            raises(PowerCut, random_life, chip, model, Random(5), 90)
            chip.power_on()
            agent = device(chip)
            assert agent.log.notes == []
            found = facts_of(agent)
            # what was being remembered is remembered or not; all before it is
            assert found in model[-2:], (operation, byte)
            wrap(agent, 2)
            assert facts_of(agent) == found
            agent.log.sync()
            state = State(few())
            make_log(chip, 320).open(state.restore, state.fold)
            assert state_of(state) == state_of(agent.state)


def live_and_wrap(chip):
    wrap(device(chip), 2)


def test_a_fact_is_safe_in_its_new_place_before_the_old_one_is_erased():
    start = small_ring(4)
    agent = device(start)
    agent.remember("moss", "wet")
    agent.remember("fern", "dry")
    wanted = facts_of(agent)
    wrap(agent)
    agent.log.sync()
    whole = start.copy()
    whole.record = True
    live_and_wrap(whole)
    erases = [n for n in range(len(whole.ops)) if whole.ops[n][0] == "erase"]
    assert len(erases) > 4
    for operation in erases:
        for byte in (None, 0, 512, 1024):
            chip = start.copy()
            chip.cut(operation, byte)
            raises(PowerCut, live_and_wrap, chip)
            chip.power_on()
            assert facts_of(device(chip)) == wanted, (operation, byte)
