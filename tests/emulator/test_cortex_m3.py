"""What only cortex-m3 has: flash and entropy in files of the host, and a UART for its link."""

import asyncio
import errno
import os
import random
import select
from hashlib import sha256

import pytest
from mote_emulator.console import BoardTraceback
from mote_emulator.firmware import MODULES, build
from mote_emulator.image import LOG_AT, FlashImage
from mote_emulator.panel import WATCHDOG_RESET

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.parametrize("board_name", ["cortex-m3"], scope="session"),
]

FLASH = f"from mote_board import Flash\nf = Flash({LOG_AT}, 0x10000)\n"
# One record a unit of 32 bytes, each counted on a pin when it is programmed.
RECORDS = (
    FLASH
    + """
from machine import Pin
p = Pin(1, Pin.OUT)
for n in range(0x10000 // 32):
    f.writeblocks(n // 128, b"%08d" % n * 4, n % 128 * 32)
    p.toggle()
"""
)
UART = "from machine import UART\nu = UART(1, 115200)\n"
# Takes `size` bytes in pieces of at most 64; says how many and their digest.
TAKE = (
    UART
    + """
import asyncio, hashlib
async def take(size):
    reader, digest, buf, got = asyncio.StreamReader(u), hashlib.sha256(), bytearray(64), 0
    while got < size:
        n = await reader.readinto(buf)
        digest.update(memoryview(buf)[:n])
        got += n
    print(got, digest.digest().hex())
"""
)
ECHO = """
import asyncio
from mote_ports.micropython.clock import now_ms
from mote_ports.serial import SerialPort
async def echo(size):
    stream = await SerialPort("UART:1", 115200, now_ms).dial()
    print("quiet")
    buf = bytearray(64)
    while size:
        n = await stream.read(buf)
        stream.write(memoryview(buf)[:n])
        await stream.drain()
        size -= n
"""
WAIT_S = 20.0


class Wire:
    """The host's end of the board's line, read and written in threads."""

    def __init__(self, path):
        self._file = os.open(path, os.O_RDWR | os.O_NOCTTY)

    async def send(self, data):
        """Write all of it, as fast as the line takes it."""
        await asyncio.to_thread(self._send, data)

    async def receive(self, size):
        """Exactly that many bytes."""
        return await asyncio.to_thread(self._receive, size)

    def close(self):
        os.close(self._file)

    def _send(self, data):
        while data:
            assert select.select([], [self._file], [], WAIT_S)[1], f"{len(data)} bytes not taken"
            data = data[os.write(self._file, data[:256]) :]

    def _receive(self, size):
        data = b""
        while len(data) < size:
            assert select.select([self._file], [], [], WAIT_S)[0], f"only {len(data)} bytes came"
            data += os.read(self._file, size - len(data))
        return data


@pytest.fixture
def attach():
    """Opens the host's end of a board's line."""
    wires = []

    def open_line(machine):
        wires.append(Wire(machine.line.path))
        return wires[-1]

    yield open_line
    for wire in wires:
        wire.close()


@pytest.fixture
async def wired(board, attach):
    """A board and the host's end of its line."""
    machine = await board()
    return machine, attach(machine)


@pytest.fixture(scope="session")
def with_modules(firmware):
    """Firmware with the agent's modules in it as they are written, once it can be built at all."""
    return build("cortex-m3", agent=MODULES).elf


def noise(size):
    """Bytes of all values, the same each time."""
    return random.Random(size).randbytes(size)


# -- flash


async def test_what_is_programmed_outlives_a_kill(board, flash, pins):
    machine = await board()
    for _ in range(3):
        await machine.execute(FLASH + "for n in range(16): f.ioctl(6, n)")
        before = pins[1].rises + pins[1].falls
        await machine.console.submit(RECORDS)
        while pins[1].rises + pins[1].falls < before + 100:
            await asyncio.sleep(0)
        await machine.kill()
        done = pins[1].rises + pins[1].falls - before
        log = flash.read_log(0x10000)
        whole = log[: 32 * done]
        assert whole == b"".join(b"%08d" % n * 4 for n in range(done))
        assert log[32 * (done + 1) :].strip(b"\xff") == b"", "not in order"
        await machine.start()
        await machine.wait_for(">>> ")
        said = await machine.execute(
            FLASH + f"import hashlib\nb = bytearray({32 * done})\nf.readblocks(0, b)\n"
            "print(hashlib.sha256(b).digest().hex())"
        )
        assert said.strip() == sha256(whole).hexdigest()


async def test_a_bit_that_is_clear_is_not_set(board, flash):
    machine = await board()
    said = await machine.execute(
        FLASH + "print(f.writeblocks(0, b'\\x0f' * 8, 32), f.writeblocks(0, b'\\x03' * 8, 32),"
        "f.writeblocks(0, b'\\x07' * 8, 32), f.violations)"
    )
    assert said == f"0 0 {-errno.EIO} 1\n"
    assert flash.read_log(64) == b"\xff" * 32 + b"\x03" * 8 + b"\xff" * 24
    await machine.execute("f.ioctl(6, 0)")
    assert flash.read_log(4096) == b"\xff" * 4096


async def test_programs_are_of_whole_units_and_inside(board, flash):
    machine = await board()
    said = await machine.execute(
        FLASH + "print(f.writeblocks(0, b'abc', 0), f.writeblocks(0, b'abcd', 2),"
        "f.writeblocks(15, b'abcd', 4096), f.readblocks(16, bytearray(4)), f.ioctl(6, 16))"
    )
    assert said == f"{-errno.EINVAL} " * 4 + f"{-errno.EINVAL}\n"
    assert flash.read_log(0x11000) == b"\xff" * 0x11000


async def test_names_of_files_may_have_spaces_and_commas(board, tmp_path):
    odd = tmp_path / "a, b  c=d"
    odd.mkdir()
    flash = FlashImage.create(odd / "flash = x, y.img")
    flash.format()
    flash.write_files({"/here": b"yes"})
    entropy = odd / "some entropy"
    entropy.write_bytes(b"12345678")
    machine = await board(flash=flash, entropy=entropy)
    said = await machine.execute("import os\nprint(open('/here').read(), os.urandom(8))")
    assert said == "yes b'12345678'\n"


async def test_a_reset_opens_no_more_files(board):
    machine = await board()
    use = FLASH + "import os\nos.urandom(4)\nf.readblocks(0, bytearray(4))"
    await machine.execute(use)
    files = len(os.listdir(f"/proc/{machine.pid}/fd"))
    for _ in range(3):
        await machine.reset()
        await machine.wait_for(">>> ")
        await machine.execute(use)
    assert len(os.listdir(f"/proc/{machine.pid}/fd")) == files


# -- entropy


async def test_entropy_differs(board, power_cut):
    machine = await board()
    seen = set()
    for _ in range(2):
        seen.add(await machine.execute("import os\nprint(os.urandom(16))"))
        seen.add(await machine.execute("import os\nprint(os.urandom(16))"))
        await power_cut()
    assert len(seen) == 4


async def test_entropy_from_a_file_is_repeated_and_ends(board, power_cut, tmp_path):
    file = tmp_path / "entropy"
    file.write_bytes(noise(40))
    machine = await board(entropy=file)
    draw = "import os\nprint(os.urandom(16).hex())"
    for _ in range(2):
        said = await machine.execute(draw)
        await machine.reset()  # it goes on where it was
        await machine.wait_for(">>> ")
        said += await machine.execute(draw)
        assert bytes.fromhex(said) == noise(40)[:32]
        with pytest.raises(BoardTraceback, match="OSError"):
            await machine.execute(draw)
        await power_cut()


# -- link


async def test_all_that_is_sent_at_full_speed_comes(wired):
    machine, wire = wired
    data = noise(40000)
    await machine.console.submit(TAKE + f"asyncio.run(take({len(data)}))")
    await asyncio.gather(
        wire.send(data),
        machine.wait_for(f"{len(data)} {sha256(data).hexdigest()}\r\n", WAIT_S),
    )


async def test_what_comes_while_nobody_reads_waits(wired):
    machine, wire = wired
    data = noise(8000)  # several times what the board has room for
    sending = asyncio.create_task(wire.send(data))
    said = await machine.execute(
        TAKE + "import time\nwhile u.any() < 1024: time.sleep_ms(1)\n"
        f"time.sleep_ms(50)\nprint(u.any())\nasyncio.run(take({len(data)}))",
        WAIT_S,
    )
    assert said == f"1024\n{len(data)} {sha256(data).hexdigest()}\n"
    await sending


async def test_all_that_the_board_sends_comes(wired):
    machine, wire = wired
    await machine.console.submit(
        UART + "import asyncio\nasync def give():\n    w = asyncio.StreamWriter(u, {})\n"
        "    for n in range(800):\n        w.write(b'%04d' % n * 16)\n        await w.drain()\n"
        "asyncio.run(give())\nprint('given')"
    )
    assert await wire.receive(64 * 800) == b"".join(b"%04d" % n * 16 for n in range(800))
    await machine.wait_for("given")


async def test_a_write_never_blocks_and_room_wakes_who_waits_for_it(wired):
    machine, wire = wired
    await machine.console.submit(
        UART + "import select, time\ntook = 0\npoll = select.poll()\n"
        "poll.register(u, select.POLLOUT)\nfor n in range(5):\n    size = 0\n"
        "    while n := u.write(b'0123456789'): size += n\n"
        "    print('full', size, poll.poll(0))\n    start = time.ticks_ms()\n"
        "    poll.poll(10000)\n    took += time.ticks_diff(time.ticks_ms(), start)\n"
        "print('took', took, 'ms')"
    )
    for _ in range(5):
        size = int((await machine.wait_for(r"full \d+ \[\]")).split()[1])
        assert size > 100
        assert await wire.receive(size) == (b"0123456789" * size)[:size]
    took_ms = int((await machine.wait_for("took .* ms")).split()[1])
    assert took_ms < 3000  # without its interrupt each takes a second


async def test_a_byte_wakes_who_waits_for_it(wired):
    machine, wire = wired
    await machine.console.submit(
        UART + "import select, time\npoll = select.poll()\npoll.register(u, select.POLLIN)\n"
        "start = time.ticks_ms()\nfor n in range(30):\n    poll.poll()\n    u.write(u.read())\n"
        "print('took', time.ticks_diff(time.ticks_ms(), start), 'ms')"
    )
    for n in range(30):
        await wire.send(bytes([n]))
        assert await wire.receive(1) == bytes([n])
    took_ms = int((await machine.wait_for("took .* ms")).split()[1])
    assert took_ms < 15000  # without its interrupt each takes a second


async def test_the_agents_serial_port_works_on_it(board, attach, with_modules):
    machine = await board(elf=with_modules)
    wire = attach(machine)
    data = noise(5000)
    await machine.console.submit(ECHO + f"asyncio.run(echo({len(data)}))\nprint('echoed')")
    await machine.wait_for("quiet")
    _, echoed = await asyncio.gather(wire.send(data), wire.receive(len(data)))
    assert echoed == data
    await machine.wait_for("echoed")


async def test_what_it_can_not_do_is_refused(board):
    machine = await board()
    for arguments in (
        "2",
        "1, 9600, 7",
        "1, 9600, 8, 0",
        "1, 9600, stop=2",
        "1, 10",
        "1, 9999999",
    ):
        with pytest.raises(BoardTraceback, match="ValueError"):
            await machine.execute(f"import machine\nmachine.UART({arguments})")
    await machine.execute("u = machine.UART(1, 9600)\nu.deinit()\nmachine.UART(1)")


# -- time


async def test_the_clock_loses_nothing_when_its_counter_wraps(board):
    machine = await board()
    # 171 s after the reset the counter of 32 bits is 0.8 s before its end
    said = await machine.execute(
        "import machine, time\nmachine.mem32[0x40028010] = 171\n"
        "machine.mem32[0x40000004] = 20000000\n"
        "last, worst = time.time_ns(), 0\nfirst = last\nwhile last - first < 1500000000:\n"
        "    now = time.time_ns()\n    assert now >= last\n"
        "    worst = max(worst, now - last)\n    last = now\n"
        "print(time.ticks_ms() // 1000, worst // 1000000000)"
    )
    assert said == "172 0\n"


async def test_the_date_goes_on_over_resets_and_hangs(board, panel):
    machine = await board(time_us=1_700_000_000 * 10**6)
    read = "import time\nprint(time.time_ns() // 1000000 - 1700000000000)"
    early = int(await machine.execute(read))
    await machine.execute("import time\ntime.sleep_ms(1500)")
    await machine.console.submit("import machine\nmachine.WDT(timeout=1000)\nwhile True: pass")
    await machine.wait_for("boot: ")
    await machine.wait_for(">>> ")
    assert panel.reset_cause == WATCHDOG_RESET
    assert int(await machine.execute(read)) >= early + 2500
    assert int(await machine.execute("print(time.ticks_ms())")) < 2000


async def test_a_board_with_nothing_to_do_takes_no_time_of_the_host(board):
    machine = await board()
    before = machine.cpu_seconds()
    await machine.execute("import time\ntime.sleep(2)")
    assert machine.cpu_seconds() - before < 0.5
