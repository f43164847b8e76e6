"""The connection to the broker: dialled, kept, and dialled again while the driver runs."""

import asyncio
import os

from mote import mqtt

_FIRST_S = 1
_LONGEST_S = 30
_LASTING_MS = 10000
_RESET = 104  # ECONNRESET: how some brokers hang up
_PATIENCE_S = 3  # for the CONNACK; doubles, since the link may be slow
_GATHER = 512  # bytes that are written at once: each write costs a segment, with TLS a record
_HELD = 32  # packets that wait while one is sent in pieces
_SHORT = 3  # connections that end soon after they began, until it is odd
_CLONE = "; this happens again and again: is there another client of this device's name?"

_TROUBLE = (OSError, EOFError, asyncio.TimeoutError, mqtt.ProtocolError)


class Connection:
    """Runs one MQTT session over streams from `dial()`; `handler` hears of it.

    The handler has `event(event)`, called for each event of the session, and `offline()`. Up to
    `gather_bytes` are read and written at once. Errors of the network end up in `report`, once per
    change of the reason; then it waits: not at all if the connection had lasted, else 1 s, 2 s, up
    to 30 s, with jitter. A broker that answers CONNECT with nothing, or hangs up on it, is tried
    with the other version of MQTT next.
    """

    def __init__(self, session, dial, handler, report, now_ms, silence_s, gather_bytes=_GATHER):
        self.session = session
        self.stream = None
        self.leaving = False  # its end is wanted, and no news
        self._dial = dial
        self._handler = handler
        self._report = report
        self._now_ms = now_ms
        self._silence_s = silence_s
        self._buf = memoryview(bytearray(gather_bytes))
        self._out = memoryview(bytearray(gather_bytes))  # what `flush` writes at once
        self._fill = 0  # bytes in it
        self._why = None
        self._absent = False  # no broker was reached
        self._patience_s = _PATIENCE_S
        self._held = None  # packets that wait for the end of one that is sent in pieces
        self._drain = None  # a task that waits for the stream
        self._moved = False  # the broker took a piece, which is a sign of life
        self._said = None  # why the driver gave the connection up
        self._guessed = False  # 3.1.1 was tried without the broker asking for it
        self._short = 0  # connections in a row that ended soon

    def write(self, packet):
        """Send a packet of the session with the next `flush`, if there is a stream."""
        if self._held is None:
            self._put(packet)
        elif len(self._held) < _HELD:
            self._held.append(bytes(packet))
        else:
            self.hang_up("the broker takes nothing while it sends much")

    @property
    def crowded(self):
        """Whether only what must be said should be written now."""
        return self._held is not None and len(self._held) >= _HELD // 2

    def _put(self, data):
        if self._fill + len(data) > len(self._out):
            self.flush()
        if len(data) > len(self._out):
            self._give(data)
        elif self.stream:
            self._out[self._fill : self._fill + len(data)] = data
            self._fill += len(data)

    def flush(self):
        """Give the stream what was written."""
        n, self._fill = self._fill, 0
        if n:
            self._give(self._out[:n])

    def _give(self, data):
        if self.stream:
            try:
                self.stream.write(data)
            except _TROUBLE:
                self._close()  # MP: sends at once. The packet is lost, so begin again

    async def send(self, head, pieces):
        """Send a packet whose first bytes are `head`, in pieces; False if the connection ended.

        What is written meanwhile follows it. Whatever `pieces` raises ends the connection, since
        half a packet is none.
        """
        stream = self.stream
        if not stream:
            return False
        self._put(head)
        held = self._held = []
        try:
            for piece in pieces:
                if self._fill + len(piece) > len(self._out):
                    await self.drain()
                    self._moved = True
                if self.stream is not stream:
                    return False
                self._put(piece)
        except BaseException:
            self._close()
            raise
        finally:
            self._held = None
            if self.stream is stream:
                for packet in held:
                    self.write(packet)
        return self.stream is stream

    def hang_up(self, why):
        """Give this connection up; another one is tried later."""
        self._said = why
        self._close()

    async def drain(self):
        """Wait until the kernel has what was written, or this connection is given up."""
        self.flush()
        stream = self.stream
        if not stream:
            return
        task = self._drain = asyncio.create_task(stream.drain())
        try:
            await task
        except _TROUBLE:
            if self.stream is stream:
                self._close()
        except asyncio.CancelledError:
            if self.stream is stream:  # else _close() did it: MP: nothing else ends that wait
                raise
        finally:
            task.cancel()
            if self._drain is task:
                self._drain = None

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
                try:
                    await self._receive(stream, self._silence_s)
                except asyncio.TimeoutError:
                    if not self._moved:
                        raise
                self._moved = False
        except asyncio.TimeoutError:
            self._absent = stream is None
            self._patience_s = min(2 * self._patience_s, _LONGEST_S)
            why = "no answer from the broker"
        except _TROUBLE as e:
            self._absent = self._absent and e.args[:1] != (_RESET,)
            why = "broker: %s" % _words(e)
        finally:
            level = self.session.level
            self.session.lost()
            self._guessed = self._guessed or self.session.level != level
            self._close()
            if stream:
                self._handler.offline()
        return self._ended(good, began, why)

    def _ended(self, good, began, why):
        """Tell why it ended, if that is news; True if it lasted. `good`: the broker let us in."""
        if good and self._guessed:  # what kept it from speaking 5 may have been no broker
            self._guessed = False
            self.session.level = 5
        # One that ends at once is a reason to wait: a clone with our name may take turns with us.
        lasted = good and self._now_ms() - began >= _LASTING_MS
        self._short = self._short + 1 if good and not lasted and not self._said else 0
        why, self._said = self._said or why, None
        if self._short >= _SHORT:
            why += _CLONE
        if (why != self._why or lasted) and not self.leaving:
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
        self._fill = 0
        self._held = None
        if stream:
            if self._drain:
                self._drain.cancel()
            try:
                stream.close()
            except _TROUBLE:
                pass  # it is gone, and that is all that was wanted


def _words(error):
    """What an OSError says; MP: often nothing but its number."""
    said = error.args[-1] if error.args else "connection lost"
    return "error %d" % said if isinstance(said, int) else str(said)
