"""The connection to the broker: dialled, kept, and dialled again while the driver runs."""

import asyncio
import os

from mote import mqtt

_FIRST_S = 1
_LONGEST_S = 30
_LASTING_MS = 10000
_RESET = 104  # ECONNRESET: how some brokers hang up
_PATIENCE_S = 3  # for the CONNACK; doubles, since the link may be slow

_TROUBLE = (OSError, EOFError, asyncio.TimeoutError, mqtt.ProtocolError)


class Connection:
    """Runs one MQTT session over streams from `dial()`; `handler` hears of it.

    The handler has `event(event)`, called for each event of the session, and `offline()`.
    Errors of the network end up in `report`, once per change of the reason; then it waits: not at
    all if the connection had lasted, else 1 s, 2 s, up to 30 s, with jitter. A broker that answers
    CONNECT with nothing, or hangs up on it, is tried with the other version of MQTT next.
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
        self._absent = False  # no broker was reached
        self._patience_s = _PATIENCE_S

    def write(self, packet):
        """Send a packet of the session, if there is a stream."""
        if self.stream:
            try:
                self.stream.write(packet)
            except _TROUBLE:
                self._close()  # MP: sends at once. The packet is lost, so begin again

    async def drain(self):
        """Wait until the kernel has what was written."""
        if self.stream:
            try:
                await self.stream.drain()
            except _TROUBLE:
                self._close()

    async def run(self):
        """Never returns."""
        wait_s = 0
        while True:
            level = self.session.level
            if await self._once():
                wait_s = 0
            if self._absent:
                self.session.level = level  # nobody was there to have no liking for the version
            await asyncio.sleep(wait_s * (128 + os.urandom(1)[0]) / 256)
            wait_s = min(2 * wait_s, _LONGEST_S) or _FIRST_S

    async def _once(self):
        """One connection, from dialling to its end; True if it lasted."""
        began = self._now_ms()
        good = False
        stream = None
        self._absent = True
        try:
            stream = self.stream = await self._dial()
            stream.write(self.session.connect(self._now_ms()))
            # MP: the handshake of TLS happens here
            await asyncio.wait_for(stream.drain(), _LONGEST_S)
            # A broker may meet a version that it does not know with silence.
            await self._receive(stream, self._patience_s)
            self._patience_s = _PATIENCE_S
            good = self.session.connected
            while True:
                await self._receive(stream, self._silence_s)
        except asyncio.TimeoutError:
            self._absent = stream is None
            self._patience_s = min(2 * self._patience_s, _LONGEST_S)
            why = "no answer from the broker"
        except _TROUBLE as e:
            self._absent = self._absent and e.args[:1] != (_RESET,)
            why = "broker: %s" % _words(e)
        finally:
            self.session.lost()
            self._close()
            if stream:
                self._handler.offline()
        # One that ends at once is a reason to wait: a clone with our name may take turns with us.
        lasted = good and self._now_ms() - began >= _LASTING_MS
        if why != self._why or lasted:
            self._report(why)
        self._why = why
        return lasted

    async def _receive(self, stream, patience_s):
        n = await asyncio.wait_for(stream.read(self._buf), patience_s)
        self._absent = False
        if n == 0:
            raise OSError(0, "the broker closed the connection")
        self._feed(self._buf[:n])

    def _feed(self, data):
        while len(data):
            data = data[self.session.receive(data, self._now_ms()) :]
            event = self.session.next_event()
            if event:
                if event[0] in (mqtt.REFUSED, mqtt.DISCONNECTED):
                    from .reasons import reason  # only a failing connection loads it

                    raise OSError(event[1], "the broker says: %s" % reason(event[1]))
                self._tell(event)

    def _tell(self, event):
        try:
            self._handler.event(event)
        except _TROUBLE as e:  # not the network's, so another connection is no remedy
            raise RuntimeError("%s: %s" % (type(e).__name__, e))

    def _close(self):
        """Close the stream, once; whoever reads from it hears of that."""
        stream, self.stream = self.stream, None
        if stream:
            try:
                stream.close()
            except _TROUBLE:
                pass  # it is gone, and that is all that was wanted


def _words(error):
    """What an OSError says; MP: often nothing but its number."""
    said = error.args[-1] if error.args else "connection lost"
    return "error %d" % said if isinstance(said, int) else str(said)
