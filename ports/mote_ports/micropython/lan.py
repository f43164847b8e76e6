"""A board's wired network: brought up when it is first needed, then dialled through."""

import asyncio

from ..streams import connect

_WAIT_S = 15  # for the link and an address


class Lan:
    """Dials the broker at `host`; `tls` as for `connect`. `report` is told of the address."""

    def __init__(self, host, port, tls, report):
        self._target = (host, port, tls)
        self._report = report
        self._lan = None

    async def dial(self):
        """A Stream. Raises OSError, also if there is no network."""
        await self._up()
        return await connect(*self._target)

    async def _up(self):
        if not self._lan:
            from network import LAN

            self._lan = lan = LAN()
            lan.active(True)
        if self._lan.isconnected():
            return
        for _ in range(10 * _WAIT_S):
            await asyncio.sleep_ms(100)
            if self._lan.isconnected():
                self._report("network: " + self._lan.ipconfig("addr4")[0])
                return
        raise OSError(0, "no network: is the cable plugged in, is there a DHCP server?")
