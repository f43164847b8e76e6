"""The clock of the agent's timers on MicroPython."""

import time

_clock = [time.ticks_ms(), 0]


def now_ms():
    """Milliseconds of a clock that never goes back and, unlike ticks_ms, never wraps.

    Call it at least once in half a period of ticks_ms (6 days where it has 30 bits).
    """
    ticks = time.ticks_ms()
    _clock[1] += time.ticks_diff(ticks, _clock[0])
    _clock[0] = ticks
    return _clock[1]
