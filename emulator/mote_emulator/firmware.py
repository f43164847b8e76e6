"""Building a board's firmware: MicroPython out of tree, with the agent frozen in.

Two caches, both by content. Objects lie in a folder for each configuration, compiler and set of
sources, in which make finds what a change concerns: one of the agent's Python compiles one file
and links. A C file that has come or gone makes another folder: make would keep the names that it
defined. Finished firmware lies under the digest of all that goes into it. The same input gives the
same bytes, in whatever folder.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import platformdirs
from mote_host import board_files
from mote_host.errors import ConfigError, MoteError

from mote_emulator.debian import run, say
from mote_emulator.locked import locked
from mote_emulator.modules import device_modules
from mote_emulator.sources import Sources, checkout, debian_sources
from mote_emulator.toolchain import Board, find_board, missing_to_build, require

FILES = Path(__file__).parent / "firmware"
_FOR_OBJECTS = (".h", ".mk")  # make does not see that these have changed
_FOR_LINKING = (".c", ".ld", ".py")
_BUILD_S = 1200.0

BUNDLE, MODULES, NOTHING = "bundle", "modules", "nothing"
"""What of the agent is frozen in."""


@dataclass(frozen=True, slots=True)
class Firmware:
    """What a build gave: the image that the emulator loads, and its linker map."""

    board: str
    elf: Path
    map: Path


def cache_folder() -> Path:
    """Where builds are kept: `$MOTE_CACHE`, a checkout's build/, else the user's cache."""
    if named := os.environ.get("MOTE_CACHE"):
        return Path(named)
    root = FILES.parents[2]
    if (root / "pyproject.toml").exists() and (root / "core/mote").exists():
        return root / "build"
    return platformdirs.user_cache_path("mote")


def build(
    name: str,
    *,
    micropython: Path | None = None,
    agent: str = BUNDLE,
    tls: bool = False,
    cache: Path | None = None,
) -> Firmware:
    """Firmware for the board `name`, from the cache if nothing that goes into it has changed.

    `micropython` is a checkout to build from in place of Debian's sources. `agent` is BUNDLE, the
    agent as it ships; MODULES, its modules as they are written, which tests import; or NOTHING but
    the start, for an agent on the file system. Progress goes to standard error. Raises MoteError.
    """
    board = find_board(name)
    if tls and not board.has_tls:
        raise ConfigError(f"the board {name} has no network, and so no TLS")
    require(missing_to_build(board), f"building for {name}")
    cache = cache or cache_folder()
    sources = _sources(micropython, cache)
    compiler = run([f"{board.prefix}gcc", "--version"]).splitlines()[0]
    texts = _texts(board, agent, tls)
    with _snapshot(cache) as files:
        names = sorted(str(path.relative_to(files)) for path in files.rglob("*.c"))
        setting = f"{name} {sources.version} {compiler} tls={tls} {names}"
        base = _digest(setting, files, _FOR_OBJECTS)
        folder = cache / "firmware" / f"{name}-{_digest(base, files, _FOR_LINKING, texts)}"
        made = Firmware(name, folder / "firmware.elf", folder / "firmware.map")
        if not made.elf.exists():
            with locked(cache / "objects" / f"{name}-{base}") as objects:
                if not made.elf.exists():
                    say(f"building firmware for {name} (half a minute, the first time)")
                    _copy(files, objects / "files")
                    _make(name, sources, objects, texts, _cross_compiler(sources, cache), tls)
                    _keep(objects / "build", folder)
                    say(f"built {made.elf}")
    return made


def _texts(board: Board, agent: str, tls: bool) -> dict[str, str]:
    """The Python that is frozen in, by path."""
    if agent == BUNDLE:
        return board_files.sources(board.link, board="greenhouse", tls=tls, frozen=True)
    return device_modules() if agent == MODULES else {}


@contextmanager
def _snapshot(cache: Path) -> Iterator[Path]:
    """A copy of the firmware's files: what is digested is what is built, whoever edits them."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        copy = Path(scratch, "files")
        shutil.copytree(FILES, copy, ignore=shutil.ignore_patterns("__pycache__"))
        yield copy


def _copy(files: Path, place: Path) -> None:
    """Copy what differs only: make goes by the time of a file."""
    kept = set()
    for path in files.rglob("*"):
        target = place / path.relative_to(files)
        kept.add(target)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif not target.exists() or target.read_bytes() != path.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for path in sorted(place.rglob("*"), reverse=True):
        if path not in kept:
            path.rmdir() if path.is_dir() else path.unlink()


def _keep(build: Path, folder: Path) -> None:
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    for name in ("firmware.elf", "firmware.map"):
        shutil.copyfile(build / name, draft / name)
    draft.rename(folder)  # at once: a folder that is there is whole


def _digest(
    start: str, folder: Path, kinds: tuple[str, ...], more: dict[str, str] | None = None
) -> str:
    digest = sha256(start.encode())
    for path in sorted(folder.rglob("*")):
        if path.suffix in kinds:
            digest.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    for name, text in sorted((more or {}).items()):
        digest.update(f"\0{name}\0{text}".encode())
    return digest.hexdigest()[:16]


def mpy_cross(micropython: Path | None = None, cache: Path | None = None) -> Path:
    """The program that compiles .py to .mpy files for this firmware. Raises MoteError."""
    require(missing_to_build(None), "building mpy-cross")
    cache = cache or cache_folder()
    return _cross_compiler(_sources(micropython, cache), cache)


def _sources(micropython: Path | None, cache: Path) -> Sources:
    return checkout(micropython) if micropython else debian_sources(cache / "debian")


def _cross_compiler(sources: Sources, cache: Path) -> Path:
    digest = sha256(sources.version.encode()).hexdigest()[:16]
    with locked(cache / "objects" / f"mpy-cross-{digest}") as folder:
        program = folder / "build" / "mpy-cross"
        if not program.exists():
            say("building mpy-cross")
            _run_make(sources.folder / "mpy-cross", folder, [f"BUILD={folder}/build"])
    return program


def _make(
    name: str,
    sources: Sources,
    objects: Path,
    texts: dict[str, str],
    mpy_cross: Path,
    tls: bool,
) -> None:
    files, agent = objects / "files", objects / "agent"
    agent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=objects) as scratch:
        for place, text in texts.items():
            Path(scratch, place).parent.mkdir(parents=True, exist_ok=True)
            Path(scratch, place).write_text(text, encoding="utf-8")
        _copy(Path(scratch), agent)
    manifest = objects / "manifest.py"
    frozen = "".join(f'freeze("{folder}", opt=3)\n' for folder in (files / "frozen", agent))
    manifest.write_text((files / "manifest.py").read_text() + frozen)
    # its rule sees that a module is newer, but not that one has gone
    (objects / "build/frozen_content.c").unlink(missing_ok=True)
    _run_make(
        sources.folder / "ports/qemu",
        objects,
        [
            f"BOARD={name}",
            f"BOARD_DIR={files / 'boards' / name}",
            f"BUILD={objects}/build",
            f"FROZEN_MANIFEST={manifest}",
            f"MICROPY_MPYCROSS={mpy_cross}",
            f"MICROPY_MPYCROSS_DEPENDENCY={mpy_cross}",
            f"MOTE_TLS={int(tls)}",
        ],
    )


def _run_make(where: Path, objects: Path, arguments: list[str]) -> None:
    log = objects / "make.log"
    try:
        code = _run_to(log, ["make", "-C", str(where), f"-j{os.cpu_count() or 1}", *arguments])
    except BaseException:  # Ctrl-C, too: what is half written looks like new to make
        shutil.rmtree(objects / "build", ignore_errors=True)
        raise
    if code:
        shutil.rmtree(objects / "build", ignore_errors=True)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise MoteError(f"make failed; its output is {log}, and ends with\n{tail}")


def _run_to(log: Path, command: list[str]) -> int:
    """Run a command that writes to `log`; returns its exit code. No child of it outlives this."""
    with log.open("w") as out:
        process = subprocess.Popen(  # noqa: S603 (a list, no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
    try:
        return process.wait(_BUILD_S)
    except subprocess.TimeoutExpired as exc:
        raise MoteError(f"make took more than {_BUILD_S:.0f} s; its output is {log}") from exc
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
