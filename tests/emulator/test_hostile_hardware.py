"""What a program leaves behind: with lwIP, and with devices that go on while it has ended."""

import asyncio
from contextlib import suppress

import pytest
from mote_emulator.hardware import NETWORK
from mote_emulator.machine import HOST_ADDRESS
from mote_host.demo.brokers import free_port

pytestmark = pytest.mark.emulator

rv32 = pytest.mark.parametrize("board_name", ["rv32"], scope="session")

LONG_S = 20.0
CONNECT = """
import network, select, socket, time
lan = network.LAN()
lan.active(True)
while not lan.isconnected():
    time.sleep_ms(5)
"""
# Nobody accepts what arrives.
LISTEN = (
    CONNECT
    + """
listener = socket.socket()
listener.bind(("", 8080))
listener.listen(%d)
"""
)
ARRIVED = """
seen = select.poll()
seen.register(listener, select.POLLIN)
while not seen.poll(0): time.sleep_ms(5)
time.sleep_ms(100)
"""
ENDS = {
    "close": "listener.close()",
    "collection": "import gc\nlistener = seen = None\ngc.collect()\ngc.collect()",
}
# With unread messages that fill the memory for frames, writes more than lwIP's buffer holds, to
# the same peer or to another, and reads its answer; then the messages.
WRITE_FIRST = (
    CONNECT
    + """
from machine import ADC
talker = socket.socket()
talker.connect(("%s", %d))
while not ADC(0).read_u16(): time.sleep_ms(5)
hearer = socket.socket() if %d else talker
if hearer is not talker: hearer.connect(("%s", %d))
for n in range(12): hearer.write(bytes(1000))
if hearer is not talker: print(hearer.readline())
print([int(talker.readline()) for n in range(%d)] == list(range(%d)))
if hearer is talker: print(hearer.readline())
"""
)
MESSAGES = 100
LOOK_UP = "try:\n    socket.getaddrinfo('%s.example', 1)\nexcept OSError as e: print(e)\n"


async def forward(machine):
    """A port of this machine that QEMU passes on to the board's 8080."""
    port = free_port()
    line = f"hostfwd_add {NETWORK} tcp:127.0.0.1:{port}-:8080"
    assert not await machine.qmp.execute("human-monitor-command", **{"command-line": line})
    return port


async def ended(reader):
    """Wait until the board ends the connection, by whichever means."""
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(1), LONG_S) == b""


@rv32
@pytest.mark.parametrize(("backlog", "end"), [(1, "collection"), (3, "close")])
async def test_a_listener_ends_with_those_who_wait_for_it(board, backlog, end):
    machine = await board()
    await machine.execute(LISTEN % backlog)
    port = await forward(machine)
    callers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(backlog)]
    await machine.execute(ARRIVED)
    await machine.execute(ENDS[end])
    for reader, writer in callers:
        await ended(reader)
        writer.close()
    assert await machine.execute("print(1)") == "1\n"


@rv32
async def test_a_look_up_that_was_interrupted_leaves_the_next_one_alone(board):
    """Both have the same place on the stack. lwIP gives each up after 6 s at the earliest."""
    machine = await board()
    await machine.execute(CONNECT)
    await machine.set_link(False)
    await machine.console.submit(LOOK_UP % "first")
    await asyncio.sleep(0.2)
    await machine.console.send("\x03")
    await machine.wait_for("KeyboardInterrupt")
    said = await machine.execute(
        "time.sleep(2.5)\nstart = time.ticks_ms()\n"
        + LOOK_UP % "next"
        + "print(time.ticks_diff(time.ticks_ms(), start))"
    )
    error, took_ms = said.split()
    assert error == "-2"
    assert int(took_ms) > 5000


@rv32
@pytest.mark.parametrize("another", [False, True])
async def test_unread_messages_do_not_hold_up_what_is_written(board, panel, another):
    machine = await board()
    panel.adc[0] = 0

    async def talk(reader, writer):
        for n in range(MESSAGES):
            writer.write(b"%d\n" % n)
            await asyncio.sleep(0.002)  # so that each is a frame of its own
        panel.adc[0] = 1
        if not another:
            await hear(reader, writer)

    async def hear(reader, writer):
        await reader.readexactly(12_000)
        writer.write(b"heard\n")

    async with (
        await asyncio.start_server(talk, "127.0.0.1", 0) as talker,
        await asyncio.start_server(hear, "127.0.0.1", 0) as hearer,
    ):
        at, to = (server.sockets[0].getsockname()[1] for server in (talker, hearer))
        values = (HOST_ADDRESS, at, another, HOST_ADDRESS, to, MESSAGES, MESSAGES)
        said = await machine.execute(WRITE_FIRST % values, LONG_S)
    assert sorted(said.split()) == ["True", "b'heard\\n'"]
