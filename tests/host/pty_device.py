"""A device at the far end of a serial line: a pty, and the agent's own MQTT session on it."""

import asyncio
import os
import time

from mote import mqtt

WAIT_S = 10


def now_ms():
    return time.monotonic_ns() // 1000000


class PtyDevice:
    """`path` is the port that a bridge opens; the session's packets go out by `send`."""

    def __init__(self, name="fern", level=5):
        self.session = mqtt.Session("mote-" + name, level=level, rx_bytes=2048, tx_bytes=2048)
        self.reading = True
        self.messages = []
        self._name = name
        self.plug()

    def plug(self):
        """A new line; `path` is another one then."""
        self._master, self._slave = os.openpty()
        self.path = os.ttyname(self._slave)
        os.set_blocking(self._master, False)

    def unplug(self):
        os.close(self._master)
        os.close(self._slave)

    @property
    def slave(self):
        return self._slave

    def put(self, data):
        """Write what the line takes; returns how many bytes that is."""
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    async def send(self, data):
        data = bytes(data)
        async with asyncio.timeout(WAIT_S):
            while data:
                data = data[self.put(data) :]
                await asyncio.sleep(0)

    async def event(self):
        """The next event of the session."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WAIT_S):
            while True:
                event = self.session.next_event()
                if event:
                    return tuple(bytes(x) if isinstance(x, memoryview) else x for x in event)
                self.rest = getattr(self, "rest", b"")
                if not self.rest:
                    ready = asyncio.Event()
                    loop.add_reader(self._master, ready.set)
                    try:
                        await ready.wait()
                    finally:
                        loop.remove_reader(self._master)
                    self.rest = os.read(self._master, 512)
                self.rest = self.rest[self.session.receive(self.rest, now_ms()) :]

    async def connect(self):
        """CONNECT, and the event that answers it."""
        self.rest = b""
        await self.send(self.session.connect(now_ms()))
        return await self.event()

    async def subscribe(self, topic):
        await self.send(self.session.subscribe(topic, 0, self.session.next_pid()))
        assert (await self.event())[0] == mqtt.SUBACK

    async def publish(self, topic, payload):
        await self.send(self.session.publish(topic, payload))
