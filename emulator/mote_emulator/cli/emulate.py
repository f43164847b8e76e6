"""`mote emulate`."""

import asyncio
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import click
import platformdirs
from mote_host.cli.bridge import broker_settings
from mote_host.cli.common import open_registry, open_store, run, serve, settings_of
from mote_host.cli.gateway import provider_of
from mote_host.config import BrokerSettings, Settings
from mote_host.demo.brokers import running_broker
from mote_host.enrolment import write_device
from mote_host.errors import ConfigError, DeviceError
from mote_host.gateway import Gateway
from mote_host.providers import Provider

from mote_emulator.cli.build import board_type, interruptible, micropython_option
from mote_emulator.device import (
    Options,
    Prepared,
    firmware_for,
    prepare,
    running,
    show,
    sole_user,
)
from mote_emulator.toolchain import find_board, missing_to_build, missing_to_run, require

_KIB = 1024
_CONFIG = "moted.toml"
_NO_MEMORY = (b"MemoryError", b"out of memory")


@click.command()
@click.argument("name", metavar="BOARD", type=board_type)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for all files, or that of an enrolled device.  [default: one for each board,"
    " among the user's state]",
)
@click.option(
    "--broker",
    "address",
    metavar="HOST[:PORT]",
    help="With an enrolled device: its broker, in place of the one in moted.toml.",
)
@click.option("--files", is_flag=True, help="The agent as .mpy files on the flash, not frozen in.")
@click.option(
    "--heap", type=click.IntRange(16, 7168), metavar="KIB", help="The heap's size.  [default: 192]"
)
@micropython_option
@click.pass_context
def emulate(
    ctx: click.Context,
    name: str,
    folder: Path | None,
    address: str | None,
    files: bool,
    heap: int | None,
    micropython: Path | None,
) -> None:
    """Boot an emulated BOARD, rv32 or cortex-m3, and show its console until Ctrl-C.

    By itself it runs all that the board needs: a broker, a gateway with the provider that the
    configuration names, and a device with the name of the board and a simulated greenhouse on its
    pins. It says how to ask. Given the folder of an enrolled device, it runs that one, on its
    broker; the broker and the gateway are yours to run.

    The flash is a file, flash.img, and persists: starting again is a power cut and a boot. At each
    start moted.toml and the modules of its [tools] are written onto it, and a main.py beside
    moted.toml; without one, the main.py on the flash stays as it is.

    \b
    mote emulate rv32
    mote emulate cortex-m3 --heap 64
    mote enroll greenhouse-1 --out greenhouse-1/
    mote emulate rv32 --dir greenhouse-1/
    """
    enrolled = folder is not None and (folder / _CONFIG).exists()
    if address and not enrolled:
        raise click.UsageError(
            "--broker needs a device that the gateway there knows: mote enroll NAME --out DIR,"
            " then mote emulate BOARD --dir DIR"
        )
    board = find_board(name)
    require(missing_to_build(board) + missing_to_run(board), f"emulating {name}")
    options = Options(
        name, frozen=not files, heap_bytes=(heap or 0) * _KIB, micropython=micropython
    )
    if folder and enrolled:
        _boot_enrolled(folder, options, broker_settings(address, False, None) if address else None)
    else:
        place = folder or platformdirs.user_state_path("mote") / "emulate" / name
        _boot_own(place.absolute(), options, settings_of(ctx))


def _boot_enrolled(folder: Path, options: Options, broker: BrokerSettings | None) -> None:
    with sole_user(folder):
        with interruptible(), _explained(folder):
            prepared = prepare(folder / _CONFIG, options, broker)
        click.echo(f"broker: {prepared.broker.host}:{prepared.broker.port}", err=True)
        terminal = _Terminal(options)
        run(serve(terminal.shows(_live(prepared, options, terminal))))


def _boot_own(place: Path, options: Options, settings: Settings) -> None:
    provider = provider_of(settings)
    with interruptible():
        firmware_for(options)  # before anything runs or is written: it may take a minute
    with _explained(place):
        (place / "device").mkdir(parents=True, exist_ok=True)
    with sole_user(place / "device"):
        terminal = _Terminal(options)
        run(serve(terminal.shows(_with_gateway(place, options, settings, provider, terminal))))


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """What the file system refuses is said in one line."""
    try:
        yield
    except OSError as exc:
        raise ConfigError(f"--dir {folder}: {exc.filename or folder}: {exc.strerror}") from exc


async def _with_gateway(
    place: Path, options: Options, settings: Settings, provider: Provider, terminal: "_Terminal"
) -> None:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(provider.aclose)
        own = await stack.enter_async_context(running_broker("auto"))
        broker = BrokerSettings(host=own.host, port=own.port)
        gateway = settings.gateway.model_copy(update={"state_dir": place / "gateway"})
        settings = settings.model_copy(update={"broker": broker, "gateway": gateway})
        with _explained(place):
            config = _enrolled(place, options.board, settings)
        stack.enter_context(terminal.warnings())
        store = stack.enter_context(open_store(settings))
        service = Gateway(settings, open_registry(settings), store, provider)
        task = await stack.enter_async_context(_serving(service))
        click.echo(f"broker: {own.kind} on {own.host}:{own.port}", err=True)
        click.echo(f"gateway: {provider.name}, state in {gateway.state_dir}", err=True)
        words = ["mote", "--config", str(place / "gateway.toml"), "ask", options.board]
        click.echo(f'to ask: {shlex.join(words)} "what is the temperature?"', err=True)
        with _explained(place):
            prepared = prepare(config, options, broker)
        await _live(prepared, options, terminal, task)


def _enrolled(place: Path, name: str, settings: Settings) -> Path:
    """The moted.toml of the device, made at the first start, and a gateway.toml for those who ask.

    Raises ConfigError if only half of it is there, or another board's.
    """
    device, registry = place / "device", open_registry(settings)
    config = device / _CONFIG
    try:
        if not config.exists():
            write_device(device, name, registry.enroll(name), settings.broker, "greenhouse")
        elif registry.key(name) is None:
            raise DeviceError(f"its gateway knows no {name}")
    except (DeviceError, FileExistsError) as exc:
        raise ConfigError(f"{place}: {exc}: name another --dir, or remove this one") from exc
    state = json.dumps(str(settings.gateway.state_dir))
    (place / "gateway.toml").write_text(_GATEWAY.format(settings.broker.port, state))
    return config


_GATEWAY = """\
# Written by `mote emulate`, for as long as it runs: its broker has another port each time.
[broker]
port = {}

[gateway]
state_dir = {}
"""


@asynccontextmanager
async def _serving(service: Gateway) -> AsyncIterator[asyncio.Task[None]]:
    """The gateway, once it is ready; ended with the context. Raises what keeps it from that."""
    task = asyncio.create_task(service.run())
    ready = asyncio.create_task(service.ready.wait())
    try:
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield task
    finally:
        ready.cancel()
        task.cancel()
        await asyncio.gather(task, ready, return_exceptions=True)


async def _live(
    prepared: Prepared, options: Options, terminal: "_Terminal", *others: asyncio.Task[None]
) -> None:
    """Run the board until it is cancelled. Raises what ends QEMU, or one of the `others`."""
    click.echo(f"flash: {prepared.flash.path}", err=True)
    click.echo("the board's console follows; Ctrl-C ends all of it", err=True)
    async with running(prepared, options, terminal.show) as machine:
        board = asyncio.create_task(machine.wait())
        try:
            await asyncio.wait((board, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            terminal.over = True
            board.cancel()
        for task in (board, *others):
            if task.done():
                task.result()


class _Terminal:
    """Where it all is shown. When it is `over`, what falls down on the way out is kept quiet."""

    def __init__(self, options: Options) -> None:
        self.over = False
        self._heap_kib = options.heap_bytes // _KIB or 192
        self._line = b""
        self._told = False
        self._task: asyncio.Task[None] | None = None

    async def shows(self, service: Coroutine[Any, Any, None]) -> None:
        """Run it until nobody can read any more: the window is closed, or the pipe."""
        self._task = asyncio.current_task()
        if self._task and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._task.cancel)
        await service

    def show(self, data: bytes) -> None:
        """Show what the board's console said, and say so if that was for want of memory."""
        if self.over:
            return
        try:
            show(data)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.over = True
            if self._task:
                self._task.cancel()
        *lines, self._line = (self._line + data).split(b"\n")
        if not self._told and any(words in line for line in lines for words in _NO_MEMORY):
            self._told = True
            text = f"mote: a heap of {self._heap_kib} KiB is too small for this: see --heap"
            click.echo(text if data.endswith(b"\n") else f"\n{text}", err=True)

    @contextmanager
    def warnings(self) -> Iterator[None]:
        """Show those of the gateway."""
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("gateway: %(message)s"))
        handler.addFilter(lambda _: not self.over)
        # it tells of a process that ended in the middle of its start: Ctrl-C came early
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        logger = logging.getLogger("mote")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
