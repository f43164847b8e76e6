"""Tools: what is coerced, what is refused in which words, and the identity of declarations."""

from helpers import raises
from mote.msgpack import FormatError, Unpacker
from mote.tools import (
    IDEMPOTENT,
    ONCE,
    READ,
    Rejected,
    Toolset,
    boolean,
    choice,
    integer,
    number,
    text,
    tool,
)

NAN = float("nan")
INF = float("inf")

INTEGER = integer("n", -5, 10, "ml")
NUMBER = number("x", 0.5, 10, "s")
FLAG = boolean("on")
TEXT = text("t", 5)
CHOICE = choice("c", ["red", "blue"])

TAKEN = (
    (INTEGER, 5, 5),
    (INTEGER, "5", 5),
    (INTEGER, " 7 ", 7),
    (INTEGER, "-5", -5),
    (INTEGER, 5.0, 5),
    (INTEGER, 10, 10),
    (NUMBER, 1, 1),
    (NUMBER, "1.5", 1.5),
    (NUMBER, 0.5, 0.5),
    (NUMBER, "10", 10),
    (FLAG, True, True),
    (FLAG, False, False),
    (FLAG, "True", True),
    (FLAG, "ON", True),
    (FLAG, "yes", True),
    (FLAG, "1", True),
    (FLAG, 1, True),
    (FLAG, "false", False),
    (FLAG, "Off", False),
    (FLAG, "no", False),
    (FLAG, "0", False),
    (FLAG, 0, False),
    (TEXT, "abcde", "abcde"),
    (TEXT, "", ""),
    (TEXT, 12, "12"),
    (TEXT, True, "True"),
    (CHOICE, "red", "red"),
)

TYPE = "must be of type"
RANGE = "is not in"
REFUSED = (
    (INTEGER, -6, RANGE),
    (INTEGER, 11, RANGE),
    (INTEGER, "11", RANGE),
    (INTEGER, 2**70, RANGE),
    (INTEGER, 5.5, TYPE),
    (INTEGER, "5.5", TYPE),
    (INTEGER, "five", TYPE),
    (INTEGER, "", TYPE),
    (INTEGER, None, TYPE),
    (INTEGER, True, TYPE),
    (INTEGER, [5], TYPE),
    (INTEGER, {"n": 5}, TYPE),
    (INTEGER, NAN, TYPE),
    (INTEGER, INF, TYPE),
    (NUMBER, 0.4, RANGE),
    (NUMBER, "10.01", RANGE),
    (NUMBER, NAN, RANGE),
    (NUMBER, "nan", RANGE),
    (NUMBER, INF, RANGE),
    (NUMBER, "-inf", RANGE),
    (NUMBER, "much", TYPE),
    (NUMBER, None, TYPE),
    (NUMBER, False, TYPE),
    (NUMBER, [], TYPE),
    (FLAG, "maybe", TYPE),
    (FLAG, 2, TYPE),
    (FLAG, None, TYPE),
    (FLAG, [True], TYPE),
    (TEXT, "abcdef", "over 5 characters"),
    (TEXT, [1], "must be of type text"),
    (CHOICE, "green", "must be one of: red, blue"),
    (CHOICE, None, "must be one of"),
    (CHOICE, ["red"], "must be one of"),
)


def test_what_is_coerced_to_what():
    for param, given, taken in TAKEN:
        got = param.coerce(given)
        assert got == taken, (param.name, given, got)
        if not isinstance(got, float) and param is not NUMBER:
            assert type(got) is type(taken), (param.name, given, got)


def test_what_is_refused_in_which_words():
    for param, given, words in REFUSED:
        error = str(raises(Rejected, param.coerce, given))
        assert words in error, (param.name, given, error)
        assert error.startswith(param.name), error


def test_out_of_range_tells_the_range_and_the_unit():
    assert str(raises(Rejected, INTEGER.coerce, 99)) == "n: 99 is not in -5..10 ml"


def made(params=(INTEGER, TEXT), **options):
    @tool("Set it.", IDEMPOTENT, *params, **options)
    def set_it(n, t):
        return (n, t)

    return set_it


def test_arguments_are_checked_one_by_one():
    one = made()
    assert one.check({"n": "3", "t": "x"}) == {"n": 3, "t": "x"}
    assert str(raises(Rejected, one.check, {"n": 3})) == "t is missing"
    assert str(raises(Rejected, one.check, {"n": 3, "t": "x", "u": 1})) == "unknown argument u"
    assert "n must be of type integer" in str(raises(Rejected, one.check, {"n": [], "t": "x"}))


def test_arguments_that_are_no_object_are_refused_with_what_was_given():
    for given in ("n=3", [3], None, 3):
        error = str(raises(Rejected, made().check, given))
        assert error == f"arguments are not a JSON object: {given}"
    assert len(str(raises(Rejected, made().check, "x" * 5000))) < 200


def test_a_tool_knows_how_it_was_declared():
    one = made(timeout_s=7, touches=["pin 4"])
    assert (one.name, one.about, one.effect) == ("set_it", "Set it.", IDEMPOTENT)
    assert (one.timeout_s, one.touches) == (7, ["pin 4"])
    assert made().timeout_s == 30
    for bad in (0.5, 0, -1, True, "3", None):
        assert "timeout_s" in str(raises(ValueError, lambda bad=bad: made(timeout_s=bad)))
    assert one.run(1, "a") == (1, "a")
    assert (READ, IDEMPOTENT, ONCE) == (0, 1, 2)


def test_a_toolset_finds_its_tools():
    tools = Toolset([made()])
    found, args = tools.check("set_it", {"n": 1, "t": "a"})
    assert found is tools.tools[0]
    assert args == {"n": 1, "t": "a"}
    assert "no such tool" in str(raises(Rejected, tools.check, "format", {}))


def test_a_declaration_byte_by_byte():
    flag = made((boolean("on", "or off"),), timeout_s=300, touches=["p"])
    form = (
        b"\x96\xa6set_it\xa7Set it.\x01\xcd\x01\x2c\x91\xa1p\x91"
        b"\x96\xa2on\xa7boolean\xc0\xc0\xa0\xa6or off"
    )
    assert bytes(Toolset([flag]).declaration(0)) == form


def test_a_declaration_reads_back():
    u = Unpacker(bytearray(bytes(Toolset([made((INTEGER, CHOICE))]).declaration(0))))
    value = u.value()
    assert not u.more()
    assert value[4:] == [
        [],
        [["n", "integer", -5, 10, "ml", ""], ["c", "choice", ["red", "blue"], None, "", ""]],
    ]


def test_the_hash_is_the_identity_of_the_declarations():
    base = Toolset([made()]).hash
    assert len(base) == 16
    assert Toolset([made()]).hash == base
    others = (
        [made((TEXT, INTEGER))],
        [made((integer("n", -5, 11, "ml"), TEXT))],
        [made((integer("n", -5, 10, "l"), TEXT))],
        [made(timeout_s=31)],
        [made(touches=["pin 1"])],
        [],
    )
    hashes = [Toolset(tools).hash for tools in others]
    for i in range(len(hashes)):
        assert hashes[i] != base
        assert hashes[i] not in hashes[:i]


def test_the_hash_does_not_hang_on_the_order_of_a_dict():
    keys = ["one", "two", "three", "four", "five"]
    forward = choice("c", dict.fromkeys(keys, 1))
    backward = choice("c", dict.fromkeys(reversed(keys), 1))
    assert Toolset([made((forward,))]).hash == Toolset([made((backward,))]).hash


def test_a_declaration_over_its_bound_is_refused():
    raises(FormatError, Toolset, [made((text("t", 5, "x" * 1024),))])
    raises(FormatError, Toolset, [made()], 20)
