# slow
"""The heap is nearly full: what raises MemoryError leaves a sound log, and every ask is answered.

CPython has no heap that can be filled: there the lives are whole (tests/torture raises at every
line there instead).
"""

import gc
import sys

from chip import Chip
from life import Life, script
from outside import World

MEASURED = hasattr(gc, "mem_free")
WORD = 8 if sys.maxsize > 1 << 32 else 4  # what all is made of
MOST, STEP = 1800 * WORD, 300 * WORD  # bytes that are free: at first, and less each time


def _filled(free):
    """Blocks that fill the heap but for about `free` bytes."""
    blocks = []
    if MEASURED:
        gc.collect()
        for size in (65536, 4096, 256, 32):
            try:
                while gc.mem_free() > free + size:
                    blocks.append(bytearray(size))
            except MemoryError:
                pass
    return blocks


class _Short:
    """A device that lives on with less and less memory."""

    def __init__(self):
        self.chip, self.world = Chip(4, 8, 1024), World()
        script(self.chip, self.world, 12)
        self.world.out = True
        self.life = Life(self.chip, self.world)
        self.rounds = 0
        self.blocks = None  # what fills the heap
        self.raised = 0

    def round(self, free, restart):
        """One round of the script with so many bytes free."""
        number = self.life.fresh(self.rounds)
        if restart:
            self.life = None
        self.blocks = _filled(free)
        try:
            if restart:
                self.life = Life(self.chip, self.world)
            self.life.round(number)
        except MemoryError:
            self.blocks = None
            self._go_on()
        self.blocks = None
        gc.collect()
        self.rounds += 1

    def _go_on(self):
        gc.collect()
        self.raised += 1
        self.world.catch_up()
        agent = self.life.agent if self.life else None
        if agent and agent.state.seq == agent.log.seq:
            self.life.go_on()
            return
        self.life = Life(self.chip, self.world)
        self.life.recover()


def test_appends_and_turns_with_less_and_less_memory():
    device = _Short()
    for free in range(MOST, 0, -STEP):
        device.round(free, restart=False)
    assert device.raised > 3 or not MEASURED, device.raised
    Life(device.chip, device.world).recover()


def test_a_log_is_opened_with_less_and_less_memory():
    device = _Short()
    for free in range(MOST, -1, -STEP - 150 * WORD):
        device.round(free, restart=True)
    # raised in opening or in the turn behind it: a collector that looks through the stack may find
    # the life before there, and give its memory to the opening
    assert device.raised > 0 or not MEASURED, device.raised
    Life(device.chip, device.world).recover()
