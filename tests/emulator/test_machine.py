"""The emulator as a process: console, power, time, and that nothing of it is left behind."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from mote_emulator.console import BoardError, BoardTimeout, BoardTraceback
from mote_emulator.machine import HOST_ADDRESS, Machine

# Says its QEMU's process and waits for its end.
PARENT = """
import asyncio, sys
from pathlib import Path
from mote_emulator.image import FlashImage
from mote_emulator.machine import Machine

async def main(board, elf, flash):
    async with Machine(board, Path(elf), FlashImage(Path(flash))) as machine:
        print(machine.pid, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main(*sys.argv[1:]))
"""

CONNECT = """
import network, socket, time
lan = network.LAN()
lan.active(True)
while not lan.isconnected():
    time.sleep_ms(20)
s = socket.socket()
s.connect(("%s", %d))
s.settimeout(0.3)
"""


def is_alive(pid):
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def ends(pid):
    """Wait until the process is gone."""
    async with asyncio.timeout(10):
        while is_alive(pid):
            await asyncio.sleep(0.01)


async def test_programs_run_and_print(board):
    machine = await board()
    assert await machine.execute("x = 6 * 7\nprint(x)\nprint('ü', end='')") == "42\nü"
    assert await machine.execute("print(x + 1)") == "43\n"
    assert await machine.execute("") == ""


async def test_a_long_program_arrives_whole(board):
    machine = await board()
    text = "".join(chr(33 + n % 90) for n in range(8000)).replace("'", ".").replace("\\", ".")
    assert await machine.execute(f"print('{text}')") == f"{text}\n"


async def test_what_a_program_raises_is_raised_here(board):
    machine = await board()
    with pytest.raises(BoardTraceback, match=r"(?s)line 2.*ZeroDivisionError"):
        await machine.execute("print('first')\n1 // 0")
    with pytest.raises(BoardTraceback, match="SyntaxError"):
        await machine.execute("def")
    assert await machine.execute("print('next')") == "next\n"


async def test_a_program_that_does_not_end_is_interrupted_by_the_next(board):
    machine = await board()
    with pytest.raises(BoardTimeout, match=r"0\.2 s"):
        await machine.execute("import time\nwhile True: time.sleep(1)", timeout_s=0.2)
    assert await machine.execute("print('still here')") == "still here\n"


async def test_a_text_is_found_once_and_in_its_turn(board):
    machine = await board()
    await machine.console.submit("print('port 1883')\nprint('port 8883')")
    assert await machine.wait_for(r"port \d+\r\n") == "port 1883\n"
    assert await machine.wait_for(r"\d+\r") == "8883\r"
    with pytest.raises(BoardTimeout, match="port 8883"):
        await machine.wait_for("port", timeout_s=0.05)
    assert machine.console.transcript.count("port 1883\n") == 1


async def test_a_person_can_type(board):
    machine = await board()
    await machine.console.send("6*7\r")
    await machine.wait_for(r"^42\r\n")


async def test_the_heap_is_as_large_as_asked_for(board, power_cut):
    machine = await board(heap_bytes=64 * 1024)
    size = "import gc, mote_board\nprint(mote_board.heap(), gc.mem_alloc() + gc.mem_free())"
    asked, had = map(int, (await machine.execute(size)).split())
    assert asked == 64 * 1024
    assert 0.93 * asked < had < asked
    machine.heap_bytes = 3 * 1024 * 1024
    await power_cut()
    assert (await machine.execute(size)).startswith(f"{3 * 1024 * 1024} ")


async def test_the_time_is_the_one_given_else_the_hosts(board, power_cut):
    machine = await board(time_us=1_000_000_000 * 10**6)
    assert await machine.execute("import time\nprint(time.gmtime()[:4])") == "(2001, 9, 9, 1)\n"
    machine.time_us = None
    await power_cut()
    year = int(await machine.execute("import time\nprint(time.gmtime()[0])"))
    assert year >= 2024


async def test_a_power_cut_clears_the_ram_and_a_reset_does_not(board, panel, power_cut):
    machine = await board()
    # far up in the RAM, where no heap of this size is
    there = "import machine\nat = 0x%x\n" % (
        0x80F00000 if machine.board.name == "rv32" else 0x21F00000
    )
    await machine.execute(there + "machine.mem32[at] = 0x1234")
    await machine.reset()
    await machine.wait_for(">>> ")
    assert await machine.execute(there + "print(machine.mem32[at])") == f"{0x1234}\n"
    await power_cut()
    assert await machine.execute(there + "print(machine.mem32[at])") == "0\n"
    assert panel.boots == 3


async def test_what_is_off_says_so(board):
    machine = await board()
    await machine.kill()
    for use in (
        machine.execute("1"),
        machine.wait_for("x"),
        machine.reset(),
        machine.console.send("x"),
    ):
        with pytest.raises(BoardError, match="off"):
            await use
    with pytest.raises(BoardError, match="off"):
        machine.cpu_seconds()
    await machine.kill()


async def test_an_emulator_that_dies_is_noticed_at_once(board):
    machine = await board()
    waiting = asyncio.create_task(machine.wait_for("never", timeout_s=60))
    await asyncio.sleep(0)
    os.kill(machine.pid, signal.SIGKILL)
    with pytest.raises(BoardError, match="no 'never' will come"):
        await waiting
    with pytest.raises(BoardError, match="QEMU ended"):
        await machine.wait()


async def test_an_emulator_that_can_not_start_says_why(board_name, flash, tmp_path):
    machine = Machine(board_name, tmp_path / "none.elf", flash)
    with pytest.raises(BoardError, match=r"none\.elf"):
        await machine.start()
    await machine.close()


async def test_it_says_what_it_costs(board):
    machine = await board()
    before = machine.cpu_seconds()
    await machine.execute("for n in range(100000): pass")
    assert machine.cpu_seconds() > before
    assert 8_000_000 < machine.rss_bytes() < 500_000_000


async def test_an_exception_ends_the_emulator(board_name, firmware, flash):
    machine = Machine(board_name, firmware, flash)

    async def fail():
        async with machine:
            pids.append(machine.pid)
            raise KeyError

    pids = []
    with pytest.raises(KeyError):
        await fail()
    assert not is_alive(pids[0])


async def test_a_start_that_is_cancelled_leaves_nothing(board_name, firmware, flash, panel):
    machine = Machine(board_name, firmware, flash, panel=panel)
    started = asyncio.create_task(machine.start())
    while machine._process is None:
        await asyncio.sleep(0)
    pid = machine.pid
    started.cancel()
    with pytest.raises(asyncio.CancelledError):
        await started
    assert not is_alive(pid)
    await machine.close()


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
async def test_a_parent_that_is_ended_leaves_nothing(board_name, firmware, flash, with_signal):
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, board_name, str(firmware), str(flash.path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    assert is_alive(pid)
    parent.send_signal(with_signal)
    await parent.wait()
    await ends(pid)


@pytest.mark.parametrize("board_name", ["cortex-m3"], scope="session")
async def test_the_line_goes_on_after_a_power_cut(board, power_cut):
    machine = await board()
    port = os.open(machine.line.path, os.O_RDWR | os.O_NOCTTY)
    try:
        for _ in range(2):
            await machine.execute("from machine import UART\nu = UART(1)\nu.write(b'up')")
            assert await asyncio.to_thread(os.read, port, 2) == b"up"
            os.write(port, bytes(range(256)))
            await machine.execute("while u.any() < 256: pass")
            assert await machine.execute("print(u.read() == bytes(range(256)))") == "True\n"
            os.write(port, b"lost with the power")
            await power_cut()
        await machine.execute("from machine import UART\nu = UART(1)\nu.write(b'x')")
        assert await asyncio.to_thread(os.read, port, 1) == b"x"
        assert await machine.execute("print(u.any())") == "0\n"
    finally:
        os.close(port)
    with pytest.raises(BoardError, match="no network"):
        await machine.set_link(False)


async def test_counted_instructions_take_the_same_time_each_time(board, flash):
    flash.write_files(
        {
            "/main.py": b"import time\nx = 0\nfor n in range(20000): x += n\n"
            b"print('took', time.ticks_us())\n"
        }
    )
    said = []
    machine = await board(until=r"took \d+\r\n", icount=3)
    said.append(machine.console.transcript)
    await machine.power_cut()
    said.append(await machine.wait_for(r"took \d+\r\n"))
    assert said[1] in said[0]


async def test_entropy_from_a_file_is_the_same_each_time(board, tmp_path, power_cut):
    entropy = tmp_path / "en,tropy"
    entropy.write_bytes(random.Random(5).randbytes(1 << 20))
    draw = "import os\nprint(os.urandom(16).hex(), os.urandom(16).hex())"
    machine = await board(entropy=entropy)
    first = await machine.execute(draw)
    await power_cut()
    assert await machine.execute(draw) == first
    assert len(set(first.split())) == 2
    await machine.close()
    other = await board()
    assert await other.execute(draw) != first


@pytest.mark.parametrize("board_name", ["rv32"], scope="session")
async def test_a_cable_that_is_unplugged_and_plugged_in_again(board):
    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    machine = await board()
    await machine.execute(CONNECT % (HOST_ADDRESS, port))
    say = "s.send(b'%s')\nprint(s.recv(100))"
    assert await machine.execute(say % "one") == "b'one'\n"
    await machine.set_link(False)
    with pytest.raises(BoardTraceback, match="OSError"):
        await machine.execute(say % "two")
    await machine.set_link(True)
    assert await machine.execute("s.settimeout(15)\nprint(s.recv(100))") == "b'two'\n"
    server.close()


async def test_ctrl_c_ends_a_program_that_never_waits(board):
    machine = await board()
    with pytest.raises(BoardTimeout):
        await machine.execute("while True: pass", timeout_s=0.3)
    await machine.console.send("\x03")
    assert await machine.execute("print(1)") == "1\n"
