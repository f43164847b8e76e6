"""The harness itself: a run on MicroPython that fails, crashes or hangs is seen as that."""

# cpython only

from types import SimpleNamespace

import interpreter
import pytest

TESTS = interpreter.ROOT / "tests"

SOURCE = {
    "fails": "def test_a():\n    assert 1 == 2\ndef test_b():\n    pass\n",
    "raises": "def test_a():\n    raise ValueError('why')\ndef test_b():\n    pass\n",
    "leaves": "import sys\ndef test_a():\n    sys.exit(3)\ndef test_b():\n    pass\n",
    "hangs": "def test_a():\n    while True: pass\ndef test_b():\n    pass\n",
    "broken": "def test_a(:\n",
    "async": "async def test_a():\n    assert 1 == 2\ndef test_b():\n    pass\n",
}


@pytest.fixture
def hooks(pytestconfig):
    """The conftest of all tests; other folders have files of that name too."""
    return pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))


@pytest.fixture
def run(tmp_path):
    program = interpreter.find()
    if program is None:
        pytest.skip(interpreter.missing())

    def run_source(name):
        path = tmp_path / f"test_{name}.py"
        path.write_text(SOURCE[name])
        return interpreter.run(path, timeout_s=2)

    return run_source


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("fails", "AssertionError", None),
        ("raises", "ValueError: why", None),
        ("leaves", "did not report (exit code 3)", "did not report (exit code 3)"),
        ("hangs", "stopped after 2 s", "did not report"),
        ("broken", "SyntaxError", "did not report"),
        ("async", "not run to its end", None),
    ],
)
def test_what_goes_wrong_there_is_seen_here(run, name, a, b):
    outcome = run(name)
    assert a in outcome.failure("test_a")
    assert (b in outcome.failure("test_b")) if b else outcome.failure("test_b") is None


def test_a_wrong_exit_code_fails_what_passed():
    line = '@@ ["test_a", true, ""]'
    assert interpreter.Outcome(line, 0).failure("test_a") is None
    assert "exit code 139" in interpreter.Outcome(line, 139).failure("test_a")


def test_which_files_are_portable(hooks):
    assert hooks.is_portable(TESTS / "core" / "test_log.py")
    assert not hooks.is_portable(TESTS / "core" / "test_msgpack_reference.py")
    assert not hooks.is_portable(TESTS / "core" / "test_interpreter.py")
    assert not hooks.is_portable(TESTS / "conftest.py")


class Item:
    """An item of a portable file, as far as the hook looks at it."""

    path = TESTS / "core" / "test_log.py"
    callspec = SimpleNamespace(params={"runtime": "micropython"})


@pytest.mark.parametrize(("ci", "outcome"), [("true", "failed"), ("", "skipped")])
def test_without_an_interpreter(hooks, monkeypatch, ci, outcome):
    monkeypatch.setattr(interpreter, "find", lambda: None)
    monkeypatch.setenv("CI", ci)
    raised = pytest.fail.Exception if outcome == "failed" else pytest.skip.Exception
    with pytest.raises(raised, match="pip install 'mote-agent\\[emulator\\]'"):
        hooks.pytest_pyfunc_call(Item)
