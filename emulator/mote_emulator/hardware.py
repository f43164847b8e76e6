"""QEMU's command line for each board: what is built in, and where its wires end."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from mote_emulator.panel import RAM_BYTES
from mote_emulator.toolchain import Board

NETWORK = "net"
"""The name of a board's network card in QMP."""

WITH_LINE = ("cortex-m3",)
"""Boards whose link is a UART's line, in place of a network."""

_RANDOM = Path("/dev/urandom")


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a board is made from; numbers are descriptors that QEMU inherits.

    `icount` is the shift of -icount, or None for the host's clock.
    """

    elf: Path
    flash: Path
    ram: int
    console: int
    qmp: int
    line: int | None
    entropy: Path | None
    icount: int | None

    @property
    def inherited(self) -> list[int]:
        """The descriptors."""
        ends = [self.ram, self.console, self.qmp]
        return ends if self.line is None else [*ends, self.line]


def command(board: Board, wiring: Wiring) -> list[str]:
    """The command that runs the board."""
    # setpriv has the kernel kill QEMU when the thread that started it ends, and becomes QEMU
    bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    return [*bound, board.qemu, *_common(wiring), *_BOARDS[board.name](wiring)]


def _common(wiring: Wiring) -> list[str]:
    ram = f"memory-backend-file,id=ram,size={RAM_BYTES},share=on"
    clock = [] if wiring.icount is None else ["-icount", f"shift={wiring.icount}"]
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-m", "16M"),
        *("-object", f"{ram},mem-path=/proc/self/fd/{wiring.ram}"),
        *("-chardev", f"socket,id=console,fd={wiring.console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,fd={wiring.qmp}", "-mon", "chardev=qmp,mode=control"),
        *("-action", "watchdog=reset"),
        *clock,
    ]


def _rv32(wiring: Wiring) -> list[str]:
    random = f"rng-random,id=random,filename={_quoted(wiring.entropy or _RANDOM)}"
    return [
        *("-machine", "virt,memory-backend=ram", "-bios", str(wiring.elf)),
        *("-drive", f"if=pflash,unit=1,format=raw,file={_quoted(wiring.flash)}"),
        *("-global", "virtio-mmio.force-legacy=false"),
        *("-netdev", f"user,id={NETWORK}", "-device", f"virtio-net-device,netdev={NETWORK}"),
        *("-object", random, "-device", "virtio-rng-device,rng=random"),
        *("-device", "i6300esb"),
    ]


def _cortex_m3(wiring: Wiring) -> list[str]:
    semihosting = f"enable=on,target=native,arg=flash={_quoted(wiring.flash)}"
    if wiring.entropy:
        semihosting += f",arg=entropy={_quoted(wiring.entropy)}"
    return [
        *("-machine", "mps2-an385,memory-backend=ram", "-kernel", str(wiring.elf)),
        *("-semihosting-config", semihosting),
        *("-add-fd", f"fd={wiring.line},set=1"),
        *("-chardev", "serial,id=line,path=/dev/fdset/1", "-serial", "chardev:line"),
    ]


_BOARDS = {"rv32": _rv32, "cortex-m3": _cortex_m3}


def _quoted(path: Path) -> str:
    """A path in one of QEMU's options, where commas stand between keys."""
    return str(path.resolve()).replace(",", ",,")
