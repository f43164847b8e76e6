"""Portable test files run on both runtimes: one item for each test function and runtime.

A file in a portable folder is run on MicroPython too, unless it imports something that only
CPython has or says "# cpython only" in its first lines. All functions of a file run in a single
MicroPython process, and the items report what happened there. What takes long says "# slow" there,
or "# slow on micropython": portable files can't import pytest for a mark. All of them run on the
emulated boards, too, unless they say "# not on boards": there is no operating system below them.
What is slow on MicroPython, and tests that are named with "# slow on boards: NAMES", run there
with --all-on-boards only, which `make torture` does.
"""

import os
import re
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent / part) for part in ("core", ".")]

import boards  # noqa: E402 (the line above makes them importable)
import interpreter  # noqa: E402

TESTS = Path(__file__).resolve().parent
PORTABLE = ("core", "device", "ports")
ONLY_CPYTHON = re.compile(
    r"^\s*(?:import|from)\s+(?:pytest|hypothesis|tomllib|msgpack)\b", re.MULTILINE
)
RUNTIMES = ("cpython", "micropython", *boards.NAMES)
_SLOW = re.compile(r"# slow(?! on boards)(?: on (\w+))?")


_outcomes = {}


def pytest_addoption(parser):
    """The long run of `make torture`."""
    parser.addoption("--all-on-boards", action="store_true", help="slow tests on boards, too")


def _on_boards(config, path, name):
    """True if the test of that name in the portable file is to run on boards now."""
    if not boards.runs_here(path):
        return False
    slow = _said_slow(path) or name in boards.too_slow(path)
    return not slow or config.getoption("--all-on-boards")


def is_portable(path):
    """True if the test file is to run on MicroPython too."""
    if path.parent.parent != TESTS or path.parent.name not in PORTABLE:
        return False
    text = path.read_text()
    marked = any("# cpython only" in line for line in text.splitlines()[:20])
    return not marked and not ONLY_CPYTHON.search(text)


def pytest_collection_modifyitems(items):
    """Mark what says of itself that it is slow, and what needs a board."""
    for item in items:
        if _runtime(item) in boards.NAMES:
            item.add_marker(pytest.mark.emulator)
            continue
        said = _said_slow(item.path)
        if said and said[1] in (None, _runtime(item)):
            item.add_marker(pytest.mark.slow)


def _said_slow(path):
    return _SLOW.search("\n".join(path.read_text().splitlines()[:20]))


def pytest_generate_tests(metafunc):
    """Give each test of a portable file one item a runtime."""
    if is_portable(metafunc.definition.path):
        # the functions are plain and take no argument: the runtime is for the hooks below
        metafunc.fixturenames.append("runtime")
        definition = metafunc.definition
        on_boards = _on_boards(metafunc.config, definition.path, metafunc.function.__name__)
        metafunc.parametrize("runtime", RUNTIMES if on_boards else RUNTIMES[:2])


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
    """Judge the item of MicroPython or of a board by the run of its file there."""
    runtime = _runtime(pyfuncitem)
    if runtime in (None, "cpython"):
        return None
    lacks = interpreter.missing() if runtime == "micropython" else boards.missing(runtime)
    if lacks:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(lacks)
    path = pyfuncitem.path
    if (path, runtime) not in _outcomes:
        _outcomes[path, runtime] = (
            interpreter.run(path)
            if runtime == "micropython"
            else boards.run(path, runtime, pyfuncitem.config.getoption("--all-on-boards"))
        )
    failure = _outcomes[path, runtime].failure(pyfuncitem.originalname)
    if failure is not None:
        pytest.fail(failure, pytrace=False)
    return True
