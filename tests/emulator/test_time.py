"""A board's time: what wraps, what goes on over resets, how long a sleep is."""

import asyncio

import pytest
from mote_emulator.machine import HOST_ADDRESS

from tests.emulator.test_boot import echo

pytestmark = pytest.mark.emulator

SET_CLOCK = {
    "rv32": "m[0x0200bff8] = 0\nm[0x0200bffc] = us * 10 >> 32\nm[0x0200bff8] = us * 10 & full",
    "cortex-m3": "m[0x40028010] = us // 1000000\nm[0x40000004] = full - (us * 25 & full)",
}
OVER = """
import asyncio, machine, select, sys, time
m, full = machine.mem32, 0xffffffff
us = %d
%s
poll = select.poll()
poll.register(sys.stdin, select.POLLIN)
async def asleep(): await asyncio.sleep_ms(150)
def nap(what):
    before, date = time.ticks_ms(), time.time_ns()
    micros = time.ticks_us()
    what()
    took = time.ticks_diff(time.ticks_ms(), before)
    micros = time.ticks_diff(time.ticks_us(), micros) // 1000
    date = (time.time_ns() - date) // 1000000
    print(150 <= took < 900 and abs(took - micros) < 50 and abs(took - date) < 50, end=" ")
for what in (
    lambda: time.sleep_ms(150), lambda: time.sleep(.15), lambda: time.sleep_us(150000),
    lambda: asyncio.run(asleep()), lambda: poll.poll(150),
): nap(what)
"""


@pytest.mark.parametrize("bits_of", ["us", "ms"])
async def test_time_goes_on_when_its_counters_wrap(board, bits_of):
    """After 71 minutes and after 49 days: 32 bits of microseconds, and of milliseconds."""
    machine = await board(time_us=1_700_000_000 * 10**6)
    at = 2**32 * (1 if bits_of == "us" else 1000) - 350000
    code = OVER % (at, SET_CLOCK[machine.board.name])
    assert await machine.execute(code) == "True " * 5
    assert int(await machine.execute("print(time.time_ns() // 1000)")) > 1_700_000_000 * 10**6 + at


async def test_the_date_goes_on_over_a_reset(board):
    machine = await board(time_us=1_700_000_000 * 10**6)
    read = "import time\nprint(time.time_ns() // 1000000 - 1700000000000)"
    await machine.execute("import time\ntime.sleep_ms(700)")
    early = int(await machine.execute(read))
    assert 700 <= early < 10000
    await machine.console.submit("import machine\nmachine.reset()")
    await machine.wait_for(">>> ")
    assert early < int(await machine.execute(read)) < early + 10000
    await machine.power_cut()
    await machine.wait_for(">>> ")
    assert int(await machine.execute(read)) < early


async def test_no_sleep_is_a_short_one(board):
    machine = await board()
    said = await machine.execute(
        "import time\nstart = time.ticks_ms()\ntime.sleep(-1)\ntime.sleep(0)\ntime.sleep_ms(-5)\n"
        "time.sleep_us(-5)\nprint(time.ticks_diff(time.ticks_ms(), start) < 500)"
    )
    assert said == "True\n"
    for long in ("sleep(4294967)", "sleep(1e12)", "sleep_ms(2 ** 31 - 1)"):
        await machine.console.submit(f"import time\ntime.{long}\nprint('over')")
    assert await machine.execute("print('interrupted')") == "interrupted\n"
    assert "over" not in machine.console.transcript


NEAR = """
import machine, network, socket, time
lan = network.LAN()
lan.active(True)
while not lan.isconnected(): time.sleep_ms(5)
def dial():
    s = socket.socket()
    s.settimeout(3)
    s.connect(("%s", %d))
    return s
s = dial()
m, full = machine.mem32, 0xffffffff
us = 2 ** 32 * 1000 - 300000
%s
for n in range(8):
    if n == 7: s = dial()
    s.send(b"%%d" %% n)
    print(s.recv(9), end=" ")
    time.sleep_ms(100)
print(lan.isconnected())
"""


@pytest.mark.parametrize("board_name", ["rv32"], scope="session")
async def test_the_network_goes_on_when_its_clock_wraps(board):
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    machine = await board()
    said = await machine.execute(NEAR % (HOST_ADDRESS, port, SET_CLOCK["rv32"]))
    assert said == " ".join(f"b'{n}'" for n in range(8)) + " True\n"
    server.close()
