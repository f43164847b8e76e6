"""TIPs that may wait: a reply tells a device as much, and often comes at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from mote_host.errors import DeviceError, StoreError

DELAY_S = 1.0

Send = Callable[[str], Awaitable[None]]
"""Sends a device its TIP, as it is then."""
Sleep = Callable[[float], Awaitable[None]]

_log = logging.getLogger("mote.gateway")


class Tips:
    """The tasks, one for each device at most, that send what no reply made needless.

    `sleep` is for tests.
    """

    def __init__(self, send: Send, sleep: Sleep = asyncio.sleep) -> None:
        self._send = send
        self._sleep = sleep
        self._tasks: dict[str, tuple[bytes, asyncio.Task[None]]] = {}

    def later(self, group: asyncio.TaskGroup, device: str, request_id: bytes) -> None:
        """Send a TIP after DELAY_S, unless a reply to that request goes out before."""
        self.drop(device)
        task = group.create_task(self._wait(device))
        self._tasks[device] = request_id, task

    def drop(self, device: str, request_id: bytes | None = None) -> None:
        """No TIP is due any more: a reply to that request, or (None) another TIP, goes out."""
        waiting, task = self._tasks.get(device, (None, None))
        if task is not None and request_id in (None, waiting):
            del self._tasks[device]
            task.cancel()

    def close(self) -> None:
        """Forget all of them: the devices will ask."""
        for device in list(self._tasks):
            self.drop(device)

    async def _wait(self, device: str) -> None:
        await self._sleep(DELAY_S)
        # from here on nobody may cancel it: a counter that was taken must be sent
        self._tasks.pop(device, None)
        try:
            await self._send(device)
        except (DeviceError, StoreError) as exc:
            _log.error("%s: %s", device, exc)  # it says hello, and is told then
        except Exception:
            # One tip that breaks must not take the service with it.
            _log.exception("%s: sending a tip broke", device)
