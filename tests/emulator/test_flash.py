"""What a board finds on its flash at its start, and what it makes of what should not be there."""

import asyncio
import random
from binascii import crc32
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from mote import wire
from mote.agent import Agent
from mote.gate import Refused
from mote.log import Log, genesis
from mote.tools import Toolset
from mote_device.config import load_config
from mote_device.limits import limits_of
from mote_emulator.console import BoardError, BoardTraceback
from mote_emulator.device import Options, Prepared, flash_of, prepare, running
from mote_emulator.image import BLOCK_BYTES, FILES_BYTES, FLASH_BYTES, LOG_AT, FlashImage
from mote_emulator.machine import Machine
from mote_host.asking import Answer, ask
from mote_host.board_config import DEFAULTS, compile_config
from mote_host.broker import Broker as BrokerClient
from mote_host.config import BrokerSettings, GatewaySettings, Settings
from mote_host.demo.brokers import running_broker
from mote_host.enrolment import write_device
from mote_host.gateway import Gateway
from mote_host.providers.offline import Offline
from mote_host.registry import Registry
from mote_host.store import Store

from tests.core.chip import Chip

pytestmark = pytest.mark.emulator

DEVICE = "board-1"
UNIT = 4  # of both boards' flash
LOG = """
[log]
segments = 5
"""


async def works(machine: Machine, boots: int = 1) -> None:
    """The REPL is there, and nothing has reset the board."""
    assert await machine.execute("print(6 * 7)") == "42\n"
    assert machine.panel.boots == boots


def erased(image: FlashImage) -> bool:
    """Whether nothing was ever written."""
    return image.read(0, FLASH_BYTES).count(0xFF) == FLASH_BYTES


class Device:
    """A device in a folder, with a broker, and a gateway when there is one."""

    def __init__(self, folder: Path, settings: Settings, client) -> None:
        self.folder = folder
        self.settings = settings
        self.client = client
        self.registry = Registry(settings.gateway.state_dir)
        self.key = self.registry.enroll(DEVICE)
        folder.mkdir()
        write_device(*(folder, DEVICE, self.key, settings.broker, "greenhouse"), more=LOG)

    @property
    def config(self) -> Path:
        """Its moted.toml."""
        return self.folder / "moted.toml"

    def prepare(self, options: Options) -> tuple[Prepared, FlashImage]:
        """Firmware and flash."""
        return prepare(self.config, options, self.settings.broker), flash_of(self.folder)

    async def ask(self, text: str = "what is the temperature?", timeout_s: float = 30) -> Answer:
        """Ask it."""
        async with asyncio.timeout(timeout_s):
            return await ask(self.client, DEVICE, text)

    async def answers(self, machine: Machine) -> None:
        """Whether it takes turns, once it is connected."""
        await machine.wait_for("moted: connected")
        answer = await self.ask()
        assert answer.status == "done", answer
        assert "C" in answer.text

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[None]:
        """Somebody who answers it."""
        with closing(Store(self.settings.gateway.state_dir / "gateway.db")) as store:
            service = Gateway(self.settings, self.registry, store, Offline())
            task = asyncio.create_task(service.run())
            try:
                await asyncio.wait_for(service.ready.wait(), 20)
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def device(firmware: Path, tmp_path: Path) -> AsyncIterator[Device]:
    """A device that is off, with a broker, without a gateway."""
    async with running_broker("mosquitto") as own:
        broker = BrokerSettings(host=own.host, port=own.port)
        settings = Settings(broker=broker, gateway=GatewaySettings(state_dir=tmp_path / "gateway"))
        async with BrokerClient(broker).connected() as client:
            yield Device(tmp_path / DEVICE, settings, client)
    flash_of(tmp_path / DEVICE).path.unlink(missing_ok=True)


def log_of(device: Device, turns: int) -> list[bytes]:
    """The segments of a log with that many turns for which no reply came, or of a full log."""
    config = load_config(str(device.config), DEFAULTS)
    limits = limits_of(config)
    limits.asks_per_hour = 100000
    chip = Chip(UNIT, config.log.segments, config.log.segment_kib * 1024, BLOCK_BYTES)
    sign = wire.subkey(device.key, "log").sign
    log = Log(chip, genesis(DEVICE), sign, config.log.record_bytes)
    agent = Agent(log, Toolset([]), limits)
    agent.open(0, b"12345678", [], "test")
    agent.sure = True
    now_ms = 0
    try:
        for n in range(turns):
            now_ms += limits.turn_ms + 60000
            agent.ask("x" * limits.ask_bytes, "main", f"ask {n}", now_ms, 0)
            agent.next_effect()  # the request
            agent.tick(now_ms + limits.turn_ms)
            _, seq, _ = agent.next_effect()
            agent.sent(seq)
            agent.tidy()
    except Refused as why:
        assert "the log is full" in str(why)  # noqa: PT017 (that many turns, or this)
    log.sync()
    return [bytes(cells) for cells in chip.cells]


def put(image: FlashImage, segments: Iterable[bytes]) -> None:
    """Write the log's region."""
    image.overwrite(LOG_AT, b"".join(segments))


# -- no agent


async def test_from_the_factory_it_says_what_to_do(board, tmp_path):
    image = FlashImage.create(tmp_path / "blank.img")
    machine = await board(flash=image)
    assert "no file system on the flash" in machine.console.transcript
    assert "write a new image" in machine.console.transcript
    await works(machine)
    with pytest.raises(BoardTraceback, match="OSError"):
        await machine.execute("open('/f', 'w')")
    await machine.kill()
    assert erased(image)
    image.path.unlink()


async def test_with_files_but_none_to_run_it_says_so(board, flash):
    before = flash.read(0, FILES_BYTES)
    machine = await board()
    assert "neither /main.py nor /mote.cfg" in machine.console.transcript
    await works(machine)
    await machine.kill()
    assert flash.read(0, FILES_BYTES) == before


@pytest.mark.parametrize("blocks", [(0,), (1,), (0, 1)])
async def test_damaged_superblocks(board, flash, blocks):
    """There are two of them: littlefs needs one."""
    flash.write_files({"/f": b"x" * 3000})
    rng = random.Random(1)
    for block in blocks:
        flash.overwrite(block * BLOCK_BYTES, rng.randbytes(BLOCK_BYTES))
    machine = await board()
    found = "no file system on the flash" not in machine.console.transcript
    assert found == (len(blocks) == 1)
    await works(machine)


async def test_garbage_in_place_of_a_file_system(board, flash):
    flash.overwrite(0, random.Random(2).randbytes(FILES_BYTES))
    machine = await board()
    assert "no file system on the flash" in machine.console.transcript
    await works(machine)


async def test_a_main_that_fails(board, flash):
    flash.write_files({"/main.py": b"import nothing_there\n"})
    machine = await board(until="^boot: that has failed.*\n")
    assert "no module named 'nothing_there'" in machine.console.transcript
    await works(machine)
    await machine.kill()
    flash.write_files({"/main.py": b"while"})
    await machine.start()
    await machine.wait_for("SyntaxError")
    await machine.wait_for("^boot: that has failed.*\n")
    await works(machine, 2)


# -- the configuration


async def test_a_damaged_configuration(board, flash, tmp_path):
    """Each byte of it with a bit flipped, and cut after each: words, and nothing else happens."""
    config = write_device(
        *(tmp_path, DEVICE, b"k" * 32, BrokerSettings(host="10.0.2.2"), "greenhouse")
    )
    flash.write_files({"/mote.cfg": compile_config(config)[:-1]})
    machine = await board()
    assert "moted: /mote.cfg is damaged" in machine.console.transcript
    assert "from moted.toml" in machine.console.transcript
    await works(machine)
    await machine.kill()
    good = compile_config(config)
    flash.write_files({"/mote.cfg": b"", "/good.cfg": good})
    await machine.start()
    await machine.wait_for("moted: /mote.cfg is damaged")
    said = await machine.execute(
        "from mote_device.firmware import main\ngood = open('/good.cfg', 'rb').read()\n"
        "def attempt(data):\n    with open('/bad.cfg', 'wb') as f: f.write(data)\n"
        "    main('/bad.cfg')\n"
        "for n in range(len(good)):\n"
        "    attempt(good[:n])\n"
        "    attempt(good[:n] + bytes([good[n] ^ 1 << n % 8]) + good[n + 1:])\n"
        "main('/none.cfg')\n",
        timeout_s=60,
    )
    lines = said.splitlines()
    assert len(lines) == 2 * len(good) + 1
    assert all(line.startswith("moted: /bad.cfg is ") for line in lines[:-1])
    assert lines[-1] == "moted: /none.cfg is missing: make it again on a host, from moted.toml"
    assert any("of version" in line for line in lines)
    await works(machine, 2)


# -- the agent


# -- the agent


async def test_a_full_file_system_is_no_matter_to_the_agent(device, board_name):
    prepared, image = device.prepare(options := Options(board_name))
    fill(image)
    async with device.gateway(), running(prepared, options) as machine:
        await device.answers(machine)
        said = await machine.execute(
            "try:\n    with open('/more', 'wb') as f: f.write(bytes(100000))\n"
            "except OSError as e: print(e)"
        )
        assert said == "28\n"  # ENOSPC
        await works(machine)


def fill(image: FlashImage) -> None:
    """Leave no block of the file system free."""
    size = FILES_BYTES
    while size >= BLOCK_BYTES:
        try:
            image.write_files({f"/fill-{len(image.list_files())}": bytes(size)})
        except BoardError:
            size //= 2


@pytest.mark.parametrize("damage", ["none", "bit", "cut", "gone", "header"])
async def test_the_agents_files(device, board_name, damage):
    prepared, image = device.prepare(options := Options(board_name, frozen=False))
    files = {path: image.read_file(path) for path in image.list_files() if path.endswith(".mpy")}
    path = max(files, key=lambda path: len(files[path]))
    data = bytearray(files[path])
    if damage != "header":  # which the interpreter itself looks at
        image.write_files({"/lib/sums": sums(files)})
    if damage == "bit":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "header":
        data[1] ^= 1
    image.write_files({path: bytes(data)})
    if damage == "gone":
        image.remove_file(path)
    async with running(prepared, options) as machine:
        if damage == "none":
            await machine.wait_for("moted: connected")
            return
        if damage == "header":
            await machine.wait_for(r"incompatible \.mpy file")
            await machine.wait_for("boot: that has failed")
        else:
            await machine.wait_for(f"boot: {path} is damaged: write a new image")
        await works(machine)


def sums(files: dict[str, bytes]) -> bytes:
    """/lib/sums for them."""
    return "".join(f"{crc32(data):08x} {path}\n" for path, data in files.items()).encode()


async def test_a_full_log_refuses_until_the_gateway_takes_it(device, board_name):
    prepared, image = device.prepare(options := Options(board_name))
    put(image, log_of(device, 1000))
    async with running(prepared, options) as machine:
        await machine.wait_for("moted: connected")
        answer = await device.ask()
        assert (answer.status, answer.text) == (
            "refused",
            "the log is full: the gateway must take what it holds",
        )
        async with device.gateway():
            async with asyncio.timeout(30):
                while (answer := await device.ask()).status == "refused":
                    await asyncio.sleep(0.2)
            assert answer.status == "done"
        assert machine.panel.boots == 1


@pytest.mark.parametrize("where", ["records", "header"])
async def test_rot_in_the_log_is_told_and_lived_with(device, board_name, where):
    prepared, image = device.prepare(options := Options(board_name))
    segments = log_of(device, 110)
    put(image, segments)
    newest = in_use(segments)[-1]
    offset, size, bits = {"records": (3000, 1000, 20), "header": (0, 64, 1)}[where]
    image.rot(LOG_AT + newest * len(segments[0]) + offset, size, bits, seed=3)
    async with device.gateway(), running(prepared, options) as machine:
        await machine.wait_for(
            f"moted: log: segment {newest}: damaged {where if bits < 2 else ''}"
        )
        await device.answers(machine)
        assert machine.panel.boots == 1


@pytest.mark.parametrize("spared", [True, False])
async def test_garbage_in_the_logs_region(device, board_name, spared):
    """It counts as erased: what is whole beside it goes on, else a log begins."""
    prepared, image = device.prepare(options := Options(board_name))
    segments = log_of(device, 110)
    keep = in_use(segments) if spared else []
    rng = random.Random(4)
    for n in range(len(segments)):
        if n not in keep:
            segments[n] = rng.randbytes(len(segments[n]))
    put(image, segments)
    async with device.gateway(), running(prepared, options) as machine:
        said = await machine.wait_for(r"epoch \d+, \d+ records")
        assert (said == "epoch 1, 1 records") == (not spared)
        await device.answers(machine)
        assert machine.panel.boots == 1


def in_use(segments: list[bytes]) -> list[int]:
    """The segments that have a header, oldest first."""
    used = [n for n in range(len(segments)) if segments[n][:4] == b"mote"]
    return sorted(used, key=lambda n: segments[n][8:12])
