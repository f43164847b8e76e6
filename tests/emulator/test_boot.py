"""From reset to Python: starts of every kind, and what a program may do to a board."""

import asyncio
from contextlib import suppress

import pytest
from mote_emulator.console import BoardTraceback
from mote_emulator.machine import HOST_ADDRESS
from mote_emulator.panel import HARD_RESET, POWER_ON, SOFT_RESET, WATCHDOG_RESET

pytestmark = pytest.mark.emulator

KIB = 1024
PREPARED = """
import machine, os, time
from machine import ADC, I2C, Pin, WDT
from mote_board import Flash
bus, flash, four = I2C(0), Flash(0x100000, 0x2000), bytearray(4)
"""
# What must be refused: without harm, and with this exception.
WRONG = {
    "ValueError": (
        "Pin(-1)",
        "Pin(3).mode(9)",
        "Pin(3).pull(-2)",
        "ADC(8)",
        "I2C(1)",
        "WDT(1, 5)",
        "WDT(timeout=-1)",
        "Flash(-4096, 4096)",
        "Flash(0, -4096)",
        "Flash(4096, 32 << 20)",
        "Flash(32 << 20, 4096)",
        "Flash(1, 4096)",
        "Flash(0, 1)",
        "os.urandom(-1)",
        "bus.readfrom_mem(0x40, 0, 1, addrsize=7)",
    ),
    "TypeError": (
        "Pin()",
        "Pin('a')",
        "Pin(1.5)",
        "Pin(1, Pin.OUT, 'x')",
        "Pin(1, foo=1)",
        "Pin.on(5)",
        "ADC()",
        "ADC(Pin(3))",
        "ADC.read_u16(3)",
        "I2C.scan(3)",
        "bus.writeto(0x40, 5)",
        "bus.readfrom_into(0x40, b'ro')",
        "WDT(timeout='x')",
        "Flash(0)",
        "Flash.readblocks(3, 0, four)",
        "flash.readblocks(0, b'ro')",
        "flash.readblocks(0, 3)",
        "flash.ioctl(6, None)",
        "os.urandom('a')",
        "machine.unique_id(1)",
    ),
    "OverflowError": (
        "Pin(2 ** 40)",
        "ADC(2 ** 33)",
        "bus.readfrom(0x40, 2 ** 31)",
        "bus.readfrom_mem(0x40, 2 ** 40, 1)",
        "WDT(timeout=2 ** 40)",
        "Flash(2 ** 70, 4096)",
        "Flash(2 ** 32 - 4096, 4096)",
        "flash.readblocks(2 ** 31, four, 0)",
        "flash.readblocks(0, four, 2 ** 32)",
        "flash.ioctl(2 ** 40, 0)",
        "os.urandom(2 ** 31)",
        "time.sleep_ms(2 ** 31)",
    ),
    "MemoryError": ("bus.readfrom(0x40, 2 ** 30)", "os.urandom(2 ** 31 - 1)"),
    "OSError|MemoryError": ("bus.readfrom(0x40, -1)", "bus.readfrom_mem(0x40, 0, -5)"),
    "OSError": ("bus.writeto(-1, b'')", "bus.start()", "bus.readinto(four)", "I2C().stop()"),
    "AttributeError": ("flash.violations = 3", "flash.offset"),
}
OUTSIDE = """
print(set((
    flash.readblocks(-1, four, 0), flash.readblocks(0, four, -1), flash.readblocks(2, four, 0),
    flash.readblocks(2 ** 20, four, 0), flash.readblocks(0x100000 - 1, four, 0),
    flash.readblocks(2 ** 30, four, 0), flash.readblocks(1, four, 2 ** 31 - 1),
    flash.readblocks(0, four, 0x2000), flash.readblocks(1, four, 0xffd),
    flash.readblocks(0, bytearray(0x2001)), Flash(32 << 20, 0).readblocks(0, bytearray(1)),
    flash.writeblocks(1, bytearray(0x1001)), flash.writeblocks(1, bytearray(0x2000)),
    flash.writeblocks(0, four, 0x1fff), flash.writeblocks(0, four, -4),
    flash.ioctl(6, -1), flash.ioctl(6, 2), flash.ioctl(6, 2 ** 30))))
"""
RECURSION = "maximum recursion depth exceeded\n"
CATCH = "try:\n    %s\nexcept RuntimeError as e: print(e)\n"
DEEP = {
    "calls": "def f(n): return f(n + 1)\n" + CATCH % "f(0)",
    "methods": "class A:\n    def __getattr__(self, n): return getattr(self, n + 'x')\n"
    + CATCH % "A().x",
    "generators": "def g(): yield from g()\n" + CATCH % "list(g())",
    "keys": "def f(x): return f(x)\n" + CATCH % "sorted([2, 1], key=f)",
    "text": "x = []\nfor n in range(5000): x = [x]\n" + CATCH % "str(x)",
    "json": "import json\nx = []\nfor n in range(5000): x = [x]\n" + CATCH % "json.dumps(x)",
    "patterns": "import re\n" + CATCH % "re.match('(a*)*b', 'a' * 3000)",
    "lists": "x, y = [], []\nfor n in range(20000): x, y = [x], [y]\n" + CATCH % "x == y",
    "dicts": "x, y = {}, {}\nfor n in range(20000): x, y = {1: x}, {1: y}\n" + CATCH % "x == y",
}
# MicroPython does not look at its stack there: there must be enough of it for what fits the heap.
UNCHECKED = (
    "t = ()\nfor n in range(4000): t = (t,)\nhash(t)",
    "t = list\nfor n in range(4000): t = (t,)\nisinstance(1, t)",
    "eval('[' * 500 + ']' * 500)",
    "eval('lambda:' * 1000 + '1')",
    "eval('1 if 1 else ' * 1000 + '1')",
)


async def soft_reset(machine):
    """Ctrl-D on the REPL."""
    await machine.console.send("\r\x03\x02")
    await machine.wait_for(">>> ")
    await machine.console.send("\x04")
    await machine.wait_for("soft reset")
    await machine.wait_for(">>> ")


# -- arguments


async def test_wrong_arguments_raise(board, panel):
    machine = await board()
    panel.add_device(0x40)
    await machine.execute(PREPARED)
    changes = panel.changes
    for error, calls in WRONG.items():
        for call in calls:
            with pytest.raises(BoardTraceback) as raised:
                print(call, await machine.execute(call))
            assert any(name in str(raised.value) for name in error.split("|")), call
    assert await machine.execute(OUTSIDE) == "{-22}\n"
    assert (panel.boots, panel.changes, panel.watchdog_ms) == (1, changes, 0)


async def test_as_many_random_bytes_as_asked_for(board):
    machine = await board()
    said = await machine.execute(
        "import os\nprint(os.urandom(0), [len(os.urandom(n)) for n in (1, 63, 64, 65, 10000)])\n"
        "b = os.urandom(10000)\nprint(len(set(b)), b[:64] == b[64:128])"
    )
    assert said == "b'' [1, 63, 64, 65, 10000]\n256 False\n"


# -- depth


@pytest.mark.parametrize("what", DEEP)
async def test_what_goes_too_deep_is_refused(board, what):
    machine = await board(heap_bytes=4 * 1024 * KIB)
    assert await machine.execute(DEEP[what]) == RECURSION
    assert await machine.execute("print(1)") == "1\n"


async def test_what_goes_as_deep_as_the_heap_allows(board, panel):
    machine = await board()
    for code in UNCHECKED:
        with suppress(BoardTraceback):  # of memory
            await machine.execute(code)
        await machine.execute("t = None")
    assert await machine.execute("print(sum(range(1000)))") == "499500\n"
    assert panel.boots == 1


# -- starts


@pytest.mark.parametrize("asked", [48 * KIB, 50000, 6 * 1024 * KIB, 1, 2**31])
async def test_the_heap_has_the_size_that_the_panel_says(board, asked):
    machine = await board(heap_bytes=asked)
    given = {50000: 48 * KIB, 1: 4 * KIB}.get(asked, asked)
    if asked == 2**31:
        given = (7 if machine.board.name == "rv32" else 8) * 1024 * KIB
    said = await machine.execute(
        "import gc, mote_board as b\n"
        "print(b.heap(), gc.mem_free() + gc.mem_alloc(), gc.mem_free())"
    )
    told, size, free = map(int, said.split())
    assert told == given
    assert 0.95 * given - KIB < size < given
    most = free - 2 * KIB
    assert await machine.execute(f"print(len(bytearray({most})))") == f"{most}\n"


RESETS = {
    "a task": "import asyncio\nasync def f(): machine.reset()\nasyncio.run(f())",
    "a callback": "import micropython, time\n"
    "micropython.schedule(lambda _: machine.reset(), 0)\ntime.sleep(1)",
    "an except": "try: 1 // 0\nexcept ZeroDivisionError: machine.reset()",
    "the depth": "def f(n):\n    if n: f(n - 1)\n    else: machine.reset()\nf(100)",
    "a write": "f = open('/f', 'w')\nf.write('x' * 5000)\nmachine.reset()",
}


async def test_a_reset_from_everywhere(board, panel):
    machine = await board()
    for n, code in enumerate(RESETS.values(), 2):
        await machine.console.submit("import machine\n" + code)
        await machine.wait_for("boot: ")
        await machine.wait_for(">>> ")
        assert (panel.boots, panel.reset_cause) == (n, SOFT_RESET)


async def test_each_start_is_counted_with_its_cause(board, panel, power_cut):
    machine = await board()
    causes = [panel.reset_cause]
    for code in (
        "machine.reset()",
        "machine.WDT(timeout=50)\nwhile True: pass",
        "machine.WDT(timeout=60000)\nmachine.reset()",
    ):
        await machine.console.submit(f"import machine\n{code}")
        await machine.wait_for("boot: ")
        await machine.wait_for(">>> ")
        causes.append(panel.reset_cause)
    await soft_reset(machine)
    causes.append(panel.reset_cause)
    await machine.reset()
    await machine.wait_for(">>> ")
    causes.append(panel.reset_cause)
    await power_cut()
    causes.append(panel.reset_cause)
    assert causes == [
        *(POWER_ON, SOFT_RESET, WATCHDOG_RESET, SOFT_RESET, SOFT_RESET, HARD_RESET, POWER_ON)
    ]
    assert panel.boots == 6  # a soft reset is none of the board


async def test_a_program_that_starts_itself_anew(board, flash, panel):
    flash.write_files(
        {
            "/main.py": b"import machine, time\n"
            b"print('again')\ntime.sleep(.1)\nmachine.soft_reset()\n"
        }
    )
    machine = await board(until="again")
    for _ in range(3):
        await machine.wait_for("soft reset")
        await machine.wait_for("again")
    await machine.console.send("\x03")
    await machine.wait_for("KeyboardInterrupt")
    await machine.wait_for(">>> ")
    assert panel.boots == 1


@pytest.mark.parametrize("typed", ["", "x" * 1000])
async def test_ctrl_c_gets_out_of_a_main_that_never_ends(board, flash, typed):
    flash.write_files({"/main.py": b"print('begun')\nwhile True: pass\n"})
    machine = await board(until="begun")
    await machine.console.send(typed + "\x03")
    await machine.wait_for("KeyboardInterrupt")
    assert await machine.execute("print(1)") == "1\n"


# -- soft resets

ROUND = {
    "rv32": """
import network, socket
lan = network.LAN()
lan.active(True)
while not lan.isconnected(): time.sleep_ms(5)
s = socket.socket()
s.connect(("%s", %d))
s.send(b"round")
listener = socket.socket()
listener.bind(("", 8080))
listener.listen(1)
print(s.recv(5))
""",
    "cortex-m3": """
u = machine.UART(1)
print(u.write(b"round") and b"round")
""",
}


async def echo(reader, writer):
    with suppress(OSError):
        while data := await reader.read(100):
            writer.write(data)
    writer.close()


async def test_soft_resets_leave_nothing(board, panel, flash):
    """Twenty, each with an open file, devices, a link in use, and a heap full of things."""
    flash.write_files({"/main.py": b"print('main')\n"})
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    machine = await board()
    code = ROUND[machine.board.name]
    if "%s" in code:
        code %= (HOST_ADDRESS, server.sockets[0].getsockname()[1])
    used = []
    for n in range(20):
        if n in (1, 19):
            used.append(await panel.heap())
        said = await machine.execute(
            "import machine, os, time\nbus = machine.I2C(0)\np = machine.Pin(3, machine.Pin.OUT)\n"
            "f = open('/f', 'a')\nf.write('x' * 10)\nmany = [[n] for n in range(500)]\n"
            "os.mkdir('/d') if 'd' not in os.listdir() else os.chdir('/d')\n" + code
        )
        assert said == "b'round'\n"
        await soft_reset(machine)
    assert used[0] == used[1]
    assert panel.boots == 1
    assert machine.console.transcript.count("main\n") == 21
    server.close()


@pytest.mark.parametrize("board_name", ["cortex-m3"], scope="session")
async def test_a_line_that_is_held_goes_on_after_a_soft_reset(board):
    machine = await board()
    begin = "import machine, time\nu = machine.UART(1)\n"
    data = bytes(n % 251 for n in range(3000))
    await machine.execute(begin)
    with await asyncio.to_thread(open, machine.line.path, "r+b", buffering=0) as port:
        sending = asyncio.create_task(asyncio.to_thread(port.write, data))
        await machine.execute("while u.any() < 1024: pass")
        await soft_reset(machine)
        said = await machine.execute(
            begin + "got = b''\nstart = time.ticks_ms()\n"
            "while len(got) < 3000 and time.ticks_diff(time.ticks_ms(), start) < 5000:\n"
            "    got += u.read() or b''\nprint(got == bytes(n % 251 for n in range(3000)))"
        )
        assert said == "True\n"
        assert await sending == 3000


# -- what can't go on


async def test_a_fault_is_told_and_ends_in_a_reset(board, panel):
    machine = await board()
    nowhere = 8 if machine.board.name == "rv32" else 0x2FFFFFFC
    await machine.console.submit(f"import machine\nmachine.mem32[{nowhere}]")
    await machine.wait_for("EXCEPTION|fault 0")
    await machine.wait_for("this can't go on; resetting in 10 s")
    await machine.reset()
    await machine.wait_for(">>> ")
    assert await machine.execute("print(1)") == "1\n"
    assert panel.boots == 2
