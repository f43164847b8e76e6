"""The agent's code as a board gets it: few files, frozen into its firmware or on its file system.

/lib/mote_device/firmware.mpy    all of the agent, with `main`
/lib/mote/tools.mpy              what the user's own tools import
/lib/mote/__init__.mpy           __version__
"""

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import mote
import mote.tools

from mote_host.bundle import bundle
from mote_host.demo.runtimes import package_folders
from mote_host.errors import ConfigError, MoteError
from mote_host.scopes import Modules

MAIN = "mote_device.firmware"
_PACKAGES = ("mote", "mote_ports", "mote_device")
# What functions import, and the bundle is to hold.
_LINKS = {"lan": ("mote_ports.micropython.lan",), "uart": ("mote_ports.serial",)}
_TLS = ("mote_ports.refusals", "mote_ports.micropython.trust")
_BOARDS = {"none": (), "greenhouse": ("mote_device.greenhouse_pins",)}
_ALWAYS = ("mote_ports.blocks",)
# What is needed for a moment, or perhaps never, and takes no RAM else.
_APART = (
    *("mote.recovery", "mote.recovered", "mote_ports.reasons"),
    *("mote_device.boards", "mote_device.loader", "mote_device.settings"),
)
# What only a turn needs. Frozen, it costs next to nothing to import it again for each one.
_FOR_TURNS = (
    *("mote.body", "mote.lookup"),
    *("mote_ports.answers", "mote_ports.inbox", "mote_ports.text"),
)
_LEVEL = 3  # of mpy-cross's optimisation: no line numbers
_COMPILE_S = 60.0

_TOOLS = (
    *("tool", "integer", "number", "boolean", "text", "choice"),
    *("READ", "IDEMPOTENT", "ONCE", "Tool"),
)


def sources(
    link: str, *, board: str = "none", tls: bool = False, frozen: bool = False
) -> dict[str, str]:
    """{path below /lib: text} of the agent for boards of that `link`, "lan" or "uart".

    `board` is what `[device] board` says. `frozen`: the texts are for a firmware, not for files.
    Raises ConfigError for names that there are not.
    """
    more, apart = _besides(link, board, tls, frozen)
    public = {MAIN: ("main",), "mote.tools": _TOOLS, "mote.records": _TOOLS}
    modules = bundle(_plain(), MAIN, more=more, apart=apart, public=public, frozen=frozen)
    return {
        **{name.replace(".", "/") + ".py": text for name, text in modules.items()},
        "mote_device/__init__.py": "",
        "mote_ports/__init__.py": "",
        "mote/__init__.py": f"__version__ = {mote.__version__!r}\n",
        "mote/tools.py": f"from {MAIN} import {', '.join(_TOOLS)}\n",
    }


def written(link: str, *, board: str = "none", tls: bool = False) -> dict[str, str]:
    """{path: text} of the modules that `sources` makes these texts from, as they are written."""
    texts = _plain()
    more, apart = _besides(link, board, tls, False)
    modules = Modules(texts, apart)
    for name in (*more, MAIN):
        modules.load(name)
    names = {name.replace(".", "/") for name in (*modules.loaded, *apart)}
    return {path: text for path, text in texts.items() if path.removesuffix(".py") in names}


def _besides(
    link: str, board: str, tls: bool, frozen: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is bundled besides MAIN and its imports, and what stays apart."""
    if link not in _LINKS or board not in _BOARDS:
        raise ConfigError(f"no such link or board: {link}, {board}")
    more = _ALWAYS + _LINKS[link] + _BOARDS[board]
    apart = _APART + (_TLS if tls else ())
    return (more, apart + _FOR_TURNS) if frozen else (more + _FOR_TURNS, apart)


def _plain() -> dict[str, str]:
    """The modules of the agent as they are written."""
    found = {}
    for root in package_folders():
        for package in _PACKAGES:
            for path in sorted(Path(root, package).rglob("*.py")):
                found[str(path.relative_to(root))] = path.read_text(encoding="utf-8")
    return found


def compiled(texts: Mapping[str, str], mpy_cross: Path) -> dict[str, bytes]:
    """{path: bytes} of these sources as .mpy files. Raises MoteError if one does not compile."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="mote-mpy-") as scratch:
        source, out = Path(scratch, "in.py"), Path(scratch, "out.mpy")
        for path, text in texts.items():
            source.write_text(text, encoding="utf-8")
            name = Path(path).stem  # what tracebacks show
            options = [f"-O{_LEVEL}", "-s", name, "-o", str(out)]
            done = subprocess.run(  # noqa: S603 (a list, no shell)
                [str(mpy_cross), *options, str(source)],
                capture_output=True,
                text=True,
                timeout=_COMPILE_S,
                check=False,
            )
            if done.returncode:
                raise MoteError(f"{path}: {done.stderr.strip() or done.stdout.strip()}")
            found[path.removesuffix(".py") + ".mpy"] = out.read_bytes()
    return found
