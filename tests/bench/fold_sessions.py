"""Folds asks of many sessions and prints what the state holds. Portable: MicroPython runs it.

    micropython -m tests.bench.fold_sessions SESSIONS LIMIT

The line is a JSON object: bytes of heap that the state holds, and how many sessions it remembers.
"""

import gc
import sys

from mote import records as r
from mote.msgpack import Packer
from mote.state import State
from mote.turn import Limits


def folded(sessions: int, limit: int) -> State:
    """The state behind one finished turn in each session."""
    limits = Limits()
    limits.sessions = limit
    state = State(limits)
    p = Packer(bytearray(256))
    seq = 0
    for n in range(sessions):
        ask = seq + 1
        p.reset(0).array(5).str(f"session-{n}").str("").str("hello").int(0).int(0)
        state.fold(ask, bytes(32), r.ASK, p.taken())
        state.fold(
            ask + 1,
            bytes(32),
            r.ANSWER,
            p.reset(0).array(4).int(ask).int(0).int(0).str("hi").taken(),
        )
        seq = ask + 2
        state.fold(seq, bytes(32), r.SENT, p.reset(0).array(1).int(ask).taken())
    return state


def measure(sessions: int, limit: int) -> None:
    """Fold, and print."""
    folded(1, 1)
    gc.collect()
    before = gc.mem_alloc()  # type: ignore[attr-defined]  # MicroPython has it
    state = folded(sessions, limit)
    gc.collect()
    held = gc.mem_alloc() - before  # type: ignore[attr-defined]
    assert not state.turns
    print(f'{{"heap": {held}, "remembered": {len(state.sessions)}}}')


if __name__ == "__main__":
    measure(int(sys.argv[1]), int(sys.argv[2]))
