"""The connection to the broker: dialled, kept, and dialled again for as long as the driver runs."""

import asyncio
import os

from mote import mqtt

_FIRST_S = 1
_LONGEST_S = 30

_TROUBLE = (OSError, EOFError, asyncio.TimeoutError, mqtt.ProtocolError)


class Connection:
    """Runs one MQTT session over streams from `dial()`; `handler` hears of it.

    The handler has `event(event)`, called for each event of the session, and `offline()`.
    Errors of the network end up in `report`, once per change of the reason; then it waits: not at
    all, 1 s, 2 s, up to 30 s, with jitter.
    """

    def __init__(self, session, dial, handler, report, now_ms, silence_s):
        self.session = session
        self.stream = None
        self._dial = dial
        self._handler = handler
        self._report = report
        self._now_ms = now_ms
        self._silence_s = silence_s
        self._buf = memoryview(bytearray(512))
        self._why = None

    def write(self, packet):
        """Send a packet of the session, if there is a stream."""
        if self.stream:
            self.stream.write(packet)

    async def drain(self):
        """Wait until the kernel has what was written."""
        if self.stream:
            try:
                await self.stream.drain()
            except _TROUBLE:
                pass  # the reader sees the same, and ends the connection

    async def run(self):
        """Never returns."""
        wait_s = 0
        while True:
            level = self.session.level
            good = await self._once()
            if good:
                wait_s = 0
            if self.session.level == level:
                await asyncio.sleep(wait_s * (128 + os.urandom(1)[0]) / 256)
                wait_s = min(2 * wait_s, _LONGEST_S) or _FIRST_S
            else:
                await asyncio.sleep(0.1)  # the other version of MQTT, almost at once

    async def _once(self):
        """One connection, from dialling to its end; True if the broker let us in."""
        good = False
        try:
            self.stream = await self._dial()
            self.stream.write(self.session.connect(self._now_ms()))
            await self.stream.drain()
            while True:
                n = await asyncio.wait_for(self.stream.read(self._buf), self._silence_s)
                if n == 0:
                    raise OSError(0, "the broker closed the connection")
                self._feed(self._buf[:n])
                good = good or self.session.connected
        except asyncio.TimeoutError:
            why = "no answer from the broker"
        except _TROUBLE as e:
            why = "broker: %s" % (e.args[-1] if e.args else "connection lost")
        finally:
            self._drop()
        if why != self._why or good:
            self._report(why)
        self._why = why
        return good

    def _feed(self, data):
        while len(data):
            data = data[self.session.receive(data, self._now_ms()) :]
            event = self.session.next_event()
            if event:
                if event[0] in (mqtt.REFUSED, mqtt.DISCONNECTED):
                    raise OSError(event[1], "the broker says: %s" % event[2])
                self._why = None
                self._handler.event(event)

    def _drop(self):
        self.session.lost()
        if self.stream:
            self.stream.close()
            self.stream = None
            self._handler.offline()
