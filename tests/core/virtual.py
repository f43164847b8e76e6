"""asyncio on a clock that nobody waits for: when all tasks sleep, it jumps to the next deadline.

`run(coroutine)` is asyncio.run on that clock, `now_ms()` reads it. It fails if nothing can ever
happen again, or if the program still runs after `most_ms`. Portable.
"""

import asyncio
import sys

_MICROPYTHON = sys.implementation.name == "micropython"
_LONG_MS = 3600000


class Stalled(Exception):
    """Every task waits for something that can't come, or one does not end."""


class _Clock:
    now_ms = 1000.0
    stop_ms = 0.0

    def forward(self, ms):
        """Let time pass. Raises Stalled."""
        self.now_ms += ms
        if self.now_ms > self.stop_ms:
            raise Stalled("it does not end")


_clock = _Clock()


def now_ms():
    """Milliseconds, never going back; also from one `run` to the next."""
    return int(_clock.now_ms + _real_ms() + 0.5)


def run(coroutine, most_ms=_LONG_MS):
    """Run it to its end and return what it returns. `most_ms` is virtual."""
    _clock.stop_ms = _clock.now_ms + most_ms
    return _run(coroutine)


if _MICROPYTHON:
    _core = asyncio.core

    class _Queue:
        """Stands in for the queue of sockets: there are none."""

        def __init__(self):
            self.map = {0: None}  # there is something to wait for: the clock

        def wait_io_event(self, dt):
            if dt < 0:
                raise Stalled("nothing can happen any more")
            _clock.forward(dt)

    _ticks = _core.ticks
    _start = _ticks()

    def _real_ms():
        # it can't be left out: the scheduler, in C, stamps what is to run at once with it
        return _core.ticks_diff(_ticks(), _start)

    def _run(coroutine):
        asyncio.new_event_loop()
        _core.ticks = lambda: _core.ticks_add(_ticks(), int(_clock.now_ms))
        _core._io_queue = _Queue()
        return asyncio.run(coroutine)

else:
    import selectors

    def _real_ms():
        return 0

    class _Selector(selectors.DefaultSelector):
        def select(self, timeout=None):
            found = super().select(0)
            if not found:
                if timeout is None:
                    raise Stalled("nothing can happen any more")
                _clock.forward(max(0, timeout) * 1000)
            return found

    class _Loop(asyncio.SelectorEventLoop):
        def time(self):
            return _clock.now_ms / 1000

    def _run(coroutine):
        with asyncio.Runner(loop_factory=lambda: _Loop(_Selector())) as runner:
            return runner.run(coroutine)
