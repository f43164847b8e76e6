"""Power cuts at random moments of a workload of ONCE calls, and what must hold after them."""

from dataclasses import dataclass
from pathlib import Path

from mote_emulator.device import Options
from mote_emulator.panel import Panel

from tests.emulator.workload import (
    COUNTER,
    PORTIONS,
    Asker,
    Dispensing,
    dispensing,
    settled,
    strike,
)

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Survived:
    """How many cuts there were, how many portions were asked for, and what was broken."""

    survived: int
    portions: int
    broken: list[str]


async def survive(folder: Path, board: str, cuts: int, seed: int = 1) -> Survived:
    """Put a board through `cuts` power cuts, at least, at moments that follow from the seed."""
    panel = Panel()
    counter = panel.add_device(COUNTER)
    given: list[int] = []
    struck = portions = 0
    async with dispensing(folder, Dispensing()) as made:
        asker = Asker(made)
        await made.power_on(Options(board), panel=panel)
        while struck < cuts:
            more = range(portions, portions + _BATCH)
            work = asker.run(more)
            struck += await strike(made, f"{seed} {portions}", work, asker.answered)
            portions = more.stop
            if portions % PORTIONS == 0:  # the registers are used up: read and cleared
                given += counter[0:PORTIONS]
                counter[0:PORTIONS] = bytes(PORTIONS)
        replica, log = await settled(made)
    given += counter[0 : portions % PORTIONS]
    panel.close()
    broken = [f"portion {n} was dispensed {k} times" for n, k in enumerate(given) if k > 1]
    # a call that was cut off may have dispensed or not; no other is left out
    if sum(given) < portions - struck:
        broken.append(f"{portions} portions, {struck} cuts, {sum(given)} dispensed")
    for n in range(portions):
        answers = asker.answers[f"portion {n}"]
        if len(answers) != 1:
            broken.append(f"portion {n}: {len(answers)} distinct answers")
    for verdict in (replica, log):
        if not verdict.verified or verdict.gaps:
            broken.append(str(verdict))
    if replica.head != log.head:
        broken.append("replica and log end differently")
    return Survived(struck, portions, broken)
