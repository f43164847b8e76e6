"""The network of rv32: nothing that is written or sent stays anywhere, and cut cables do no harm.

Where a test has to tell "at once" from "later" it lets the board wait for the effect, which is
seen on the host and shown to the board on an analog input, instead of looking at a clock.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from mote_emulator.machine import HOST_ADDRESS

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.parametrize("board_name", ["rv32"], scope="session"),
]

ASKS = 4
ROUNDS = 40
SMALL = 100  # messages, more than lwIP's buffers and the card's ring hold
LOSS_S = 0.5  # QEMU's TCP repeats what was lost after 1 s, at the earliest after this
LONG_S = 30.0

CONNECT = """
import asyncio, network, time
lan = network.LAN()
lan.active(True)
while not lan.isconnected():
    time.sleep_ms(5)
"""
# Four turns at once on one connection. Each writes an acknowledgement and a request, and computes
# without a pause until the host has that request, or, as it then says, in vain.
TURNS = (
    CONNECT
    + """
from machine import ADC
seen = ADC(0)
held = 0
async def turn(writer, number):
    global held
    writer.write(b"ack\\n")
    writer.write(b"request\\n")
    start = time.ticks_ms()
    while seen.read_u16() < number:
        if time.ticks_diff(time.ticks_ms(), start) > 5000:
            held += 1
            break
    await writer.drain()
async def main():
    reader, writer = await asyncio.open_connection("%s", %d)
    number = 0
    while await reader.readline():
        number += 1
        asyncio.create_task(turn(writer, number))
    reader.s.close()
asyncio.run(main())
print(held)
"""
)
# Looks at its socket only when the host has sent it all.
READ_LATE = (
    CONNECT
    + """
from machine import ADC
async def main():
    reader, writer = await asyncio.open_connection("%s", %d)
    for n in range(%d):
        await reader.readline()  # the host is about to send
        while ADC(0).read_u16() <= n:
            time.sleep_ms(1)
        for _ in range(%d):
            await reader.readline()
        writer.write(b"read\\n")
        await writer.drain()
    reader.s.close()
asyncio.run(main())
"""
)
ECHO = """
import asyncio
async def main():
    reader, writer = await asyncio.open_connection("%s", %d)
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    reader.s.close()
"""
ECHOES = CONNECT + ECHO + "asyncio.run(main())\n"
# Beside the echo there is always a task that could run.
ECHOES_WHILE_BUSY = (
    CONNECT
    + ECHO
    + """
async def spin():
    while True:
        await asyncio.sleep_ms(0)
async def both():
    task = asyncio.create_task(spin())
    await main()
    task.cancel()
asyncio.run(both())
"""
)
# Writes into a cut cable until nothing more is taken; a write must not wait, nor fail.
FILL = (
    CONNECT
    + """
import socket
s = socket.socket()
s.connect(("%s", %d))
s.setblocking(False)
while lan.isconnected():
    time.sleep_ms(5)
taken = 0
while (n := s.write(bytes(%d))) is not None:
    taken += n
print(taken)
while not lan.isconnected():
    time.sleep_ms(5)
s.setblocking(True)
print(s.recv(10))
"""
)

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[int]:
    """A server on a free port for one connection; an error of `peer` is raised at the end."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        try:
            await peer(reader, writer)
            over.set_result(None)
        except BaseException as exc:
            over.set_exception(exc)
            raise
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.wait_for(over, LONG_S)


async def line_of(reader):
    return await asyncio.wait_for(reader.readline(), LONG_S)


async def echoed(reader, writer, text):
    """Whether the board returns the text."""
    writer.write(text)
    return await line_of(reader) == text


async def test_what_four_turns_write_leaves_while_they_compute(board, panel):
    machine = await board()
    panel.adc[0] = 0

    async def ask(reader, writer):
        number = 0
        for _ in range(ROUNDS):
            writer.write(b"ask\n" * ASKS)
            for _ in range(ASKS):
                assert await line_of(reader) == b"ack\n"
                assert await line_of(reader) == b"request\n"
                number += 1
                panel.adc[0] = number

    async with listening(ask) as port:
        assert await machine.execute(TURNS % (HOST_ADDRESS, port), LONG_S) == "0\n"


async def test_what_python_does_not_read_yet_is_not_lost(board, panel):
    machine = await board()
    panel.adc[0] = 0
    rounds = 5
    waits: list[float] = []

    async def send(reader, writer):
        for n in range(rounds):
            for _ in range(1 + SMALL):
                writer.write(b"a small message\n")
                await asyncio.sleep(0.002)  # so that each is a frame of its own
            panel.adc[0] = n + 1
            start = time.monotonic()
            assert await line_of(reader) == b"read\n"
            waits.append(time.monotonic() - start)

    async with listening(send) as port:
        await machine.execute(READ_LATE % (HOST_ADDRESS, port, rounds, SMALL), LONG_S)
    assert statistics.median(waits) < LOSS_S


async def test_a_task_that_is_always_ready_does_not_starve_the_network(board):
    machine = await board()

    async def talk(reader, writer):
        for n in range(ROUNDS):
            assert await echoed(reader, writer, b"%d\n" % n)

    async with listening(talk) as port:
        await machine.execute(ECHOES_WHILE_BUSY % (HOST_ADDRESS, port), LONG_S)


async def test_a_connection_outlives_a_cut_cable(board):
    machine = await board()

    async def talk(reader, writer):
        for n in range(3):
            assert await echoed(reader, writer, b"before %d\n" % n)
            await machine.set_link(False)
            writer.write(b"while it is cut %d\n" % n)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.3)
            await machine.set_link(True)
            assert await line_of(reader) == b"while it is cut %d\n" % n

    async with listening(talk) as port:
        await machine.execute(ECHOES % (HOST_ADDRESS, port), LONG_S)


@pytest.mark.parametrize("size", [2000, 160])
async def test_writing_into_a_cut_cable_never_waits(board, size):
    machine = await board()

    async def cut(reader, writer):
        await machine.set_link(False)
        async with asyncio.timeout(LONG_S):
            while "\n" not in machine.console.transcript.rpartition("OK")[2]:
                await asyncio.sleep(0.01)
        await machine.set_link(True)
        took = await asyncio.wait_for(reader.readexactly(4 * 1460), LONG_S)
        assert took == bytes(4 * 1460)
        writer.write(b"thanks")

    async with listening(cut) as port:
        said = await machine.execute(FILL % (HOST_ADDRESS, port, size), LONG_S)
    assert said == f"{4 * 1460}\nb'thanks'\n"


async def test_the_cable_shows(board):
    machine = await board()
    await machine.execute(CONNECT)
    assert await machine.execute("print(lan.isconnected())") == "True\n"
    address = await machine.execute("print(lan.ifconfig())")
    await machine.set_link(False)
    await machine.execute("while lan.isconnected(): time.sleep_ms(5)")
    await machine.set_link(True)
    await machine.execute("while not lan.isconnected(): time.sleep_ms(5)")
    assert await machine.execute("print(lan.ifconfig())") == address


async def test_a_cable_that_is_plugged_in_late_gives_an_address(board):
    machine = await board()
    await machine.set_link(False)
    await machine.execute("import network, time\nlan = network.LAN()\nlan.active(True)")
    assert await machine.execute("time.sleep_ms(100)\nprint(lan.isconnected())") == "False\n"
    await machine.set_link(True)
    await machine.execute("while not lan.isconnected(): time.sleep_ms(5)")
    assert await machine.execute("print(lan.ipconfig('addr4')[0])") == "10.0.2.15\n"


async def test_it_can_be_switched_off_and_on(board):
    machine = await board()
    await machine.execute(CONNECT)
    for _ in range(2):
        said = await machine.execute("lan.active(False)\nprint(lan.active(), lan.isconnected())")
        assert said == "False False\n"
        await machine.execute(CONNECT)


async def test_random_bytes_differ(board):
    machine = await board()
    program = "import os\nprint(len(os.urandom(1000)), len(os.urandom(0)), os.urandom(16).hex())"
    first, second = [(await machine.execute(program)).split() for _ in range(2)]
    assert first[:2] == second[:2] == ["1000", "0"]
    assert first[2] != second[2]
    await machine.power_cut()
    await machine.wait_for(">>> ")
    assert (await machine.execute(program)).split()[2] not in (first[2], second[2])
