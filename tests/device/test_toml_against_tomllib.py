"""Whatever the subset accepts, CPython's tomllib accepts with the same value."""

import random
import tomllib

from mote_device import toml

TABLES = [
    "",
    "a = \"x\"\nb = 'y' # c\n",
    "a = 1\r\n[t]\r\nb = [1,\r\n2,]\r\n",
    "[a.b]\nx = 1\n[a]\ny = 2\n[a.c.d]\nz = 3",
    "[a]\n[b]\n[a.c]",
    "a = [[1, 'x'], [2.5, [true, false]], []]",
    "a = [ # one\n\n1 , # two\n  2\n,\n]\nb = 1",
    "a = 0\nb = -0\nc = +0\nd = 0.0\ne = -0.0\nf = 0e0\ng = 5e-324\nh = 1e05",
    "a = 0xdead_BEEF\nb = 0o7_7\nc = 0b1_0\nd = 0x00f",
    "a = 1_0.0_1e1_0\nb = 3.141592653589793\nc = 123456789012345678901234567890.5",
    "a = 9223372036854775807\nb = -9223372036854775808",
    'a = "\\b\\t\\n\\f\\r\\"\\\\\\u0000\\u00e9\\U0001F600\\uFFFF\\U0010FFFF"',
    "a = 'C:\\\\x\\u0041\"'\n",
    'a = "\x80\u2028\u00a0" # \x85\n',
    "1 = 1\n- = 2\n'' = 3\n\"a.b\" = 4\n'c d' = 5\n\"\\u0061\" = 6",
    "[ a . \"b\" . 'c d' ]\t# x\nx\t=\t1",
    "\t a = true\n  [ t ] \n\tb=false#",
]

ATOMS = ["0", "1", "9", "42", "1_000", "-7", "+8", "0x1F", "0o17", "0b11", "1.5", "-2e-3", "6E+2"]
ATOMS += ["true", "false", '""', "''", '"a b"', "'#'", '"\\u0041\\n"', "'\\'", "[]", "[1, 2,]"]
ATOMS += ["[['a'], [1.0]]", "[\n1, # x\n]", "9223372036854775807"]
BAD_ATOMS = [
    "01",
    "1.",
    ".5",
    "1__0",
    "inf",
    "nan",
    "{a = 1}",
    '"""x"""',
    "1979-05-27",
    "07:32:00",
]
BAD_ATOMS += ['"\\x"', "'a", "[1", "tru", "0XF", "1e999", "99999999999999999999", "", "+0x1"]
KEYS = ["a", "b", "c-d", "E_1", "7", "''", '"q k"', "'x.y'", '"\\u0062"']
BAD_KEYS = ["a.b", "", "\u00e9", "[", "'''k'''", '"\\u00"']
ALPHABET = "ab01.xe_+-=[]{},#'\"\\ \t\r\n:uU\u00e9\x00\x7f"


def same(ours, theirs):
    # repr tells True from 1, 1 from 1.0 and -0.0 from 0.0.
    return ours == theirs and repr(ours) == repr(theirs)


def accepted(text):
    """Whether the subset takes `text`; if it does, tomllib has to agree."""
    refused_line = None
    lines = {}
    try:
        values, lines = toml.load(text)
    except toml.TomlError as error:
        refused_line = error.line
    else:
        assert same(values, tomllib.loads(text)), text
    for line in [refused_line or 1, *lines.values()]:
        assert 1 <= line <= text.count("\n") + 1, (text, line)
    return refused_line is None


def statement(draw, bad):
    blank = draw.choice(["", " ", "\t", "  "])
    end = draw.choice(["\n", "\r\n", " # note\n", "#\u00e9\r\n", "\n\n"])
    keys = KEYS + BAD_KEYS if bad else KEYS
    atoms = ATOMS + BAD_ATOMS if bad else ATOMS
    if draw.random() < 0.3:
        name = (blank + "." + blank).join(draw.choices(keys, k=draw.randint(1, 3)))
        return blank + "[" + blank + name + blank + "]" + end
    return blank + draw.choice(keys) + blank + "=" + blank + draw.choice(atoms) + end


def test_hand_written_tables():
    for text in TABLES:
        assert accepted(text), text


def test_generated_statements():
    draw = random.Random(20)
    taken = 0
    for round_ in range(6000):
        bad = round_ % 3 == 0
        text = "".join(statement(draw, bad) for _ in range(draw.randint(1, 8)))
        taken += accepted(text)
    assert 1500 < taken < 5500, taken


def test_broken_tables():
    draw = random.Random(21)
    taken = 0
    for _ in range(12000):
        chars = list(draw.choice(TABLES[1:]))
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(chars))
            chars[at : at + draw.randint(0, 1)] = draw.choice(ALPHABET)
        taken += accepted("".join(chars))
    assert 1000 < taken < 11000, taken


def test_soup():
    draw = random.Random(22)
    taken = 0
    for _ in range(30000):
        taken += accepted("a=" + "".join(draw.choices(ALPHABET, k=draw.randint(1, 6))))
    assert 200 < taken < 29000, taken


def test_what_is_valid_and_inside_the_subset_is_not_refused():
    # The other direction: only what the docstring leaves out may be refused.
    draw = random.Random(23)
    valid = 0
    for _ in range(4000):
        text = "".join(statement(draw, False) for _ in range(draw.randint(1, 6)))
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            assert not accepted(text), text
        else:
            valid += 1
            assert accepted(text), text
    assert valid > 1000, valid


def test_random_floats_and_integers():
    draw = random.Random(24)
    for _ in range(5000):
        number = draw.choice(
            [draw.uniform(-1e6, 1e6), draw.gauss(0, 1) * 10.0 ** draw.randint(-300, 300)]
        )
        text = f"a = {number!r}\nb = {draw.getrandbits(63)}\nc = 0x{draw.getrandbits(63):x}"
        assert accepted(text), text
