"""The TOML subset: what is read, what is refused, and where the message points."""

from mote_device import toml


def values_of(text):
    return toml.load(text)[0]


def refusal(text):
    try:
        toml.load(text)
    except toml.TomlError as error:
        return error
    raise AssertionError(f"accepted: {text!r}")


def check_refused(text, line, words):
    error = refusal(text)
    assert error.line == line, (text, error.line)
    assert words in error.message, (text, error.message)
    assert str(error) == f"line {error.line}: {error.message}"
    assert isinstance(error, ValueError)


def check_value(text, expected):
    value = values_of("x = " + text)["x"]
    assert value == expected, (text, value)
    assert type(value) is type(expected), (text, value)


def test_an_empty_text_is_an_empty_table():
    for text in ("", "\n", "\r\n", "  \t", "# only a comment", "\n\n# a\n  # b\n"):
        assert toml.load(text) == ({}, {})


def test_a_file_as_people_write_it():
    text = (
        "# a device\n"
        'name = "top"  # outside any table\n'
        "\n"
        "[broker]\r\n"
        "  host = 'broker.local'\r\n"
        "port=1_883\n"
        "[tools.gpio] # nested\n"
        '"pin names" = [\n'
        '  "red", # first\n'
        "\n"
        "  'green',\n"
        "]\n"
        "on = true\n"
    )
    values, lines = toml.load(text)
    assert values == {
        "name": "top",
        "broker": {"host": "broker.local", "port": 1883},
        "tools": {"gpio": {"pin names": ["red", "green"], "on": True}},
    }
    assert lines == {
        "name": 2,
        "broker": 4,
        "broker.host": 5,
        "broker.port": 6,
        "tools": 7,
        "tools.gpio": 7,
        "tools.gpio.pin names": 8,
        "tools.gpio.on": 13,
    }


def test_integers():
    check_value("0", 0)
    check_value("+0", 0)
    check_value("-17", -17)
    check_value("+99", 99)
    check_value("1_000_000", 1000000)
    check_value("0xDEAD_beef", 0xDEADBEEF)
    check_value("0o755", 493)
    check_value("0b1101_0110", 214)
    check_value("9223372036854775807", (1 << 63) - 1)
    check_value("-9223372036854775808", -(1 << 63))


def test_floats():
    check_value("1.5", 1.5)
    check_value("-0.25", -0.25)
    check_value("+3.0", 3.0)
    check_value("1e3", 1000.0)
    check_value("5E+02", 500.0)
    check_value("1_0.2_5e-0_1", 1.025)
    assert str(values_of("x = -0.0")["x"]) == "-0.0"


def test_booleans():
    assert values_of("a = true\nb = false") == {"a": True, "b": False}
    assert values_of("a = true")["a"] is True


def test_strings():
    check_value('""', "")
    check_value("''", "")
    check_value('"a # b"', "a # b")
    check_value("'C:\\new \"x\"'", 'C:\\new "x"')
    check_value('"\\b\\t\\n\\f\\r\\"\\\\"', '\b\t\n\f\r"\\')
    check_value('"\\u00e9\\u0041\\U0001F600"', chr(0xE9) + "A" + chr(0x1F600))
    check_value('"\\u0000"', "\x00")
    check_value('"tab\tin"', "tab\tin")
    check_value('"' + chr(0xE9) + chr(0x1F600) + '"', chr(0xE9) + chr(0x1F600))


def test_arrays():
    check_value("[]", [])
    check_value("[1,2]", [1, 2])
    check_value("[ 'a', \"b\" , ]", ["a", "b"])
    check_value("[\n# none\n]", [])
    check_value("[[1, 2], [true], []]", [[1, 2], [True], []])
    check_value("[1,\r\n 2\n,\n]", [1, 2])
    check_value("[[[[1]]]]", [[[[1]]]])


def test_the_line_goes_on_behind_an_array():
    values, lines = toml.load("a = [\n1,\n2]\nb = 1\n\n[t]\nc = [\n]\nd = 2")
    assert values == {"a": [1, 2], "b": 1, "t": {"c": [], "d": 2}}
    assert lines == {"a": 1, "b": 4, "t": 6, "t.c": 7, "t.d": 9}


def test_keys():
    assert values_of("1 = 1\n-_ = 2\n'a.b' = 3\n\"\\u0062\" = 4\n'' = 5") == {
        "1": 1,
        "-_": 2,
        "a.b": 3,
        "b": 4,
        "": 5,
    }
    assert values_of('[ a . "b c" ]\nx=1') == {"a": {"b c": {"x": 1}}}


def test_a_parent_table_may_follow_its_child():
    values, lines = toml.load("[a.b]\nx=1\n[a]\ny=2")
    assert values == {"a": {"b": {"x": 1}, "y": 2}}
    assert lines == {"a": 1, "a.b": 1, "a.b.x": 2, "a.y": 4}
    assert values_of("[a]\n[b]\n[a.c]") == {"a": {"c": {}}, "b": {}}


def test_what_the_subset_leaves_out_is_refused_by_name():
    check_refused("a.b = 1", 1, "dotted keys")
    check_refused("1.5 = 1", 1, "dotted keys")
    check_refused("\na = {b = 1}", 2, "inline tables")
    check_refused("a = [\n{}]", 2, "inline tables")
    check_refused("[[a]]", 1, "arrays of tables")
    check_refused('a = """x"""', 1, "multi-line strings")
    check_refused("a = '''\nx'''", 1, "multi-line strings")
    check_refused('a = [\n"""x"""]', 2, "multi-line strings")
    check_refused("a = 1979-05-27", 1, "dates and times")
    check_refused("a = 1979-05-27T07:32:00Z", 1, "dates and times")
    check_refused("a = 1979-05-27 07:32:00", 1, "dates and times")
    check_refused("a = 07:32:00", 1, "dates and times")
    check_refused("a = inf", 1, "inf and nan")
    check_refused("a = -nan", 1, "inf and nan")
    check_refused("a = 1e999", 1, "too large")
    check_refused("a = -1e999", 1, "too large")


def test_duplicates():
    check_refused("a = 1\na = 1", 2, "a is set a second time")
    check_refused("[t]\na = 1\n'a' = 2", 3, "a is set a second time")
    check_refused("[t]\n[u]\n[t]", 3, "[t] is declared a second time")
    check_refused("[t.u]\n[t.u]", 2, "[t.u] is declared a second time")
    check_refused("a = 1\n[a]", 2, "no table")
    check_refused("[a]\nb = [1]\n[a.b.c]", 3, "a.b has a value")
    check_refused("[a.b]\n[a]\nb = 1", 3, "b is set a second time")


def test_malformed_numbers():
    for text in ("01", "-01", "1__0", "_1", "1_", "0x_1", "0x", "+0xF", "-0b1", "0XF", "0o8"):
        check_refused("x = " + text, 1, "expected a value")
    for text in ("1.", ".5", "1.e5", "01.5", "1e", "1e+", "1e1.5", "1._5", "1_.5", "1e_5", "--1"):
        check_refused("x = " + text, 1, "expected a value")
    for text in ("True", "yes", "x", "-", "+", "e5", "1x", "1-2", "0b12"):
        check_refused("x = " + text, 1, "expected a value")
    for text in ("9223372036854775808", "-9223372036854775809", "0xFFFFFFFFFFFFFFFF"):
        check_refused("x = " + text, 1, "64 bits")


def test_malformed_strings():
    check_refused('a = "x', 1, "does not end")
    check_refused('a = "x\\', 1, "unknown escape")
    check_refused("a = 'x\n'", 1, "does not end")
    check_refused('a = "\\e"', 1, "unknown escape \\e")
    check_refused('a = "\\x41"', 1, "unknown escape \\x")
    check_refused('a = "\\u12"', 1, "4 hexadecimal")
    check_refused('a = "\\u+123"', 1, "4 hexadecimal")
    check_refused('a = "\\U0001F60"', 1, "8 hexadecimal")
    check_refused('a = "\\ud800"', 1, "not a character")
    check_refused('a = "\\U00110000"', 1, "not a character")


def test_malformed_statements():
    check_refused("\n\na", 3, "expected '='")
    check_refused("a b = 1", 1, "expected '='")
    check_refused("= 1", 1, "expected a key")
    check_refused(chr(0xE9) + " = 1", 1, "expected a key")
    check_refused(chr(0xFEFF) + "a = 1", 1, "expected a key")
    check_refused("a =", 1, "expected a value")
    check_refused("a =\n1", 1, "expected a value")
    check_refused("a = # 1", 1, "expected a value")
    check_refused("a = 1 b = 2", 1, "behind the end")
    check_refused("[a] b = 1", 1, "behind the end")
    check_refused("[a", 1, "expected ']'")
    check_refused("[a\n]", 1, "expected ']'")
    check_refused("[]", 1, "expected a key")
    check_refused("[a.]", 1, "expected a key")
    check_refused("[a]]", 1, "behind the end")


def test_malformed_arrays():
    check_refused("a = [,]", 1, "expected a value")
    check_refused("a = [1,,2]", 1, "expected a value")
    check_refused("a = [1\n2]", 2, "expected ',' or ']'")
    check_refused("a = 1\nb = [1,\n\n# x", 2, "never closed")
    check_refused("a = [1,\nb = 2\n", 2, "expected a value")
    check_refused("a = [1]]", 1, "behind the end")


def test_control_characters():
    for code in list(range(9)) + list(range(11, 32)) + [127]:
        for text in ("a = 1 # %s", 'a = "%s"', "a = '%s'", "[a%s]", "%s"):
            check_refused("\n" + text % chr(code) + " \n", 2, "control character")
    check_refused("a = 1\r", 1, "control character 0x0d")
    check_refused("a = 1\r\r\n", 1, "control character 0x0d")
    check_refused("a = [1,\n\x00]", 2, "control character 0x00")
    assert values_of("\ta\t=\t1\t#\t") == {"a": 1}


def test_bounds():
    longest = "a = '%s'" % ("x" * (toml.MAX_LINE - 6))
    assert len(longest) == toml.MAX_LINE
    assert len(values_of(longest)["a"]) == toml.MAX_LINE - 6
    assert values_of(longest + "\r\n")["a"]
    check_refused("\n" + longest + " ", 2, "longer than 1024")
    line = "#" * 1023 + "\n"
    assert len(line) * 16 == toml.MAX_TEXT
    assert toml.load(line * 16) == ({}, {})
    check_refused(line * 16 + "\n", 1, "longer than 16384")
    assert values_of("[a.b.c.d]\ne=1")["a"]["b"]["c"]["d"]["e"] == 1
    check_refused("[a.b.c.d.e]", 1, "deeper than 4")
    check_refused("a = [[[[\n[]]]]]", 2, "deeper than 4")
    check_refused("a = " + "[" * 1000, 1, "deeper than 4")


def test_no_message_quotes_a_value():
    for text in ("password = hunter2", "password = 'hunter2", "password = [hunter2]"):
        assert "hunter2" not in str(refusal(text))


def test_every_cut_of_a_good_file_is_read_or_refused():
    text = "a = 'x'\n[t.u]\nb = [1, [2.5e1],\n true,]\nc = \"\\u0041\" # end\r\n"
    refused_lines = []
    for end in range(len(text) + 1):
        try:
            toml.load(text[:end])
        except toml.TomlError as error:
            refused_lines.append(error.line)
    assert sorted(set(refused_lines)) == [1, 2, 3, 4, 5]
    assert len(text) - 20 < len(refused_lines) < len(text) - 10
