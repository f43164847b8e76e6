"""The bridge between a pty and mosquitto: a device on a serial line that everything happens to."""

import asyncio
import os
import termios
from contextlib import asynccontextmanager

import aiomqtt
import pytest
from mote import mqtt
from mote_host import bridge as bridge_module
from mote_host.bridge import BUFFER_BYTES, Bridge
from mote_host.cli.bridge import broker_settings
from mote_host.config import BrokerSettings
from mote_host.errors import ConfigError
from mote_host.serial_port import SerialPort
from pty_device import WAIT_S, PtyDevice

READ_AHEAD_BYTES = BUFFER_BYTES + 262144
BOOT = b"ets Jun  8 2016\r\nrst:0x1 (POWERON_RESET)\r\n"


@pytest.fixture
def device():
    device = PtyDevice()
    yield device
    device.unplug()


class Log:
    """What a bridge tells."""

    def __init__(self):
        self.told = []
        self._new = asyncio.Event()

    def __call__(self, event, text):
        self.told.append((event, text))
        self._new.set()

    @property
    def events(self):
        return [event for event, _ in self.told]

    async def until(self, event):
        """The text of the first telling of `event`; all that was told before it is forgotten."""
        async with asyncio.timeout(WAIT_S):
            while event not in self.events:
                self._new.clear()
                await self._new.wait()
        at = self.events.index(event)
        text = self.told[at][1]
        del self.told[: at + 1]
        return text


@asynccontextmanager
async def bridged(path, port):
    """A bridge that runs, and its log."""
    log = Log()
    service = Bridge(SerialPort(path, 115200), BrokerSettings(port=port), log)
    task = asyncio.create_task(service.run())
    try:
        await log.until("listening")
        log.link = lambda: service._link
        yield log
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def watching(port, topic):
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic)
        yield client


async def _next(client):
    async with asyncio.timeout(WAIT_S):
        return (await anext(aiter(client.messages))).payload


@pytest.mark.parametrize("level", [4, 5])
async def test_a_device_connects_publishes_and_receives(device, mosquitto, level):
    device.session.level = level
    async with bridged(device.path, mosquitto.port) as log:
        await device.send(BOOT + b"\x10\x00")
        assert await device.connect() == (mqtt.CONNECTED, False)
        assert f"{len(BOOT) + 2} bytes before it" in await log.until("connected")
        await device.subscribe("to/fern")
        everything = bytes(range(256)) * 4
        async with watching(mosquitto.port, "from/fern") as client:
            await device.publish("from/fern", everything)
            assert await _next(client) == everything
            await client.publish("to/fern", everything)
            assert (await device.event())[1:3] == ("to/fern", everything)
        await device.send(device.session.disconnect())
        assert await log.until("lost") == "the device disconnected"
        assert await device.connect() == (mqtt.CONNECTED, True)


async def test_a_device_that_is_reset_inside_a_packet_is_connected_anew(device, mosquitto):
    async with (
        bridged(device.path, mosquitto.port) as log,
        watching(mosquitto.port, "from/#") as client,
    ):
        await device.connect()
        packet = bytes(device.session.publish("from/fern", bytes(500)))
        await device.send(packet[:-100])
        assert await device.connect() == (mqtt.CONNECTED, True)
        assert "reset" in await log.until("reset")
        await device.publish("from/fern", b"whole")
        assert await _next(client) == b"whole"


async def test_boot_messages_end_a_connection_and_are_not_answered(device, mosquitto):
    async with bridged(device.path, mosquitto.port) as log:
        await device.connect()
        await device.send(BOOT)
        assert "no MQTT" in await log.until("lost")
        assert await device.connect() == (mqtt.CONNECTED, True)


async def test_a_broker_that_restarts_is_told_to_the_device(device, mosquitto):
    async with bridged(device.path, mosquitto.port) as log:
        await device.connect()
        mosquitto.stop()
        kind, code = await device.event()
        assert kind == mqtt.DISCONNECTED
        assert code == 0x8B
        assert "hung up" in await log.until("lost")
        for _ in range(2):
            assert await device.connect() == (mqtt.REFUSED, 0x88)
        assert "Connection refused" in await log.until("unreachable")
        assert log.told == [], "the same was told twice"
        mosquitto.start()
        assert (await device.connect())[0] == mqtt.CONNECTED
        await log.until("connected")


async def test_a_slow_device_stops_the_broker_and_loses_nothing(device, mosquitto):
    async with bridged(device.path, mosquitto.port) as log:
        await device.connect()
        await device.subscribe("to/fern")
        messages = [bytes([n]) * 1500 for n in range(250)] * 2
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for message in messages:
                await client.publish("to/fern", message)
            await client.subscribe("to/all", qos=1)
            await client.publish("to/all", qos=1)
            await _next(client)  # the broker has them all
        assert len(log.link().reader._buffer) <= READ_AHEAD_BYTES
        for n, message in enumerate(messages):
            assert (await device.event())[2] == message, n
            assert len(log.link().reader._buffer) <= READ_AHEAD_BYTES


async def test_a_slow_broker_stops_the_device_and_loses_nothing(device):
    opened = asyncio.Queue()
    server = await asyncio.start_server(lambda *pair: opened.put_nowait(pair), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, bridged(device.path, port) as log:
        connect = bytes(device.session.connect(0))
        await device.send(connect)
        reader, writer = await opened.get()
        device.session.receive(b"\x20\x03\0\0\0", 0)
        packet = bytes(device.session.publish("from/fern", bytes(range(250)) * 8))
        sent, rest, stuck = bytearray(connect), b"", 0
        while stuck < 1000:  # turns of the loop in which the line took nothing
            rest = rest or packet
            n = device.put(rest)
            stuck = 0 if n else stuck + 1
            sent += rest[:n]
            rest = rest[n:]
            await asyncio.sleep(0)
        assert len(sent) < 2000000
        transport = log.link().writer.transport
        assert transport.get_write_buffer_size() < 2 * BUFFER_BYTES + len(packet)
        await asyncio.gather(_compare(reader, sent + rest), device.send(rest))
        writer.close()


async def _compare(reader, expected):
    async with asyncio.timeout(WAIT_S):
        assert await reader.readexactly(len(expected)) == expected


async def test_a_broker_that_takes_nothing_loses_the_device(device, monkeypatch):
    monkeypatch.setattr(bridge_module, "STALL_S", 0.2)
    opened = []  # else nobody holds the connection, and it closes
    server = await asyncio.start_server(lambda *pair: opened.append(pair), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, bridged(device.path, port) as log:
        await device.send(device.session.connect(0))
        device.session.receive(b"\x20\x03\0\0\0", 0)
        packet = bytes(device.session.publish("from/fern", bytes(2000)))
        rest = b""
        while "lost" not in log.events:
            rest = rest or packet
            rest = rest[device.put(rest) :]
            await asyncio.sleep(0)
        assert "takes nothing" in await log.until("lost")


async def test_an_adapter_that_is_unplugged_is_waited_for(
    device, mosquitto, tmp_path, monkeypatch
):
    monkeypatch.setattr(bridge_module, "RETRY_S", 0.02)
    port = tmp_path / "ttyUSB0"
    port.symlink_to(device.path)
    async with bridged(str(port), mosquitto.port) as log:
        await device.connect()
        await log.until("connected")
        device.unplug()
        assert "waiting" in await log.until("unplugged")
        device.plug()
        port.unlink()
        port.symlink_to(device.path)
        await log.until("listening")
        assert (await device.connect())[0] == mqtt.CONNECTED


async def test_the_port_is_given_back_as_it_was(device, mosquitto):
    before = termios.tcgetattr(device.slave)
    async with bridged(device.path, mosquitto.port):
        during = termios.tcgetattr(device.slave)
        assert not during[3] & (termios.ICANON | termios.ECHO)
        assert during[4] == termios.B115200
    assert termios.tcgetattr(device.slave) == before


async def test_a_port_that_is_in_use_is_left_alone(device, mosquitto):
    async with bridged(device.path, mosquitto.port):
        settings = termios.tcgetattr(device.slave)
        with pytest.raises(ConfigError, match="another program has it"):
            SerialPort(device.path, 9600).open()
        assert termios.tcgetattr(device.slave) == settings
        assert (await device.connect())[0] == mqtt.CONNECTED


@pytest.mark.parametrize(
    ("path", "baud", "said"),
    [
        ("/dev/ttyNONE7", 115200, "no such port"),
        (os.devnull, 115200, "not a serial port"),
        (os.devnull, 12345, "57600, 115200"),
    ],
)
def test_a_port_that_can_not_be_had_is_explained(path, baud, said):
    with pytest.raises(ConfigError, match=said):
        SerialPort(path, baud).open()


@pytest.mark.parametrize(
    ("address", "tls", "place"),
    [
        ("b", False, ("b", 1883)),
        ("b", True, ("b", 8883)),
        ("b:99", True, ("b", 99)),
        ("[::1]", False, ("::1", 1883)),
        ("[::1]:99", False, ("::1", 99)),
    ],
)
def test_where_a_broker_is(address, tls, place):
    found = broker_settings(address, tls, None)
    assert (found.host, found.port, found.tls) == (*place, tls)


def test_wrong_words_on_the_command_line_are_explained(mote, tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for args, said in (
        (("--broker", "host:port"), "HOST:PORT"),
        (("--tls",), "--broker"),
        (("--broker", "b", "--ca", tmp_path / "ca.pem"), "--tls"),
        (("--broker", "b", "--tls", "--ca", tmp_path / "ca.pem"), "PEM"),
    ):
        with pytest.raises(Exception, match=said):
            mote("bridge", "--port", "/dev/ttyNONE7", *args)
