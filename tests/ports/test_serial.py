"""A serial port as the way to the broker: its streams, and what noise does to a connection."""

import asyncio

import virtual
from bed import TURN, Bed
from helpers import Random, raises
from mote_ports.serial import NOISE_MS, QUIET_MS, UNSENT_BYTES, SerialPort
from serial_line import Line

DONE = [("done", "done " * 300)]
HUGE = b"\x30\xff\xff\xff\x7f"  # how a PUBLISH of 256 MiB begins
KEEPALIVE_MS = 60000


def _port(line):
    return SerialPort("/dev/ttyX", 9600, virtual.now_ms, line.open)


async def _read(stream, size):
    buf = memoryview(bytearray(size))
    return bytes(buf[: await stream.read(buf)])


# -- streams


def test_dialling_drops_what_comes_until_the_line_is_quiet():
    line = Line()

    async def noise():
        for n in range(5):
            line.feed(b"boot %d\r\n" % n)
            await asyncio.sleep(QUIET_MS / 2000)

    async def run():
        line.feed(b"before " * 100)
        task = asyncio.create_task(noise())
        begun = virtual.now_ms()
        stream = await _port(line).dial()
        took = virtual.now_ms() - begun
        assert task.done()
        assert 2 * QUIET_MS <= took <= 5 * QUIET_MS
        line.feed(b"CONNACK")
        assert await _read(stream, 100) == b"CONNACK"

    virtual.run(run())


def test_a_line_that_does_not_get_quiet_is_used_as_it_is():
    line = Line()

    async def noise():
        while True:
            line.feed(b"x")
            await asyncio.sleep(QUIET_MS / 2000)

    async def run():
        task = asyncio.create_task(noise())
        begun = virtual.now_ms()
        await _port(line).dial()
        assert NOISE_MS <= virtual.now_ms() - begun <= NOISE_MS + 2 * QUIET_MS
        task.cancel()

    virtual.run(run())


def test_what_is_written_goes_out_in_order_without_anybody_who_drains():
    line = Line()
    everything = bytes(range(256)) * 8

    async def run():
        stream = await _port(line).dial()
        packet = bytearray(everything)
        stream.write(packet)
        packet[:4] = b"\0\0\0\0"  # the caller may use it again
        stream.write(memoryview(everything))
        await asyncio.sleep(1)
        assert line.sent == everything * 2

    virtual.run(run())


def test_draining_waits_for_the_line():
    line = Line()
    line.room = 100

    async def room():
        await asyncio.sleep(3)
        line.widen()

    async def run():
        stream = await _port(line).dial()
        stream.write(bytes(1000))
        begun = virtual.now_ms()
        task = asyncio.create_task(room())
        await stream.drain()
        assert task.done()
        assert virtual.now_ms() - begun >= 3000
        assert len(line.sent) == 1000

    virtual.run(run())


def test_a_line_that_takes_nothing_does_not_eat_the_memory():
    line = Line()
    line.room = 0

    async def run():
        stream = await _port(line).dial()
        taken = 0

        async def fill():
            nonlocal taken
            while True:
                stream.write(bytes(1000))
                taken += 1000

        try:
            await fill()
        except OSError as e:
            assert "takes less" in e.args[-1]
        assert UNSENT_BYTES < taken <= UNSENT_BYTES + 1000
        stream.close()
        await stream_is_closed(stream)

    virtual.run(run())


async def stream_is_closed(stream):
    for call in (stream.drain, lambda: _read(stream, 1)):
        try:
            await call()
        except OSError:
            continue
        raise AssertionError("not closed")
    raises(OSError, stream.write, b"x")


def test_the_port_stays_open_from_one_stream_to_the_next():
    line = Line()

    async def run():
        port = _port(line)
        for _ in range(3):
            line.feed(b"what the stream before did not read")
            stream = await port.dial()
            line.feed(b"new")
            assert await _read(stream, 10) == b"new"
            line.room = 64  # it ends in the middle of a packet
            stream.write(bytes(100))
            await asyncio.sleep(0.1)
            stream.close()
            line.widen()
        assert line.opened == 1
        assert not line.closed
        assert len(line.sent) == 3 * 64

    virtual.run(run())


def test_who_waits_when_the_stream_is_closed_hears_of_it():
    line = Line()
    line.room = 0
    heard = []

    async def wait(coroutine):
        try:
            await coroutine
        except OSError as e:
            heard.append(e.args)

    async def run():
        port = _port(line)
        stream = await port.dial()
        stream.write(b"x")
        tasks = [asyncio.create_task(wait(c)) for c in (stream.drain(), _read(stream, 1))]
        await asyncio.sleep(1)
        stream.close()
        for task in tasks:
            await asyncio.wait_for(task, 1)
        assert heard == [(0, "closed")] * 2
        stream = await port.dial()
        line.feed(b"new")
        assert await _read(stream, 3) == b"new"

    virtual.run(run())


def test_a_read_that_is_given_up_takes_nothing_from_the_next():
    line = Line()

    async def run():
        stream = await _port(line).dial()
        for _ in range(3):
            try:
                await asyncio.wait_for(_read(stream, 3), 1)
                raise AssertionError("it read nothing")
            except asyncio.TimeoutError:
                pass
        await asyncio.sleep(0)
        line.feed(b"new")
        assert await _read(stream, 3) == b"new"

    virtual.run(run())


def test_a_port_that_fails_is_opened_anew():
    line = Line()

    async def run():
        port = _port(line)
        stream = await port.dial()
        line.fault = OSError(5, "EIO")
        try:
            await _read(stream, 1)
        except OSError as e:
            assert e.args == (5, "/dev/ttyX: input or output error")
        assert line.closed
        line.fault = OSError(2, "ENOENT")
        try:
            await port.dial()
        except OSError as e:
            assert e.args == (2, "/dev/ttyX: no such file or folder")
        line.fault = None
        stream = await port.dial()
        assert line.opened == 2
        line.fault = OSError(5, "EIO")
        stream.write(b"x")
        try:
            await stream.drain()
        except OSError as e:
            assert e.args[0] == 5
        assert line.closed

    virtual.run(run())


def test_a_port_that_is_gone_is_no_end_of_a_stream():
    line = Line()

    async def gone(buf):
        return 0

    async def run():
        stream = await _port(line).dial()
        line.get = gone
        try:
            await _read(stream, 1)
        except OSError as e:
            assert e.args == (19, "/dev/ttyX: no such device")
            return
        raise AssertionError("an end")

    virtual.run(run())


# -- connections


class Wired(Bed):
    """A Bed whose device has a serial port."""

    def __init__(self, *args):
        super().__init__(*args)
        self.line = Line(self.broker.dial)
        self.broker.dial = self._dial

    def open(self):
        self._port = _port(self.line)
        return super().open()

    async def _dial(self):
        return await self._port.dial()


def test_a_turn_over_a_serial_line():
    bed = Wired(TURN)
    bed.line.feed(b"ets Jun  8 2016\r\nrst:0x1\r\n")
    bed.broker.ask("do it", "1")
    bed.run(bed.answered())
    assert bed.runs == [("look", 1), ("pour", 2)]
    assert bed.broker.answers("1") == DONE
    assert bed.broker.connections == 1
    assert bed.line.opened == 1


def test_noise_before_connack_leads_to_another_connection():
    for noise in (b"\0", b"\x7f\x7f\x7f", b"\x20\x80\x80\x80\x80\x01", b"\x10\x02hi", HUGE):
        bed = Wired(TURN)
        left = [2]  # connections that it spoils

        def spoil(data, left=left, noise=noise):
            left[0] -= 1
            return noise + data if left[0] >= 0 else data

        bed.line.spoil = spoil
        bed.broker.ask("do it", "1")
        bed.run(bed.answered())
        assert bed.broker.answers("1") == DONE
        assert bed.broker.connections == 3
        reasons = [text for text in bed.said if text.startswith("broker: ")]
        assert 1 <= len(reasons) <= 2, reasons


def test_noise_in_the_middle_of_a_turn_costs_no_more_than_a_connection():
    random = Random(11)
    for n in range(2, 22):
        bed = Wired(TURN)
        left = [n]

        def spoil(data, left=left):
            left[0] -= 1
            return data if left[0] else random.bytes(40) + data

        bed.line.spoil = spoil
        bed.broker.ask("do it", "1")
        bed.run(bed.answered())
        assert bed.broker.answers("1") == DONE
        assert bed.runs == [("look", 1), ("pour", 2)]


def test_noise_that_looks_like_a_huge_packet_ends_by_the_keep_alive():
    bed = Wired(TURN)

    async def run():
        await bed.until(lambda: bed.broker.states)
        bed.line.feed(HUGE)
        bed.broker.ask("do it", "1")  # it is swallowed
        begun = virtual.now_ms()
        await bed.answered()
        assert virtual.now_ms() - begun < 3 * KEEPALIVE_MS
        assert bed.broker.connections == 2

    bed.run(run())
    assert bed.broker.answers("1") == DONE


def test_a_bridge_that_goes_away_is_noticed_by_the_silence():
    bed = Wired(TURN)

    async def run():
        await bed.until(lambda: bed.broker.states)
        bed.broker.hang_up()  # nothing says so on the line
        bed.broker.ask("do it", "1")
        begun = virtual.now_ms()
        await bed.answered()
        assert virtual.now_ms() - begun < 3 * KEEPALIVE_MS

    bed.run(run())
    assert bed.broker.answers("1") == DONE
    assert "no answer from the broker" in bed.said
