"""The configuration file of a device, moted.toml: one table of keys, and what reads and checks it.

    config = load_config("/etc/mote/moted.toml")
    config.broker.host, config.limits.turn_s, ...

Every error is a ConfigError whose text names the file, the line and the key. Secrets never stand
in this file: it names files that hold them, and read_key and read_secret read those.
"""

import os
import sys

from . import ConfigError, toml

MAX_SECRET = 1024  # bytes of a key file or a password file
KEY_DIGITS = 64  # hexadecimal digits of a device's key: 32 bytes

REQUIRED = object()
UART = "UART:"  # begins the name of a board's serial port

_NAME_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
_HEX = "0123456789abcdefABCDEF"

# (table, key, kind, default, rule, help). Kinds: see _KINDS; a "file" may be empty, a "path" may
# not, and both are resolved against the folder of the configuration file, like the entries of
# "paths" and a "port" that is not a board's (UART:1). Rule: (low, high) of a number or of a
# string's length; a list of choices; or None.
KEYS = (
    ("device", "name", "name", REQUIRED, (1, 32), "the device's name in topics and in the log"),
    ("device", "key_file", "path", REQUIRED, None, "file with the device's key, mode 0600"),
    ("device", "state_dir", "path", "state", None, "folder of the log and of the lock"),
    ("device", "board", "str", "none", ["none", "greenhouse"], "simulated board to attach"),
    ("device", "world_file", "path", "world.json", None, "state of the simulated board's world"),
    ("device", "time_scale", "float", 1.0, (0.001, 1000), "simulated seconds per real second"),
    ("device", "verbose", "bool", False, None, "tell of every ask, tool call and answer"),
    ("device", "watchdog_s", "int", 8, (0, 600), "of a board: it resets what hangs; 0: none"),
    ("broker", "host", "str", "127.0.0.1", (1, 255), "name or address of the MQTT broker"),
    ("broker", "port", "int", 1883, (1, 65535), "TCP port; with tls the default is 8883"),
    ("broker", "user", "str", "", (0, 256), "user name at the broker; empty: none"),
    ("broker", "password_file", "file", "", None, "file with the password, mode 0600"),
    ("broker", "tls", "bool", False, None, "talk TLS to the broker, which must prove its name"),
    ("broker", "ca_file", "file", "", None, "CAs to trust; empty: the system's, if it has any"),
    ("broker", "client_cert", "file", "", None, "our certificate, if the broker asks for one"),
    ("broker", "client_key", "file", "", None, "its key, mode 0600"),
    ("broker", "serial", "port", "", None, "serial port with a bridge, in place of host and port"),
    ("broker", "baud", "int", 115200, (1200, 4000000), "speed of the serial port"),
    ("broker", "keepalive_s", "int", 60, (5, 3600), "MQTT keep-alive"),
    ("broker", "session_expiry_s", "int", 86400, (0, 2592000), "MQTT session expiry"),
    ("log", "segment_kib", "int", 64, (4, 1024), "size of one segment of the log"),
    ("log", "segments", "int", 16, (4, 1024), "number of segments in the ring"),
    ("log", "record_bytes", "int", 1024, (384, 4096), "longest record; longer bodies are split"),
    ("log", "program_unit", "int", 1, [1, 4, 16, 256], "bytes that the medium programs at once"),
    ("log", "when_full", "str", "refuse", ["refuse", "drop"], "refuse new asks, or drop records"),
    ("limits", "open_turns", "int", 8, (1, 64), "turns that may be open at once"),
    ("limits", "steps", "int", 8, (1, 64), "requests to the model in one turn"),
    ("limits", "calls", "int", 16, (1, 256), "tool calls in one turn"),
    ("limits", "tokens", "int", 50000, (1, 10000000), "tokens that one turn may use"),
    ("limits", "turn_s", "int", 300, (5, 86400), "time that one turn may take"),
    ("limits", "restarts", "int", 5, (1, 100), "restarts that one turn may live through"),
    ("limits", "ask_bytes", "int", 768, (16, 3072), "longest ask"),
    ("limits", "result_bytes", "int", 512, (32, 2048), "longest tool result; more is cut, marked"),
    ("limits", "reply_bytes", "int", 4096, (256, 65536), "longest reply of the model"),
    ("limits", "asks_per_hour", "int", 600, (1, 100000), "asks taken in an hour"),
    ("limits", "asks_burst", "int", 10, (1, 1000), "asks taken at once before that rate holds"),
    ("limits", "seen_asks", "int", 32, (1, 1024), "ask ids that are remembered"),
    ("limits", "sessions", "int", 16, (1, 1024), "sessions whose last ask is at hand"),
    ("limits", "facts", "int", 16, (0, 256), "facts that may be remembered; 0: no such tools"),
    ("tools", "path", "paths", [], None, "folders to import tool modules from"),
    ("tools", "modules", "strs", [], None, "tool modules to load"),
)

_KINDS = {
    "name": (str, "a string"),
    "str": (str, "a string"),
    "path": (str, "a string"),
    "file": (str, "a string"),
    "port": (str, "a string"),
    "int": (int, "an integer"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
    "paths": (list, "an array of strings"),
    "strs": (list, "an array of strings"),
}
_TYPES = {
    str: "a string",
    int: "an integer",
    float: "a float",
    bool: "a boolean",
    list: "an array",
    dict: "a table",
}
# MP: OSError has no strerror.
_ERRORS = {2: "no such file", 13: "permission denied", 21: "it is a folder, not a file"}
_TWO_WAYS = "with serial there is no network: take one of the two"


class Section:
    """One table of the file; each of its keys is an attribute."""

    def __init__(self, values):
        for key in values:
            setattr(self, key, values[key])


class Config:
    """A checked configuration: sections device, broker, log, limits, tools; `path` of the file."""

    def __init__(self, path, sections):
        self.path = path
        for table in sections:
            setattr(self, table, Section(sections[table]))


def load_config(path, defaults=None):
    """Read, check and complete the file at `path` (str); return a Config. Raises ConfigError.

    `defaults` are {(table, key): value} in place of those in KEYS.
    """
    data = _read(path, toml.MAX_TEXT)
    try:
        values, lines = toml.load(str(data, "utf-8"))
    except toml.TomlError as error:
        raise ConfigError("%s, %s" % (path, error)) from None
    except UnicodeError:  # MP: says no position
        raise ConfigError("%s: not UTF-8 text" % path) from None
    _check_names(path, values, lines)
    sections = {}
    for table, key, kind, usual, rule, _ in KEYS:
        section = sections.setdefault(table, {})
        default = (defaults or {}).get((table, key), usual)
        value = values.get(table, {}).get(key, default)
        try:
            section[key] = _checked(kind, rule, value, _folder(path))
        except ValueError as error:
            raise _error(path, lines, table, key, str(error)) from None
    _check_broker(path, lines, sections["broker"])
    if sections["broker"]["tls"] and "broker.port" not in lines:
        sections["broker"]["port"] = 8883
    return Config(path, sections)


def read_key(path, stat=os.stat):
    """Return the device's key (32 bytes) from the file at `path`: 64 hexadecimal digits.

    Raises ConfigError if it is missing or malformed, or if its mode lets group or others in.
    """
    digits = _read_private(path, stat).strip()
    if len(digits) != KEY_DIGITS or not all(chr(digit) in _HEX for digit in digits):
        raise ConfigError("%s: must hold %d hexadecimal digits" % (path, KEY_DIGITS))
    return bytes.fromhex(str(digits, "utf-8"))


def read_secret(path, stat=os.stat):
    """Return the first line of the file at `path` (str), without white space at its ends.

    Raises ConfigError if it is missing or empty, or if its mode lets group or others in.
    """
    try:
        text = str(_read_private(path, stat), "utf-8")
    except UnicodeError:
        raise ConfigError("%s: not UTF-8 text" % path) from None
    secret = text.partition("\n")[0].strip()
    if not secret:
        raise ConfigError("%s: its first line is empty" % path)
    return secret


def check_private(path, stat=os.stat):
    """Raise ConfigError if the file at `path` is missing, or if others than its owner have access.

    For secrets that other programs read, such as keys in PEM form.
    """
    try:
        mode = stat(path)[0]
    except OSError as error:
        raise _unreadable(path, error) from None
    # MP: the unix port gives permission bits too; file systems of boards give the type alone, so
    # nothing is set there. Windows makes its bits up.
    is_file = mode & 0o170000 != 0o040000
    if is_file and mode & 0o077 and sys.platform != "win32":
        raise ConfigError("%s: others than its owner have access: chmod 600 %s" % (path, path))


def describe():
    """Return a reference of all keys, with defaults and what they mean, as text."""
    out = ["Keys of moted.toml. Paths are relative to the folder of that file."]
    last = None
    for table, key, kind, default, rule, help_ in KEYS:
        if table != last:
            out.append("\n[%s]" % table)
            last = table
        shown = "required" if default is REQUIRED else "default " + _shown(default)
        out.append("  %-16s  %s" % (key, help_))
        out.append("%20s(%s%s; %s)" % ("", _KINDS[kind][1], _rule_text(kind, rule), shown))
    return "\n".join(out) + "\n"


def _check_names(path, values, lines):
    # In order of lines, so that the same file gives the same message on every runtime.
    tables = []
    for row in KEYS:
        if row[0] not in tables:
            tables.append(row[0])
    for name in sorted(values, key=lambda name: lines[name]):
        where = "%s, line %d: " % (path, lines[name])
        if name not in tables:
            word = "table [%s]" if isinstance(values[name], dict) else "key %s outside any table"
            known = ", ".join(["[%s]" % table for table in tables])
            raise ConfigError("%sunknown %s; known tables: %s" % (where, word % name, known))
        if not isinstance(values[name], dict):
            raise ConfigError("%s%s must be a table: [%s]" % (where, name, name))
        _check_keys(path, name, values[name], lines)


def _check_keys(path, table, values, lines):
    known = [row[1] for row in KEYS if row[0] == table]
    for key in sorted(values, key=lambda key: lines[table + "." + key]):
        if table == "broker" and key == "password":
            message = "secrets don't belong in this file; put it in a file of mode 0600 and name "
            raise _error(path, lines, table, key, message + "it with password_file")
        if key not in known:
            message = "unknown key; known keys: " + ", ".join(known)
            raise _error(path, lines, table, key, message)


def _check_broker(path, lines, broker):
    """Refuse keys of [broker] that stand in the file and contradict each other."""
    serial, tls = broker["serial"], broker["tls"]
    rules = [  # key, whether it is wrong, why
        ("host", serial, _TWO_WAYS),
        ("port", serial, _TWO_WAYS),
        ("tls", serial and tls, "not on a serial line: mote bridge --tls talks it to the broker"),
        ("baud", not serial, "it is the speed of a serial port, so serial is needed too"),
    ]
    for key in ("ca_file", "client_cert", "client_key"):
        rules.append((key, broker[key] and not tls, "it has no effect without tls = true"))
    for key, other in (("client_cert", "client_key"), ("client_key", "client_cert")):
        rules.append((key, broker[key] and not broker[other], other + " is needed too"))
    for key, wrong, why in rules:
        if wrong and "broker." + key in lines:
            raise _error(path, lines, "broker", key, why)


def _error(path, lines, table, key, message):
    line = lines.get(table + "." + key) or lines.get(table)
    where = "%s, line %d" % (path, line) if line else path
    return ConfigError("%s: [%s] %s: %s" % (where, table, key, message))


def _checked(kind, rule, value, folder):
    # Returns the value in its final form, or raises ValueError with the reason.
    if value is REQUIRED:
        raise ValueError("required, but missing")
    wanted, words = _KINDS[kind]
    if wanted is float and type(value) is int:  # type(): CPython's bool is an int
        value = float(value)
    if type(value) is not wanted:
        raise ValueError("must be %s, not %s" % (words, _TYPES[type(value)]))
    if wanted is list:
        return [_checked_item(item, folder if kind == "paths" else None) for item in value]
    if wanted is str:
        _check_string(kind, rule, value)
    if isinstance(rule, list) and value not in rule:
        shown = ", ".join([_shown(choice) for choice in rule])
        raise ValueError("%s is not one of %s" % (_shown(value), shown))
    if isinstance(rule, tuple) and wanted is not str and not rule[0] <= value <= rule[1]:
        raise ValueError("%s is not in %s..%s" % (value, rule[0], rule[1]))
    if kind in ("path", "file") or (kind == "port" and not value.startswith(UART)):
        return _resolved(folder, value)
    return value


def _checked_item(item, folder):
    if type(item) is not str:
        raise ValueError("must be an array of strings, but holds %s" % _TYPES[type(item)])
    _check_string("path", None, item)
    return item if folder is None else _resolved(folder, item)


def _check_string(kind, rule, value):
    for char in value:
        if ord(char) < 32 or ord(char) == 127:
            raise ValueError("must not hold control characters")
        if kind == "name" and char not in _NAME_CHARS:
            raise ValueError('"%s" may hold a-z A-Z 0-9 - _ . only' % value)
    if kind == "name" and value[:1] in ("-", "_", "."):  # the gateway names files after it
        raise ValueError('"%s" must begin with a letter or a digit' % value)
    if kind == "path" and not value:
        raise ValueError("must not be empty")
    if isinstance(rule, tuple) and not rule[0] <= len(value) <= rule[1]:
        raise ValueError("must have %d..%d characters, not %d" % (rule[0], rule[1], len(value)))


def _rule_text(kind, rule):
    if rule is None:
        return ""
    if isinstance(rule, list):
        return ", one of " + ", ".join([_shown(choice) for choice in rule])
    text = ", %s..%s" % rule
    if kind == "name":
        return text + " characters of a-z A-Z 0-9 - _ ."
    return text + " characters" if kind == "str" else text


def _shown(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return '"%s"' % value if isinstance(value, str) else "%s" % value


def _folder(path):
    return path[: path.rfind("/") + 1]


def _resolved(folder, path):
    return path if not path or path.startswith("/") else folder + path


def _read(path, limit):
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > limit:
        raise ConfigError("%s: longer than %d bytes" % (path, limit))
    return data


def _read_private(path, stat):
    check_private(path, stat)
    return _read(path, MAX_SECRET)


def _unreadable(path, error):
    reason = _ERRORS.get(error.errno) or "cannot be read, error %s" % error.errno
    return ConfigError("%s: %s" % (path, reason))
