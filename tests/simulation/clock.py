"""Simulated time: one queue of what happens when, and event loops for asyncio that run on it."""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any

_MOST_STEPS = 100000  # of one loop at one moment


class Endless(Exception):
    """A loop goes on and on at one moment."""


class Clock:
    """Milliseconds, whole ones. What happens at the same moment happens in the order of `at`."""

    def __init__(self, now: int = 1000) -> None:
        self.now = now
        self.steps = 0
        self.failure: Exception | None = None  # raised before anything else happens
        self._queue: list[Any] = []
        self._numbered = 0

    def at(self, when: int, do: Callable[..., object], *args: Any) -> list[Any]:
        """Call `do(*args)` then; the entry can be given to `cancel`."""
        self._numbered += 1
        entry = [when, self._numbered, do, args]
        heapq.heappush(self._queue, entry)
        return entry

    def after(self, ms: int, do: Callable[..., object], *args: Any) -> list[Any]:
        """The same, so many milliseconds from now."""
        return self.at(self.now + ms, do, *args)

    def cancel(self, entry: list[Any]) -> None:
        """Let it not happen."""
        entry[2] = None

    def run(self, until: int) -> None:
        """Let everything happen up to then."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            when, _, do, args = heapq.heappop(queue)
            if do is not None:
                self.now = when
                self.steps += 1
                do(*args)
                if self.failure:
                    raise self.failure
        self.now = until


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process. After `kill` nothing of it runs any more, not even cleanup.

    `broke(text)` is called with what no task caught.
    """

    def __init__(self, clock: Clock, broke: Callable[[str], None]) -> None:
        self._clock = clock
        self._broke = broke
        self._ready: deque[asyncio.Handle] = deque()
        self._armed = False
        self._killed = False
        self._stalled = 0  # nothing runs until then
        # held, for a task that nobody holds would be closed, and clean up
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def kill(self) -> None:
        """The process is gone: as SIGKILL, or a power cut."""
        self._killed = True
        self._ready.clear()

    def stall(self, ms: int) -> None:
        """Nothing runs for so long."""
        self._stalled = max(self._stalled, self._clock.now + ms)

    def bury(self) -> None:
        """Let go of what was killed, once it can do no harm any more."""
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with suppress(BaseException):
                task.get_coro().close()  # type: ignore[union-attr]
        self._tasks.clear()

    def time(self) -> float:
        return self._clock.now / 1000

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        if not self._armed:
            self._armed = True
            self._clock.at(self._clock.now, self.pump)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        due = max(self._clock.now, math.ceil(when * 1000 - 1e-6))
        self._clock.at(due, self._due, handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if not self._killed and not handle.cancelled():
            self._ready.append(handle)
            self.pump()

    def pump(self) -> None:
        """Run what is ready until nothing is."""
        self._armed = False
        if self._killed or asyncio._get_running_loop() is not None:
            return
        if self._stalled > self._clock.now:
            self._armed = True
            self._clock.at(self._stalled, self.pump)
            return
        self._armed = True  # what becomes ready meanwhile is run here
        asyncio._set_running_loop(self)
        try:
            for _ in range(_MOST_STEPS):
                if self._killed or not self._ready:
                    return
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
            raise Endless("a process does not come to rest")
        finally:
            asyncio._set_running_loop(None)
            self._armed = False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=self, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._killed

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self._killed:
            self._broke(f"{context.get('message')}: {error!r}")
