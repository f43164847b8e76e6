"""The agent's modules as they are written, as far as a board can run them."""

from pathlib import Path

from mote_host.demo.runtimes import package_folders

_PACKAGES = ("mote", "mote_ports", "mote_device")
# What a board never imports: the process around the agent on Linux, and the simulated world.
_COMPUTERS = (
    "mote_ports/cpython/",
    "mote_ports/files.py",
    "mote_ports/lock.py",
    "mote_device/__main__.py",
    "mote_device/config.py",
    "mote_device/greenhouse.py",
    "mote_device/limits.py",
    "mote_device/process.py",
    "mote_device/toml.py",
    "mote_device/transport.py",
    "mote_device/world.py",
)


def device_modules() -> dict[str, str]:
    """Their texts, by their path in a file system."""
    found: dict[str, str] = {}
    for root in package_folders():
        for package in _PACKAGES:
            for path in sorted(Path(root, package).rglob("*.py")):
                name = str(path.relative_to(root))
                if not name.startswith(_COMPUTERS):
                    found[name] = path.read_text(encoding="utf-8")
    return found
