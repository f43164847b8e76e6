"""A parser of a subset of TOML 1.0, for configuration files on MicroPython and CPython alike.

    load(text) -> (values, lines)

In the subset:
    comments; bare and quoted keys; tables `[a]` and `[a.b]`
    basic strings, escapes \\b \\t \\n \\f \\r \\" \\\\ \\uXXXX \\UXXXXXXXX; literal strings
    integers of 64 bits: sign, underscores, 0x, 0o, 0b; floats; booleans
    arrays of these and of arrays; they may span lines and end in a comma
Not in the subset, each refused by name:
    dotted keys before '='; inline tables; arrays of tables; multi-line strings; dates and times;
    inf and nan, also by overflow
Bounds: 16,384 characters of text, 1,024 characters a line, 4 levels of tables, 4 of arrays.

Whatever this accepts, a TOML 1.0 parser accepts with the same value. The last digit of a float is
the runtime's: MicroPython's float() does not round every decimal correctly. No error message
quotes a value, since a value may be a secret that stands in the wrong place.
"""

MAX_TEXT = 16384
MAX_LINE = 1024
MAX_DEPTH = 4

_DIGITS = "0123456789"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BARE = _LETTERS + _DIGITS + "-_"
_WORD = _BARE + "+.:"
_BOOLEANS = {"true": True, "false": False}
_HEX = _DIGITS + "abcdefABCDEF"
_BASES = {"0x": (16, _HEX), "0o": (8, "01234567"), "0b": (2, "01")}
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_TOP_INT = (1 << 63) - 1
_INF = float("inf")


class TomlError(ValueError):
    """The text is not in the subset. `line` counts from 1; `message` is without the line."""

    def __init__(self, line, message):
        super().__init__("line %d: %s" % (line, message))
        self.line = line
        self.message = message


def load(text):
    """Parse `text`; return (values, lines).

    `values`: nested dicts of str, int, float, bool, list. `lines` maps "table.key", "key" outside
    any table and "table" to the number of the line that names it first, from 1. Quoted keys enter
    `lines` without their quotes, so `"a.b"` and `b` in `[a]` share one entry there.
    Raises TomlError.
    """
    if len(text) > MAX_TEXT:
        raise TomlError(1, "the text is longer than %d characters" % MAX_TEXT)
    return _Parser(text).parse()


class _Parser:
    # Walks line by line: only arrays cross lines, and MicroPython finds s[i] in a str by
    # counting from its start, so a cursor over the whole text would be quadratic.

    def __init__(self, text):
        self._rows = text.split("\n")
        self._row = 0  # index into _rows of the current line
        self._s = ""  # the current line, without its line ending
        self._i = 0  # cursor in _s
        self._values = {}
        self._lines = {}
        self._table = self._values
        self._prefix = ""
        self._declared = set()  # tuples of the tables that have had their header

    def parse(self):
        while self._row < len(self._rows):
            self._enter(self._row)
            self._statement()  # an array moves _row to its last line
            self._row += 1
        return self._values, self._lines

    def _statement(self):
        self._skip_blanks()
        if self._peek() == "[":
            self._header()
        elif self._peek() not in ("", "#"):
            self._assignment()
        self._skip_blanks()
        if self._peek() not in ("", "#"):
            raise self._error("unexpected text behind the end of the statement")

    # The line and the cursor.

    def _error(self, message):
        return TomlError(self._row + 1, message)

    def _enter(self, row):
        self._row = row
        s = self._rows[row]
        if s.endswith("\r") and row < len(self._rows) - 1:
            s = s[:-1]
        if len(s) > MAX_LINE:
            raise self._error("the line is longer than %d characters" % MAX_LINE)
        for char in s:
            code = ord(char)
            if (code < 32 and code != 9) or code == 127:
                raise self._error("control character 0x%02x" % code)
            # MP: decoding UTF-8 lets surrogates and what lies past Unicode's end through.
            if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
                raise self._error("0x%x is not a character" % code)
        self._s = s
        self._i = 0

    def _peek(self):
        return self._s[self._i : self._i + 1]

    def _skip_blanks(self):
        while self._peek() in (" ", "\t"):
            self._i += 1

    def _skip_lines(self, opened):
        # To the next token of an array, over line ends and comments.
        while True:
            self._skip_blanks()
            if self._peek() not in ("", "#"):
                return
            if self._row + 1 >= len(self._rows):
                raise TomlError(opened, "the array that opens here is never closed")
            self._enter(self._row + 1)

    def _take(self, allowed):
        start = self._i
        while self._i < len(self._s) and self._s[self._i] in allowed:
            self._i += 1
        return self._s[start : self._i]

    # Keys and tables.

    def _key(self):
        char = self._peek()
        if char in ('"', "'"):
            return self._string(char)
        key = self._take(_BARE)
        if not key:
            raise self._error("expected a key (letters, digits, - and _, or quoted)")
        return key

    def _assignment(self):
        key = self._key()
        self._skip_blanks()
        if self._peek() == ".":
            raise self._error("dotted keys are not supported: use a [table]")
        if self._peek() != "=":
            raise self._error("expected '=' behind the key")
        if key in self._table:
            raise self._error("%s is set a second time" % key)
        self._i += 1
        self._skip_blanks()
        # Marked before the value is read: an array's value ends on a later line.
        self._mark(self._prefix + key)
        self._table[key] = self._value(0)

    def _header(self):
        if self._s.startswith("[[", self._i):
            raise self._error("arrays of tables are not supported")
        self._i += 1
        parts = []
        while True:
            self._skip_blanks()
            parts.append(self._key())
            self._skip_blanks()
            if self._peek() != ".":
                break
            self._i += 1
        if self._peek() != "]":
            raise self._error("expected ']' behind the table's name")
        self._i += 1
        self._open_table(parts)

    def _open_table(self, parts):
        if len(parts) > MAX_DEPTH:
            raise self._error("tables nest deeper than %d" % MAX_DEPTH)
        name = tuple(parts)
        if name in self._declared:
            raise self._error("table [%s] is declared a second time" % ".".join(parts))
        self._declared.add(name)
        table = self._values
        prefix = ""
        for part in parts:
            self._mark(prefix + part)
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise self._error("%s%s has a value already, it is no table" % (prefix, part))
            prefix += part + "."
        self._table = table
        self._prefix = prefix

    def _mark(self, name):
        self._lines.setdefault(name, self._row + 1)

    # Values.

    def _value(self, depth):
        char = self._peek()
        if char == "[":
            return self._array(depth + 1)
        if char == "{":
            raise self._error("inline tables are not supported: use a [table]")
        if char in ('"', "'"):
            return self._string(char)
        word = self._take(_WORD)
        if word in _BOOLEANS:
            return _BOOLEANS[word]
        if not word:
            raise self._error("expected a value")
        return self._number(word)

    def _array(self, depth):
        # Recursion is bounded by MAX_DEPTH.
        if depth > MAX_DEPTH:
            raise self._error("arrays nest deeper than %d" % MAX_DEPTH)
        opened = self._row + 1
        items = []
        self._i += 1
        while True:
            self._skip_lines(opened)
            if self._peek() != "]":
                items.append(self._value(depth))
                self._skip_lines(opened)
                if self._peek() == ",":
                    self._i += 1
                    continue
                if self._peek() != "]":
                    raise self._error("expected ',' or ']' behind an array's item")
            self._i += 1
            return items

    def _string(self, quote):
        if self._s.startswith(quote * 3, self._i):
            raise self._error("multi-line strings are not supported")
        out = []
        self._i += 1
        start = self._i
        while True:
            char = self._peek()
            if not char:
                raise self._error("the string does not end on its line")
            self._i += 1
            if char == quote:
                out.append(self._s[start : self._i - 1])
                return "".join(out)
            if char == "\\" and quote == '"':
                out.append(self._s[start : self._i - 1])
                out.append(self._escape())
                start = self._i

    def _escape(self):
        char = self._peek()
        self._i += 1
        if char in _ESCAPES:
            return _ESCAPES[char]
        size = 4 if char == "u" else 8 if char == "U" else 0
        if not size:
            raise self._error("unknown escape \\%s in a string" % char)
        digits = self._s[self._i : self._i + size]
        if len(digits) < size or not _only(digits, _HEX):
            raise self._error("\\%s takes %d hexadecimal digits" % (char, size))
        self._i += size
        code = int(digits, 16)
        if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
            raise self._error("the code behind \\%s is not a character" % char)
        return chr(code)

    def _number(self, word):
        if _is_time(word):
            raise self._error("dates and times are not supported")
        bare = word[1:] if word[0] in "+-" else word
        if bare in ("inf", "nan"):
            raise self._error("inf and nan are not supported")
        base, allowed = _BASES.get(word[:2], (10, _DIGITS))
        digits = word[2:] if base != 10 else bare
        if _is_digits(digits, allowed) and (base != 10 or _is_decimal(bare)):
            number = int(digits.replace("_", ""), base)
            number = -number if word[0] == "-" else number
            if not -_TOP_INT - 1 <= number <= _TOP_INT:
                raise self._error("the integer does not fit in 64 bits")
            return number
        if not _is_float(bare):
            raise self._error("expected a value: a string (quoted), a number, true, false or [")
        number = float(word.replace("_", ""))
        if number in (_INF, -_INF):
            raise self._error("the float is too large")
        return number


def _only(text, allowed):
    return all(char in allowed for char in text)


def _is_digits(text, allowed):
    # Underscores stand between digits only.
    return all(part and _only(part, allowed) for part in text.split("_"))


def _is_decimal(text):
    return _is_digits(text, _DIGITS) and (text[0] != "0" or len(text) == 1)


def _is_float(text):
    mantissa, mark, exponent = text.replace("E", "e").partition("e")
    whole, point, fraction = mantissa.partition(".")
    if not mark and not point:
        return False
    if mark and exponent[:1] in ("+", "-"):
        exponent = exponent[1:]
    if mark and not _is_digits(exponent, _DIGITS):
        return False
    if point and not _is_digits(fraction, _DIGITS):
        return False
    return bool(whole) and _is_decimal(whole)


def _is_time(text):
    # A date opens with dddd-, a time of day with dd:.
    date = text[4:5] == "-" and _only(text[:4], _DIGITS)
    return date or (text[2:3] == ":" and _only(text[:2], _DIGITS))
