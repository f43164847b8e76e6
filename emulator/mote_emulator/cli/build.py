"""`mote build`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from mote_host.cli.common import TERMINATED, console, emit, json_option
from mote_host.errors import ConfigError
from rich.table import Table

from mote_emulator.firmware import BUNDLE, NOTHING, mpy_cross
from mote_emulator.firmware import build as build_firmware
from mote_emulator.sizes import Sizes, measure, weights
from mote_emulator.toolchain import BOARDS, find_board

board_type = click.Choice(list(BOARDS))
micropython_option = click.option(
    "--micropython",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="A MicroPython checkout to build from; it is only read. By default Debian's source"
    " packages are fetched.",
)


@click.group()
def build() -> None:
    """Build what devices run."""


@build.command()
@click.option("--board", "name", type=board_type, required=True, help="What it is built for.")
@micropython_option
@click.option("--no-agent", is_flag=True, help="Without the agent: it comes from the file system.")
@click.option("--tls", is_flag=True, help="With TLS; rv32 only.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Copy the image (ELF) to this file; without it, it stays in the cache.",
)
@json_option
def firmware(
    name: str,
    micropython: Path | None,
    no_agent: bool,
    tls: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Build the firmware of an emulated board, with the agent frozen in.

    MicroPython is compiled out of tree with Debian's cross compilers; nothing is patched. The
    same input gives the same bytes; what was built before comes from the cache ($MOTE_CACHE, or
    build/ of a checkout, or the user's cache).

    The sizes are printed: text is flash, data and bss are RAM, and the heap is beside them. The
    agent is frozen in as one bundle, in which its modules can't be told apart: the share of each
    is that of its own .mpy file in the sum of all.

    \b
    mote build firmware --board rv32
    mote build firmware --board cortex-m3 --micropython ~/micropython --out firmware.elf
    """
    if out and not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}")
    with interruptible():
        agent = NOTHING if no_agent else BUNDLE
        made = build_firmware(name, micropython=micropython, agent=agent, tls=tls)
        modules = {} if no_agent else weights(find_board(name), tls, mpy_cross(micropython))
    if out:
        _copy(made.elf, out)
    sizes, image = measure(made), str(out or made.elf)
    if as_json:
        emit({"board": name, "image": image, **sizes.as_json(), "modules_mpy": modules})
    else:
        _show(sizes, modules)
        console().print(f"{name}: {image}", soft_wrap=True, markup=False)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, or a window that is closed, ends what takes long as Ctrl-C does: it cleans up."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


def _copy(elf: Path, out: Path) -> None:
    try:
        out.write_bytes(elf.read_bytes())
    except OSError as exc:
        raise ConfigError(f"--out {out}: {exc.strerror}") from exc


def _show(sizes: Sizes, modules: dict[str, int]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    whole = sum(modules.values())
    for module, size in sorted(modules.items(), key=lambda row: -row[1]):
        table.add_row(f"{size:,}", f"{100 * size / whole:4.1f} %", module)
    if modules:
        table.add_row(f"[bold]{whole:,}", "", "[bold]the agent's modules, each alone as .mpy")
        table.add_row()
    for size, what in (
        (sizes.agent, "the agent, frozen in as one bundle"),
        (sizes.python, "asyncio and the start, frozen in"),
        (sizes.names, "names and texts of both"),
        (sizes.rest, "MicroPython, libraries and drivers"),
    ):
        if size:
            table.add_row(f"{size:,}", "", what)
    out = console()
    out.print(table)
    out.print(f"text {sizes.text:,}, data {sizes.data:,}, bss {sizes.bss:,} bytes")
