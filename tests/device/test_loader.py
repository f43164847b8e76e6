"""Tool modules of the user, loaded by name."""

import os
import sys

from helpers import raises
from mote_device.config import ConfigError
from mote_device.loader import load_tools

_TOOL = """from mote.tools import READ, tool
@tool("Roll.", READ%s)
def %s():
    return 4
"""


def _folder():
    path = os.getenv("MOTE_TEST_TMP") + "/tools"
    try:
        os.mkdir(path)
    except OSError:
        pass
    return path


def _write(path, text):
    with open(_folder() + "/" + path, "w") as f:
        f.write(text)


def _names(*modules):
    before = list(sys.path)
    try:
        return [item.name for item in load_tools([], [_folder()], modules).tools]
    finally:
        sys.path[:] = before


def test_a_module_may_be_in_a_package():
    try:
        os.mkdir(_folder() + "/toolbox")
    except OSError:
        pass
    _write("toolbox/__init__.py", "")
    _write("toolbox/dice.py", _TOOL % ("", "roll"))
    assert _names("toolbox.dice") == ["roll"]


def test_a_module_that_can_not_be_loaded_is_named_with_the_reason():
    _write("half.py", _TOOL % (", timeout_s=0.5", "half"))
    _write("none.py", "x = 1\n")
    for module, why in (
        ("half", "half failed: ValueError: tool half: timeout_s must be a whole number"),
        ("none", "none declares no tool"),
        ("absent_tools", "absent_tools can't be imported"),
    ):
        assert why in str(raises(ConfigError, _names, module))


def test_two_tools_of_one_name_are_refused():
    _write("one.py", _TOOL % ("", "same"))
    _write("two.py", _TOOL % ("", "same"))
    assert "two tools are named same" in str(raises(ConfigError, _names, "one", "two"))
