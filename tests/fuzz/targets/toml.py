"""The configuration's TOML: whatever it takes, CPython's parser takes with the same value."""

import tomllib
from random import Random

from mote_device import toml

from tests.fuzz.target import Target, hold

_KEYS = (
    "a",
    "b-c",
    "D_1",
    "7",
    '"q k"',
    "'x.y'",
    '"\\u0062"',
    "''",
    "a.b",
    "",
    "\u00e9",
    '"\\u00"',
)
_VALUES = (
    *("0", "-7", "+8", "1_000", "0x1F", "0o17", "0b11", "9223372036854775807", "-0", "01", "1__0"),
    *("1.5", "-2e-3", "6E+2", "1e999", "5e-324", ".5", "1.", "inf", "nan", "true", "fals"),
    *('""', '"a\\tb"', "'#'", '"\\U0001F600"', '"\\uD800"', '"\\x"', '"""x"""', "'''y'''"),
    *("[]", "[1, 2,]", "[[['a']]]", "[[[[[1]]]]]", "[\n1, # x\n]", "[1", "{a = 1}"),
    *("1979-05-27", "07:32:00", "9" * 5000, "0x" + "f" * 300, "1e" + "9" * 300, "[" * 60),
)
_WAYS = ("a = %s", "[%s]\n", "[a.%s]\n", "%s = 1", "[[%s]]", "# %s\r\n", "b = [%s, %s]")


class Toml(Target):
    name = "toml"
    sources = ("device/mote_device/toml.py",)

    def make(self, random: Random) -> bytes:
        lines = [
            self._statement(random, random.randrange(4) == 0) for _ in range(random.randint(1, 6))
        ]
        return random.choice(("\n", "\n", "\r\n", "\n\n")).join(lines).encode()

    def _statement(self, random: Random, odd: bool) -> str:
        blank = random.choice(("", " ", "\t"))
        if odd and random.randrange(2):
            way = random.choice(_WAYS)
            return way.replace("%s", random.choice(_KEYS + _VALUES))
        if not random.randrange(4):
            parts = [self._key(random, odd) for _ in range(random.randint(1, 5 if odd else 3))]
            return f"[{blank}{'.'.join(parts)}{blank}]"
        end = random.choice((" x", "\0", "\x7f", "\r")) if odd else random.choice(("", " # note"))
        return f"{self._key(random, odd)}{blank}={blank}{random.choice(_VALUES)}{end}"

    def _key(self, random: Random, odd: bool) -> str:
        return random.choice(_KEYS) if odd else f"k{random.randrange(99)}"

    def check(self, data: bytes) -> str:
        text = _text(data)
        try:
            values, lines = toml.load(text)
        except toml.TomlError as exc:
            hold(1 <= exc.line <= text.count("\n") + 1, "no such line")
            hold(len(exc.message) < 200 + toml.MAX_LINE, "a long message")
            return str(exc.message)[:24]
        assert len(text) <= toml.MAX_TEXT
        theirs = tomllib.loads(text)
        assert repr(values) == repr(theirs), "tomllib reads other values"
        assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
        return f"{min(len(lines), 9)} names"


def _text(data: bytes) -> str:
    """As UTF-8, with the surrogates that MicroPython lets through; or any characters."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeError:
        return data.decode("latin-1")


def make_target() -> Target:
    """The target."""
    return Toml()
