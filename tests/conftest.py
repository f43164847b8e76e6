"""Portable test files run on both runtimes: one item for each test function and runtime.

A file in a portable folder is run on MicroPython too, unless it imports something that only
CPython has or says "# cpython only" in its first lines. All functions of a file run in a single
MicroPython process, and the items report what happened there. What takes long says "# slow" there,
or "# slow on micropython": portable files can't import pytest for a mark.
"""

import os
import re
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PORTABLE = ("core", "device", "ports")
ONLY_CPYTHON = re.compile(
    r"^\s*(?:import|from)\s+(?:pytest|hypothesis|tomllib|msgpack)\b", re.MULTILINE
)
RUNTIMES = ("cpython", "micropython")
_SLOW = re.compile(r"# slow(?: on (\w+))?")

sys.path[:0] = [str(TESTS / "core"), str(TESTS)]

import interpreter  # noqa: E402 (the line above makes it importable)

_outcomes = {}


def is_portable(path):
    """True if the test file is to run on MicroPython too."""
    if path.parent.parent != TESTS or path.parent.name not in PORTABLE:
        return False
    text = path.read_text()
    marked = any("# cpython only" in line for line in text.splitlines()[:20])
    return not marked and not ONLY_CPYTHON.search(text)


def pytest_collection_modifyitems(items):
    """Mark what says of itself that it is slow."""
    for item in items:
        said = _SLOW.search("\n".join(item.path.read_text().splitlines()[:20]))
        if said and said[1] in (None, _runtime(item)):
            item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc):
    """Give each test of a portable file one item a runtime."""
    if is_portable(metafunc.definition.path):
        # the functions are plain and take no argument: the runtime is for the hooks below
        metafunc.fixturenames.append("runtime")
        metafunc.parametrize("runtime", RUNTIMES)


def _runtime(item):
    """The runtime that a portable item is for; None for every other item."""
    spec = getattr(item, "callspec", None) if is_portable(item.path) else None
    return spec.params.get("runtime") if spec else None


@pytest.fixture(autouse=True)
def _fresh_folder(request, tmp_path_factory, monkeypatch):
    """MOTE_TEST_TMP names an empty folder; on MicroPython the process gets its own."""
    if _runtime(request.node) == "cpython":
        monkeypatch.setenv("MOTE_TEST_TMP", str(tmp_path_factory.mktemp("mote")))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Judge the item of MicroPython by the run of its file there."""
    if _runtime(pyfuncitem) != "micropython":
        return None
    program = interpreter.find()
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(interpreter.MISSING, pytrace=False)
        pytest.skip(interpreter.MISSING)
    path = pyfuncitem.path
    if path not in _outcomes:
        _outcomes[path] = interpreter.run(path, program)
    failure = _outcomes[path].failure(pyfuncitem.originalname)
    if failure is not None:
        pytest.fail(failure, pytrace=False)
    return True
