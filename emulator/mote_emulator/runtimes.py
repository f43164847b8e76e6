"""The emulated boards as runtimes of the demo: `mote demo --runtime rv32`."""

import sys
from pathlib import Path

from mote_host.demo.runtimes import device_environment

from mote_emulator.firmware import build
from mote_emulator.logs import export_log
from mote_emulator.toolchain import find_board, missing_to_build, missing_to_run


class _EmulatedBoard:
    """A device whose process is an emulator."""

    name = ""

    def missing(self) -> str | None:
        """The Debian packages that are not installed."""
        board = find_board(self.name)
        lacks = missing_to_build(board) + missing_to_run(board)
        return f"Debian packages: apt-get install {' '.join(lacks)}" if lacks else None

    def command(self, config: Path) -> list[str]:
        """`python -m mote_emulator.device BOARD`; the firmware is built first, if need be."""
        build(self.name)
        module = "mote_emulator.device"
        return [sys.executable, "-m", module, self.name, "--config", str(config)]

    def environment(self) -> dict[str, str]:
        """Where the packages are."""
        return device_environment()

    def log_folder(self, folder: Path) -> Path:
        """The log, read from the flash at this moment."""
        return export_log(folder)


class RV32(_EmulatedBoard):
    """QEMU's virt board."""

    name = "rv32"


class CortexM3(_EmulatedBoard):
    """QEMU's mps2-an385."""

    name = "cortex-m3"
