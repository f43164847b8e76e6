"""An emulated board: QEMU as a process, with the board's console, world and link at hand.

All that joins the two processes is inherited: sockets for console and QMP, the RAM, the UART's
line. So nothing has a name that could be left behind, and a QEMU whose parent dies is killed by
the kernel. Its input is never the terminal, and Ctrl-C does not reach it: it is in a session of
its own.
"""

import asyncio
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mote_emulator.console import BoardError, Console, Listener
from mote_emulator.hardware import NETWORK, WITH_LINE, Wiring, command
from mote_emulator.image import FlashImage
from mote_emulator.line import Line
from mote_emulator.panel import Panel
from mote_emulator.qmp import Qmp
from mote_emulator.toolchain import find_board, missing_to_run, require

HOST_ADDRESS = "10.0.2.2"
"""Where a board with a network finds this machine's loopback."""


class Machine:
    """One board. `async with` powers it on, and ends it and all that belongs to it.

    `heap_bytes` is 0 for the firmware's default. `time_us` is the Unix time at each power-on, None
    for the host's. `entropy` is a file of random bytes in place of the host's source. `icount` is
    the shift of QEMU's -icount: each instruction takes 2^shift ns of the board's time. A `panel`
    that is given is the caller's to close. `listener` gets what the console prints.
    """

    def __init__(
        self,
        board: str,
        elf: Path,
        flash: FlashImage,
        *,
        panel: Panel | None = None,
        heap_bytes: int = 0,
        time_us: int | None = None,
        entropy: Path | None = None,
        icount: int | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.board = find_board(board)
        self.flash = flash
        self.panel = panel or Panel()
        self.heap_bytes = heap_bytes
        self.time_us = time_us
        self.console = Console(listener)
        self.line = Line() if board in WITH_LINE else None
        self._own_panel = panel is None
        self._elf = elf
        self._entropy = entropy
        self._icount = icount
        self._process: asyncio.subprocess.Process | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self._qmp: Qmp | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Switch the power on. Returns when QEMU runs; the firmware has only begun.

        Raises BoardError, and MoteError if QEMU is not installed.
        """
        require(missing_to_run(self.board), f"emulating {self.board.name}")
        await self.kill()
        self.panel.power_on(self.heap_bytes, self.time_us)
        if self.line:
            self.line.lose()
        try:
            await self._spawn()
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """Cut the power, by SIGKILL. Flash, panel and line stay as they are."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await self.console.detach()
        if self._qmp is not None:
            await self._qmp.close()
            self._qmp = None

    async def power_cut(self) -> None:
        """Cut the power and switch it on again."""
        await self.kill()
        await self.start()

    async def reset(self) -> None:
        """Press the reset button: RAM and world stay, the firmware starts anew."""
        self.panel.announce_reset()
        await self.qmp.execute("system_reset")

    async def close(self) -> None:
        """Cut the power and give everything back; once more does nothing."""
        await self.kill()
        if self._errors.closed:
            return
        if self._own_panel:
            self.panel.close()
        if self.line:
            self.line.close()
        self._errors.close()

    async def wait(self) -> None:
        """Wait until QEMU ends by itself. Raises BoardError with what it said."""
        if self._process is not None:
            await self._process.wait()
        raise BoardError(f"QEMU ended: {self._complaint()}")

    async def set_link(self, up: bool) -> None:
        """Unplug the network's cable, or plug it in."""
        if self.line:
            raise BoardError(f"{self.board.name} has no network: its link is the line")
        await self.qmp.execute("set_link", name=NETWORK, up=up)

    async def wait_for(self, pattern: str, timeout_s: float = 20.0) -> str:
        """Wait for a text on the console; see Console.wait_for."""
        return await self.console.wait_for(pattern, timeout_s)

    async def execute(self, code: str, timeout_s: float = 20.0) -> str:
        """Run Python on the board's REPL; see Console.execute."""
        return await self.console.execute(code, timeout_s)

    @property
    def qmp(self) -> Qmp:
        """QEMU's monitor. Raises BoardError if the board is off."""
        if self._qmp is None:
            raise BoardError("the board is off")
        return self._qmp

    @property
    def pid(self) -> int:
        """QEMU's process. Raises BoardError if the board is off."""
        if self._process is None or self._process.returncode is not None:
            raise BoardError("the board is off")
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time that QEMU has used since power-on."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Memory of QEMU that is resident, the board's RAM and flash in it."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    async def _spawn(self) -> None:
        console, for_console = socket.socketpair()
        qmp, for_qmp = socket.socketpair()
        with for_console, for_qmp:
            wiring = Wiring(
                elf=self._elf,
                flash=self.flash.path,
                ram=self.panel.file,
                console=for_console.fileno(),
                qmp=for_qmp.fileno(),
                line=self.line.file if self.line else None,
                entropy=self._entropy,
                icount=self._icount,
            )
            self._errors.seek(0)
            self._errors.truncate()
            self._process = await asyncio.create_subprocess_exec(
                *command(self.board, wiring),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=wiring.inherited,
                start_new_session=True,
            )
        await self.console.attach(*await asyncio.open_unix_connection(sock=console))
        self._qmp = Qmp(*await asyncio.open_unix_connection(sock=qmp))
        try:
            await self._qmp.open()
        except BoardError as exc:
            raise BoardError(f"QEMU did not start: {self._complaint() or exc}") from exc

    def _complaint(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()
