"""How large a firmware is, what of it is the agent, and what each of the agent's modules weighs.

The agent is frozen in as one bundle, in which modules cannot be told apart any more. So what is
read from the image is the agent as a whole, and a module's weight is the size of a .mpy file of
its own: of the module as it is written, compiled alone, with its names.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from mote_host import board_files

from mote_emulator.debian import run
from mote_emulator.firmware import Firmware
from mote_emulator.toolchain import Board, find_board

_PACKAGES = ("mote", "mote_ports", "mote_device")
_READ_ONLY = frozenset("rRdDtT")  # kinds of nm; some linker scripts put constants beside code
# An object's part in the linker's map; a long section's name has a line of its own.
_PART = re.compile(r"^ \.(\S+)\s+0x[0-9a-f]+\s+(0x[0-9a-f]+) \S*/frozen_content\.o$", re.MULTILINE)
_LOADED = ("text", "rodata", "srodata", "data", "sdata")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes. `text` is code and constants (flash), `data` and `bss` are RAM.

    Of `text`, `agent` is the agent's bytecode and constants, `python` that of asyncio and of what
    starts a board, `names` the names and texts of both, and `rest` the interpreter in C.
    """

    text: int
    data: int
    bss: int
    agent: int
    python: int
    names: int
    rest: int

    def as_json(self) -> dict[str, int]:
        """For `--json`."""
        return asdict(self)


def measure(firmware: Firmware) -> Sizes:
    """The sizes of one build. Raises MoteError."""
    prefix = find_board(firmware.board).prefix
    table = run([f"{prefix}size", str(firmware.elf)]).splitlines()[1].split()
    text, data, bss = (int(part) for part in table[:3])
    modules = _modules(run([f"{prefix}nm", "-S", "-t", "d", str(firmware.elf)]))
    agent = sum(size for module, size in modules.items() if _is_agents(module))
    python = sum(modules.values()) - agent
    frozen = _frozen(firmware.map.read_text(errors="replace"))
    return Sizes(text, data, bss, agent, python, frozen - agent - python, text - frozen)


def weights(board: Board, tls: bool, mpy_cross: Path) -> dict[str, int]:
    """{path: bytes} of each module that is in that board's agent, alone as a .mpy file."""
    texts = board_files.written(board.link, board="greenhouse", tls=tls)
    compiled = board_files.compiled(texts, mpy_cross)
    return {path: len(compiled[path.removesuffix(".py") + ".mpy"]) for path in sorted(texts)}


def _frozen(linker_map: str) -> int:
    """Bytes of all Python that is frozen in, names included."""
    placed = linker_map.partition("Linker script and memory map")[2]
    parts = (match.groups() for match in _PART.finditer(placed))
    return sum(int(size, 16) for name, size in parts if name.split(".")[0] in _LOADED)


def _modules(symbols: str) -> dict[str, int]:
    """Bytes of each frozen module, by the symbols that mpy-tool makes of its name."""
    found = [line.split() for line in symbols.splitlines()]
    sizes = {parts[3]: int(parts[1]) for parts in found if _is_constant(parts)}
    names = [name.removeprefix(_MODULE) for name in sizes if name.startswith(_MODULE)]
    modules = dict.fromkeys(sorted(names, key=len, reverse=True), 0)
    for symbol, size in sizes.items():
        module = next((name for name in modules if _belongs(symbol, name)), None)
        if module:
            modules[module] += size
    return modules


_MODULE = "frozen_module_"
_KINDS = (
    _MODULE,
    "children_",
    "const_obj_",
    "const_obj_table_data_",
    "const_qstr_table_data_",
    "fun_data_",
    "proto_fun_",
    "raw_code_",
)


def _is_constant(parts: list[str]) -> bool:
    return len(parts) == 4 and parts[2] in _READ_ONLY  # address, size, kind, name


def _belongs(symbol: str, module: str) -> bool:
    return any(symbol == kind + module or symbol.startswith(f"{kind}{module}_") for kind in _KINDS)


def _is_agents(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}_") for package in _PACKAGES)
