"""What must hold of a replica, a prefix of a history that was, and of a device's RAM."""

from typing import Any

from mote.log import chain, genesis
from mote_host.store import Store

from tests.simulation.violation import hold


def check_replica(store: Store, device: Any) -> None:
    """Walk all of a device's replica."""
    name, history = device.name, device.history
    known = store.device(name)
    if known is None:
        return
    after = {gap.last: (gap.first, gap.after) for gap in store.gaps(name)}
    seq, h = 0, genesis(name)
    for number, stored, frame in store.frames(name):
        while seq in after and after[seq][0] == seq + 1:  # damaged before, nothing is missing
            h = after.pop(seq)[1]
        if number != seq + 1:
            first, jump = after.get(number - 1, (0, b""))
            hold(first == seq + 1, name, f"the replica lacks {seq + 1}..{number - 1}")
            h = jump
        h = chain(h, frame)
        hold(h == stored, name, f"the replica's chain breaks at record {number}")
        hold(h in history.known, name, f"the replica's record {number} never was")
        seq = number
    if seq == known.tip:
        hold(known.tip_hash == h or known.tip in after, name, "the tip has another hash")
    if not history.damaged:
        hold(known.tip <= history.safe, name, f"tip {known.tip}, safe {history.safe}")


def check_bounds(who: str, agent: Any, limits: Any) -> None:
    """RAM is bounded: all that grows has its limit."""
    state = agent.state
    hold(len(agent.turns) <= limits.open_turns, who, f"{len(agent.turns)} open turns")
    hold(len(state.seen) <= limits.seen_asks, who, f"{len(state.seen)} ids")
    hold(len(state.sessions) <= limits.sessions, who, f"{len(state.sessions)} sessions")
    hold(len(state.facts) <= limits.facts, who, f"{len(state.facts)} facts")
    hold(len(agent._again) <= limits.seen_asks, who, f"{len(agent._again)} to answer again")
    hold(len(agent._resumed) <= limits.open_turns, who, "calls that were resumed")
