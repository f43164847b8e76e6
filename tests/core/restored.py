"""A device whose log lost its tail, and the gateway that gives it back. Portable."""

from gateway import TEXT, deliver, drain, line, replica_is_whole
from helpers import KEY, Bench, Random, nothing, pack_reply
from mote.link import Link
from mote.lookup import fact_at

POUR = pack_reply([("pour", {"n": 7})])
TOLD = pack_reply([], "told " * 120)


def reborn(made, chip, seed=9):
    """Let the device's next life begin on `chip`; its link is not connected yet."""
    limits = made.bench.agent.limits
    b = Bench(chip, limits=limits, now_ms=made.bench.now_ms)
    b.agent.sure = None  # the gateway is to say so
    made.bench, made.link = b, Link(b.agent, KEY, Random(seed).bytes)


def restore(made, chip):
    """The same, on a chip from a backup: what it lacks is what the gateway gives back."""
    reborn(made, chip)
    before, h = made.bench.agent.before_boot
    gateway = made.gateway
    assert gateway.hashes[before] == h
    tail = gateway.frames[before:]
    numbers = [before + 1 + n for n in range(len(tail)) if tail[n]]
    gateway.lost = (before + 1, {n: as_lost(tail[n - before - 1]) for n in numbers})
    del gateway.frames[before:]
    del gateway.hashes[before + 1 :]


def as_lost(frame):
    """(kind, payload) of a frame."""
    return frame[2], bytes(frame[5:])


def connect(made):
    """Connect, and go on until nothing is due."""
    made.link.connected(made.bench.now_ms)
    made.until_quiet()


def exchange(made):
    """One message or more up, and the answers down: while records come back, one of each."""
    drain(made)
    deliver(made)


def story(chip=None, part=None):
    """(line, chip as it was in the middle): since then things happened that the copy lacks.

    Four asks have ids: "old" and "mid" were open at the copy; then "old" was answered, "mid"
    began to pour, "sent" was answered, and "said" too, but nobody acknowledged that.
    """
    made = line([(TEXT, 0, 1), (POUR, 1, 1)], chip=chip, part=part)
    made.until_quiet()
    b = made.bench
    b.agent.remember("moss", "dry")
    for name in ("old", "mid"):
        b.ask("go", name, name)
        b.settle()
        drain(made)
        made.gateway.out.clear()
    b.hold = True
    backup = b.chip.copy()
    made.until_quiet()
    b.hold = False
    b.agent.remember("moss", "wet")
    b.agent.remember("fern", "dry")
    made.gateway.script = [(TEXT, 0, 1), (TOLD, 0, 1)]
    b.ask("go", "sent", "sent")
    made.until_quiet()
    b.agent.sent = nothing
    b.ask("go", "said", "said")
    made.until_quiet()
    assert replica_is_whole(made)
    assert len(b.held) == 1
    assert sorted(words(made)) == ["old", "said", "sent"]
    return made, backup


def words(made):
    """{id: (how, text)} of what this life published; fails if an ask got two answers."""
    found = {}
    for _, (_, name, how, text) in made.bench.published:
        assert found.get(name, (how, text)) == (how, text), name
        found[name] = (how, text)
    return found


def facts(made):
    """{key: value} that the device knows."""
    agent = made.bench.agent
    return {key: fact_at(agent.log, seq) for key, seq in agent.state.facts}
