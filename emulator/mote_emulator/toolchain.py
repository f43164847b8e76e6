"""The boards that can be built and emulated, and the programs that this takes."""

import shutil
from dataclasses import dataclass

from mote_host.errors import ConfigError, MoteError


@dataclass(frozen=True, slots=True)
class Board:
    """One emulated board; its `link` to the broker is "lan" or "uart"."""

    name: str
    about: str
    prefix: str
    qemu: str
    build_packages: tuple[str, ...]
    run_packages: tuple[str, ...]
    link: str
    has_tls: bool


BOARDS = {
    board.name: board
    for board in (
        Board(
            "rv32",
            "QEMU virt, RV32IMC (the instruction set of an ESP32-C3), Ethernet, NOR flash",
            "riscv64-unknown-elf-",
            "qemu-system-riscv32",
            ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf"),
            ("qemu-system-misc",),
            "lan",
            True,
        ),
        Board(
            "cortex-m3",
            "QEMU mps2-an385, Cortex-M3, link over a UART, flash in a file of the host",
            "arm-none-eabi-",
            "qemu-system-arm",
            ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi"),
            ("qemu-system-arm",),
            "uart",
            False,
        ),
    )
}
# The interpreter's makefiles, its cross compiler for the host, and its sources.
_HOST = {"make": "make", "gcc": "gcc", "dpkg-source": "dpkg-dev"}


def find_board(name: str) -> Board:
    """The board of that name. Raises ConfigError."""
    if name not in BOARDS:
        raise ConfigError(f"no board {name}: known are {', '.join(BOARDS)}")
    return BOARDS[name]


def missing_to_build(board: Board | None) -> list[str]:
    """The Debian packages that building for it lacks here; None: for the host's tools only."""
    lacks = [package for program, package in _HOST.items() if not shutil.which(program)]
    if board and not shutil.which(f"{board.prefix}gcc"):
        lacks.extend(board.build_packages)
    return lacks


def missing_to_run(board: Board) -> list[str]:
    """The Debian packages that emulating it lacks here."""
    return [] if shutil.which(board.qemu) else list(board.run_packages)


def require(packages: list[str], what: str) -> None:
    """Raise MoteError that says how to install them, if there are any."""
    if packages:
        raise MoteError(f"{what} needs more than is here: apt-get install {' '.join(packages)}")
