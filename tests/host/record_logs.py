"""How the logs in tests/host/logs were recorded; each function is one log.

    PYTHONPATH=tests/core .venv/bin/python tests/host/record_logs.py FOLDER

writes them anew, with the core as it is. The logs that are kept were written by an earlier one:
`mote replay --check` over them shows that it still decides the same. Record a log anew only if
its format or a decision was changed on purpose.
"""

import sys
from pathlib import Path

from helpers import Bench
from mote import records as r
from mote.turn import Limits
from mote_ports.files import FileMedium

SEGMENTS = 10
SEGMENT_BYTES = 4096
UNIT = 4


def few(**more):
    """Limits under which a turn fits a small log."""
    limits = Limits()
    small = {"open_turns": 3, "steps": 3, "calls": 4, "tokens": 60, "restarts": 2}
    small |= {"ask_bytes": 128, "result_bytes": 128, "reply_bytes": 256, "asks_burst": 100}
    small |= {"seen_asks": 4, "sessions": 3, "facts": 3}
    for name, value in (small | more).items():
        setattr(limits, name, value)
    return limits


class Lives:
    """The lives of a device whose log is in `folder`."""

    def __init__(self, folder, limits, segments=SEGMENTS):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.limits = limits
        self.segments = segments
        self.medium = None
        self.boot()

    def boot(self):
        """The power goes, and comes back: what was not synced is lost."""
        self.close()
        self.medium = FileMedium(str(self.folder), self.segments, SEGMENT_BYTES, UNIT)
        self.bench = Bench(self.medium, limits=self.limits)

    def close(self):
        if self.medium:
            self.medium.close()

    def turn(self, *replies, session="s", name="", text="do it", acknowledge=True):
        """A turn with these replies: lists of calls, a string is the answer."""
        b = self.bench
        seq = b.ask(text, session, name)
        b.settle(acknowledge)
        for reply in replies:
            calls, said = ([], reply) if isinstance(reply, str) else (reply, "")
            b.reply(b.turn(seq), calls, said)
            b.settle(acknowledge)
        return seq

    def hold(self, *calls, name=""):
        """A turn whose first call runs when this returns."""
        self.bench.hold = True
        seq = self.turn(list(calls), name=name)
        self.bench.hold = False
        self.bench.log.sync()
        return seq


def interrupted(folder):
    """Restarts while calls of each class run, and while one is stopped."""
    lives = Lives(folder, few())
    for name in ("pour", "put", "look"):
        seq = lives.hold((name, {"n": 1}), ("look", {"n": 2}), name=name)
        lives.boot()
        lives.bench.settle()
        b = lives.bench
        b.reply(b.turn(seq), [], f"{name} is done")
        b.settle()
    seq = lives.hold(("put", {"n": 3}))
    lives.bench.agent.cancel("s")
    lives.bench.log.sync()
    lives.boot()  # the call that was to be stopped is forgotten
    lives.bench.settle()
    seq = lives.hold(("put", {"n": 4}))
    lives.boot()
    b = lives.bench
    b.hold = True
    b.settle()  # it runs again, and is stopped in this life
    b.agent.cancel("s")
    b.hold = False
    b.settle()
    assert b.stopped == [seq]
    seq = lives.hold(("look", {"n": 5}))
    for _ in range(3):  # what restarts the device whenever it runs does not run for ever
        lives.boot()
    lives.bench.settle()
    assert not lives.bench.agent.turns
    lives.bench.log.sync()
    lives.close()


def limits(folder):
    """Turns that reach each limit, calls that are refused, and turns that are ended."""
    lives = Lives(folder, few())
    b = lives.bench
    look = ("look", {"n": 1})
    lives.turn([look], [look], [look], name="steps")
    lives.turn([look, look, look, look, look], name="calls")
    lives.turn([("look", {"n": "7"}), ("put", {"n": 101}), ("none", {}), ("put", "n=1")], "so")
    lives.turn([("look", {}), ("put", {"n": 1, "m": 2}), ("pour", {"n": 2.0})], "so", session="t")
    seq = b.ask("tokens")
    b.settle()
    b.reply(b.turn(seq), [look], tokens=61)
    b.settle()
    seq = b.ask("fail", name="fail")
    b.settle()
    b.agent.fail(b.turn(seq), "the model is not available now" * 8)
    b.settle()
    seq = b.ask("bad digest", name="digest")
    b.settle()
    assert b.agent.part(b.turn(seq), 0, b"no")
    assert b.agent.reply_end(b.turn(seq), 2, bytes(16), 0, 1)
    b.settle()
    assert not b.agent.part(b.turn(seq), 1, b"gap")
    b.reply(b.turn(seq), [], "yes")
    b.settle()
    first, second = b.ask("one", "u", "x"), b.ask("two", "u", "y")
    b.settle()
    assert b.turn(first).req
    assert not b.turn(second).req  # in order, in one session
    b.agent.cancel("u")
    b.settle()
    b.ask("slow", "v", "z")
    b.settle()
    b.agent.tick(10**9)
    b.settle()
    seq = b.ask("too much", "v", "e")
    b.settle()
    b.agent.end(seq, "out of memory")
    b.settle()
    assert not b.agent.turns
    b.log.sync()
    lives.close()


def wrapped(folder):
    """The ring goes round; the gateway has all, facts are taken along, a turn stays open."""
    lives = Lives(folder, few(), segments=6)
    b = lives.bench
    b.agent.remember("plant", "fern")
    stays = None
    for n in range(90):
        b.agent.confirmed(b.log.seq)
        lives.turn([("look", {"n": n}), ("pour", {"n": n})], f"answer {n}", session=f"s{n % 4}")
        b.agent.tidy()
        if n == 60:
            lives.boot()
            b = lives.bench
        if n == 80:
            stays = lives.turn(session="open", name="open")
    assert b.turn(stays)
    assert b.log.oldest() > 100
    b.log.sync()
    lives.close()


def dropped(folder):
    """No gateway takes what is recorded: the ring goes round all the same."""
    lives = Lives(folder, few(drop=True), segments=6)
    b = lives.bench
    for n in range(70):
        lives.turn([("put", {"n": n})], f"answer {n}", name=f"id {n}")
    assert any(kind == r.GAP for kind in kinds_of(b))
    b.log.sync()
    lives.close()


def damaged(folder):
    """A byte in the middle goes bad while a ONCE call runs; until the gateway confirms, none."""
    lives = Lives(folder, few())
    lives.turn([("look", {"n": 1})], "before")
    lives.turn([("look", {"n": 2})], "lost", text="the damaged ask")
    lives.hold(("pour", {"n": 3}))
    path = folder / "0000.log"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"damaged ask", b"DAMAGED ask"))
    lives.boot()
    b = lives.bench
    assert kinds_of(b).count(r.GAP) == 1
    b.settle()
    b.agent.cancel(None)
    b.settle()
    lives.turn([("pour", {"n": 4})], "refused")
    b.agent.confirmed(b.log.seq)
    lives.turn([("pour", {"n": 5})], "poured")
    assert b.runs == [("pour", 5)]
    b.log.sync()
    lives.close()


def kinds_of(b):
    """The kinds of all records that are kept."""
    found = []
    for seq in range(b.log.oldest(), b.log.seq + 1):
        try:
            found.append(b.log.frame(seq)[2])
        except Exception:
            found.append(0)
    return found


LOGS = (interrupted, limits, wrapped, dropped, damaged)


def main(folder):
    """Record all."""
    for record in LOGS:
        record(folder / record.__name__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
