"""A whole emulated device in a folder: its configuration, its flash, its world, its link.

`python -m mote_emulator.device BOARD --config FOLDER/moted.toml` runs one as a process, which is
how the demo and the tests use it: what the board's console says goes to standard output.
"""

import argparse
import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mote_host import board_files
from mote_host.board_config import compile_config
from mote_host.bridge import Bridge
from mote_host.config import BrokerSettings
from mote_host.errors import ConfigError, DeviceError, MoteError
from mote_host.serial_port import SerialPort
from mote_host.tasks import end

from mote_emulator.console import Listener
from mote_emulator.firmware import BUNDLE, NOTHING, build, mpy_cross
from mote_emulator.greenhouse import Greenhouse
from mote_emulator.hardware import WITH_LINE
from mote_emulator.image import FLASH_BYTES, LOG_AT, FlashImage
from mote_emulator.machine import HOST_ADDRESS, Machine
from mote_emulator.toolchain import find_board
from mote_emulator.user_tools import tool_files

MAIN = b"""\
# What this board runs; yours to edit. Its configuration is /mote.cfg.
from mote_device.firmware import main

main()
"""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_UART = "UART:1"
_BAUD = 115200


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a device: on which board, with its code frozen in or as files, how much heap.

    `heap_bytes` is 0 for the firmware's default, `time_scale` the simulated world's speed.
    """

    board: str
    frozen: bool = True
    tls: bool = False
    heap_bytes: int = 0
    time_scale: float = 1.0
    micropython: Path | None = None


def flash_of(folder: Path) -> FlashImage:
    """The flash of the device in `folder`; it outlives every run."""
    return FlashImage(folder / "flash.img")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a start needs: the firmware's ELF, the device's flash, and where its broker is."""

    elf: Path
    flash: FlashImage
    broker: BrokerSettings


def prepare(config: Path, options: Options, broker: BrokerSettings | None = None) -> Prepared:
    """Make the firmware and the flash's files as `config` says; the log's region is not touched.

    `broker` goes before the one in `config`, whose login and TLS stay. A main.py beside `config`
    is the board's; without one, that on the flash stays. Raises MoteError.
    """
    wanted = _read(config, options.board, broker)
    files = {"/mote.cfg": wanted.compiled, **wanted.files}
    elf = firmware_for(options, wanted.tls)
    flash = flash_of(config.parent)
    if not flash.path.exists():
        FlashImage.create(flash.path).format()
        flash.path.chmod(0o600)  # the device's key will be on it
    if not options.frozen:
        files = {**_agent(options, wanted.tls), **files}
        if "/main.py" not in {**files, **flash.list_files()}:
            files["/main.py"] = MAIN
    flash.write_files(files)
    return Prepared(elf, flash, wanted.broker)


def firmware_for(options: Options, tls: bool = False) -> Path:
    """The ELF that such a device runs, built if need be. Raises MoteError."""
    agent = BUNDLE if options.frozen else NOTHING
    with_tls = tls or options.tls
    made = build(options.board, agent=agent, tls=with_tls, micropython=options.micropython)
    return made.elf


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a device's folder asks for: /mote.cfg, the user's files by path, its broker and TLS."""

    compiled: bytes
    files: dict[str, bytes]
    broker: BrokerSettings
    tls: bool


def _read(config: Path, board: str, broker: BrokerSettings | None) -> _Wanted:
    found: list[Any] = []

    def adapt(settings: Any) -> None:
        found.append(_broker_of(settings, board, broker))
        found.append(settings)
        _check_log(settings)

    compiled = compile_config(config, adapt)
    where, settings = found
    tools = tool_files(settings.tools.path, settings.tools.modules)
    files = {f"/lib/{place}": data for place, data in tools.items()}
    own = config.parent / "main.py"
    if own.exists():
        files["/main.py"] = own.read_bytes()
    return _Wanted(compiled, files, where, settings.broker.tls)


def _broker_of(settings: Any, board: str, given: BrokerSettings | None) -> BrokerSettings:
    """The broker as this machine sees it; `[broker]` becomes what the board sees of it."""
    own = settings.broker
    if given:
        own.host, own.port, own.serial = given.host, given.port, ""
    if own.serial:
        raise ConfigError(
            f"{settings.path}: [broker] serial: an emulated board is on no port of this machine;"
            " name the broker, host and port"
        )
    seen = BrokerSettings(host=own.host, port=own.port, tls=own.tls, ca_file=own.ca_file)
    if board in WITH_LINE:
        own.serial, own.baud, own.keepalive_s = _UART, _BAUD, 10
        own.tls = False  # that is the bridge's
    elif own.host in _LOOPBACK:
        own.host = HOST_ADDRESS
    return seen


def _check_log(settings: Any) -> None:
    size, room = settings.log.segments * settings.log.segment_kib, FLASH_BYTES - LOG_AT
    if size * 1024 > room:
        raise ConfigError(
            f"{settings.path}: [log] {size} KiB of segments: the flash has {room // 1024} for them"
        )


def _agent(options: Options, tls: bool) -> dict[str, bytes]:
    """The agent as files."""
    link = find_board(options.board).link
    texts = board_files.sources(link, board="greenhouse", tls=tls or options.tls)
    compiled = board_files.compiled(texts, mpy_cross(options.micropython))
    return {f"/lib/{name}": data for name, data in compiled.items()}


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Keep other processes from running the device in `folder`. Raises DeviceError."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as exc:
        raise DeviceError(f"{folder}: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeviceError(f"the device in {folder} is running already") from None
        yield
    finally:
        os.close(handle)


@asynccontextmanager
async def running(
    prepared: Prepared, options: Options, listener: Listener | None = None, **more: Any
) -> AsyncIterator[Machine]:
    """The board, switched on, with its greenhouse and its link; ended with the context.

    `listener` gets what the console prints; `more` are arguments of Machine.
    """
    machine = Machine(
        options.board,
        prepared.elf,
        prepared.flash,
        heap_bytes=options.heap_bytes,
        listener=listener,
        **more,
    )
    async with machine:
        tasks = [asyncio.create_task(Greenhouse(machine.panel).run(options.time_scale))]
        if machine.line:
            port = SerialPort(machine.line.path, _BAUD, rtscts=False)
            bridge = Bridge(port, prepared.broker, lambda event, text: None)
            tasks.append(asyncio.create_task(bridge.run()))
        try:
            yield machine
        finally:
            await end(*tasks)


def show(data: bytes) -> None:
    """Put what the console said on standard output."""
    sys.stdout.buffer.write(data.replace(b"\r", b""))  # of a line's end, half may be in `data`
    sys.stdout.buffer.flush()


async def _run(config: Path, options: Options) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel if task else loop.stop)
    with suppress(asyncio.CancelledError), sole_user(config.parent):
        prepared = prepare(config, options)
        async with running(prepared, options, show) as machine:
            await machine.wait()


def main(arguments: list[str]) -> int:
    """Run one device until a signal; returns the exit code."""
    parser = argparse.ArgumentParser(prog="mote_emulator.device", description=__doc__)
    parser.add_argument("board")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--files", action="store_true", help="code on the file system")
    parser.add_argument("--heap", type=int, default=0, help="bytes of heap")
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("-v", action="store_true", help="accepted: a board says all it does")
    given = parser.parse_args(arguments)
    options = Options(
        given.board, not given.files, heap_bytes=given.heap, time_scale=given.time_scale
    )
    try:
        asyncio.run(_run(given.config, options))
    except MoteError as error:
        print(f"mote: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
