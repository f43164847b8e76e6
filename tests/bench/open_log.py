"""Opens the rig's log and prints what that took. Portable: MicroPython runs it.

    micropython -m tests.bench.open_log FOLDER [FREE]

The line is a JSON object: microseconds, and bytes of heap that the open log and agent hold. With
FREE the heap is filled up first, until that many bytes are free.
"""

import gc
import sys
import time

from mote.agent import Agent
from mote_ports.files import FileMedium

from tests.bench import rig


def opened(folder: str, segment_bytes: int) -> Agent:
    """The rig's agent, its log opened in `folder`."""
    medium = FileMedium(folder, rig.SEGMENTS, segment_bytes)
    agent = rig.make_agent(rig.make_log(medium), 0)
    medium.close()
    return agent


def fill(free: int) -> list[bytearray]:
    """What leaves only `free` bytes of heap to others."""
    ballast = []
    gc.collect()
    while gc.mem_free() > free:  # type: ignore[attr-defined]  # MicroPython has it
        ballast.append(bytearray(128))
    return ballast


def measure(folder: str) -> None:
    """Open, and print."""
    gc.collect()
    before = gc.mem_alloc()  # type: ignore[attr-defined]
    began = time.ticks_us()  # type: ignore[attr-defined]
    agent = opened(folder, rig.SEGMENT_BYTES)
    took = time.ticks_diff(time.ticks_us(), began)  # type: ignore[attr-defined]
    gc.collect()
    held = gc.mem_alloc() - before  # type: ignore[attr-defined]
    assert agent.log.seq
    print(f'{{"us": {took}, "heap": {held}}}')


if __name__ == "__main__":
    ballast = fill(int(sys.argv[2])) if len(sys.argv) > 2 else None
    measure(sys.argv[1])
