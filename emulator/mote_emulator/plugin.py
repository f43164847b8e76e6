"""pytest fixtures that boot emulated boards, for tests of an agent, its tools and its firmware.

    async def test_lamp(board, pins):
        machine = await board()
        await machine.execute("import machine; machine.Pin(5, machine.Pin.OUT, value=1)")
        assert pins[5].value == 1

It needs pytest-asyncio, QEMU and, for `broker`, mosquitto. Every test gets boards, flash and world
of its own, and none of it is left behind. A test that uses `board_name` (all that boot a board do)
runs once for each board of `--board`, which can be given more than once; without it for those of
the setting `mote_boards`, or for rv32.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from mote_host.demo.brokers import Broker, running_broker

from mote_emulator.console import BoardError
from mote_emulator.image import FlashImage
from mote_emulator.machine import Machine
from mote_emulator.panel import Panel, Pin
from mote_emulator.toolchain import find_board, missing_to_build, missing_to_run


def _without_asyncio(function: Callable[..., Any]) -> Any:
    """In place of pytest-asyncio's fixtures: whoever uses one hears what is missing."""

    @pytest.fixture(name=function.__name__)
    def lacking() -> None:
        pytest.fail("mote's boards need pytest-asyncio: pip install pytest-asyncio")

    return lacking


try:
    import pytest_asyncio

    _async_fixture: Callable[..., Any] = pytest_asyncio.fixture
except ImportError:  # pytest loads this wherever mote is installed, and should not fail there
    _async_fixture = _without_asyncio

PROMPT = r"^>>> "
"""What a board says that has nothing to run: the REPL waits."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which boards to test on."""
    text = "emulated board to test on, rv32 or cortex-m3 (may be given more than once)"
    parser.getgroup("mote").addoption("--board", action="append", metavar="NAME", help=text)
    parser.addini("mote_boards", "emulated boards to test on", "args", default=["rv32"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each board, unless the test has chosen its boards by itself."""
    marks = metafunc.definition.iter_markers("parametrize")
    chosen = any("board_name" in _names(mark.args[0]) for mark in marks)
    if "board_name" in metafunc.fixturenames and not chosen:
        config = metafunc.config
        names = config.getoption("--board") or config.getini("mote_boards")
        metafunc.parametrize("board_name", names, scope="session")


def _names(argument: str | Sequence[str]) -> list[str]:
    """The names that a parametrize gives values to: a text with commas, or a sequence."""
    parts = argument.split(",") if isinstance(argument, str) else argument
    return [part.strip() for part in parts]


@pytest.fixture(scope="session")
def board_name(request: pytest.FixtureRequest) -> str:
    """The board that the test runs on."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def firmware(board_name: str) -> Path:
    """The board's firmware with the agent frozen in, built if there is none in the cache.

    Override it to test a build of your own. Where the compiler or QEMU is missing the test is
    skipped, and fails if the variable CI is "true".
    """
    from mote_emulator.firmware import build  # noqa: PLC0415 (needs the emulator extra)

    found = find_board(board_name)
    if missing := missing_to_build(found) + missing_to_run(found):
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"the board {board_name} needs: apt-get install {' '.join(missing)}")
    return build(board_name).elf


@pytest.fixture
def flash(tmp_path: Path) -> Iterator[FlashImage]:
    """The board's flash, with an empty file system: `flash.write_files({"/main.py": b"..."})`."""
    image = FlashImage.create(tmp_path / "flash.img")
    image.format()
    yield image
    image.path.unlink(missing_ok=True)  # pytest keeps folders of old runs, and this is 32 MiB


@pytest.fixture
def panel() -> Iterator[Panel]:
    """The board's world: `panel.adc[0] = 40000`, `panel.add_device(0x40)`, `panel.journal()`."""
    world = Panel()
    yield world
    world.close()


@pytest.fixture
def pins(panel: Panel) -> tuple[Pin, ...]:
    """The board's pins from outside: `pins[4].value`, `.rises`, `.drive(1)`, `.release()`."""
    return panel.pins


class Booted:
    """The boards of one test, each with what it says when it is up."""

    def __init__(self) -> None:
        self._machines: list[tuple[Machine, str]] = []

    def add(self, machine: Machine, until: str) -> None:
        """One more."""
        self._machines.append((machine, until))

    async def cut_power(self) -> None:
        """Of the last one: off, on, up."""
        if not self._machines:
            raise BoardError("no board has been booted")
        machine, until = self._machines[-1]
        await machine.power_cut()
        await machine.wait_for(until)

    def show(self) -> None:
        """Print what they said."""
        for machine, _ in self._machines:
            print(f"--- console of {machine.board.name}\n{machine.console.transcript}")


@pytest.fixture
def booted() -> Iterator[Booted]:
    """The test's boards; what they said is printed at its end: pytest shows it if it failed."""
    boards = Booted()
    yield boards
    boards.show()


@_async_fixture
async def board(
    board_name: str, firmware: Path, flash: FlashImage, panel: Panel, booted: Booted
) -> AsyncIterator[Callable[..., Awaitable[Machine]]]:
    """Boots a bare board: `machine = await board(heap_bytes=65536)`.

    Its keyword arguments are those of Machine; `until` is a regular expression of what the console
    must say first, the REPL's prompt by default. Flash and panel are the test's fixtures: a second
    board needs its own. All are ended with the test.
    """
    async with AsyncExitStack() as stack:

        async def boot(until: str = PROMPT, **options: Any) -> Machine:
            given = {"elf": firmware, "flash": flash, "panel": panel, **options}
            machine = Machine(board_name, **given)
            booted.add(machine, until)
            await stack.enter_async_context(machine)
            await machine.wait_for(until)
            return machine

        yield boot


@_async_fixture
async def agent(
    board_name: str, firmware: Path, panel: Panel, booted: Booted, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Boots a board with the agent, broker and gateway beside it; waits until it is online.

        site = await agent({"doser": SOURCE}, model)
        answer = await site.ask("dose 5 ml")

    `tools` are modules with tools of yours: their names and sources. `model` is a provider of
    mote_host.providers, by default the offline planner. `config` is appended to moted.toml; other
    arguments are those of mote_emulator.device.Options. Returns a mote_emulator.site.Site. The
    board has the greenhouse's tools, too.
    """
    # what these need comes with the emulator extra
    from mote_host.providers.offline import Offline  # noqa: PLC0415

    from mote_emulator.device import Options, flash_of  # noqa: PLC0415
    from mote_emulator.site import site  # noqa: PLC0415

    async with AsyncExitStack() as stack:

        async def boot(
            tools: Mapping[str, str] | None = None,
            model: Any = None,
            config: str = "",
            **more: Any,
        ) -> Any:
            config += _place_tools(tmp_path / "tools", tools or {})
            made = await stack.enter_async_context(
                site(tmp_path, model or Offline(), config=config)
            )
            stack.callback(flash_of(made.folder).path.unlink, missing_ok=True)
            booted.add(await made.power_on(Options(board_name, **more), panel=panel), "")
            await made.online()
            return made

        yield boot


def _place_tools(folder: Path, tools: Mapping[str, str]) -> str:
    """Write the modules; returns what moted.toml must say of them."""
    if not tools:
        return ""
    folder.mkdir()
    for name, source in tools.items():
        (folder / f"{name}.py").write_text(source)
    return f"\n[tools]\npath = {json.dumps([str(folder)])}\nmodules = {json.dumps(list(tools))}\n"


@pytest.fixture
def power_cut(booted: Booted) -> Callable[[], Awaitable[None]]:
    """`await power_cut()` kills the board that was booted last, whatever it does, switches it on
    again, and waits until it says what it was booted `until`."""
    return booted.cut_power


@_async_fixture
async def broker() -> AsyncIterator[Broker]:
    """mosquitto on a free port of this machine, which a board sees at machine.HOST_ADDRESS."""
    async with running_broker("mosquitto") as running:
        yield running
