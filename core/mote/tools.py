"""Tools: declared next to their code, once; arguments coerced and checked before they run.

    @tool("Run the pump.", ONCE, number("seconds", 0.1, 30, "s"), timeout_s=40)
    async def run_pump(seconds): ...

The declaration is all that the model, the gateway and the log ever learn about a tool.
"""

import hashlib

from .msgpack import Packer
from .records import IDEMPOTENT, ONCE, READ  # noqa: F401 (tools are declared with them)


class Rejected(Exception):
    """A call that can't be started: unknown tool or arguments. The model reads the text."""


class Param:
    """One parameter: its kind, and the range, length or choices that bound it."""

    def __init__(self, name, kind, low, high, unit, about):
        self.name = name
        self.kind = kind  # "integer", "number", "boolean", "text" or "choice"
        self.low = low  # a choice has its options here
        self.high = high
        self.unit = unit
        self.about = about

    def coerce(self, value):
        """The value as the tool takes it: "5" for an integer is 5. Raises Rejected."""
        kind = self.kind
        try:
            if kind == "boolean":
                return _boolean(value)
            if kind == "text":
                return self._text(value)
            if kind == "choice":
                return self._choice(value)
            return self._number(value)
        except (ValueError, TypeError, OverflowError):
            raise Rejected("%s must be of type %s" % (self.name, kind))

    def _number(self, value):
        if isinstance(value, (bool, list, dict)):
            raise TypeError
        whole = isinstance(value, int) or (self.kind == "integer" and isinstance(value, str))
        n = int(value) if whole else float(value)
        if self.kind == "integer":
            if n != int(n):
                raise ValueError
            n = int(n)
        if not self.low <= n <= self.high:  # NaN is in no range
            raise Rejected(
                "%s: %s is not in %s..%s %s" % (self.name, n, self.low, self.high, self.unit)
            )
        return n

    def _text(self, value):
        if isinstance(value, (list, dict)):
            raise TypeError
        value = str(value)
        if len(value) > self.high:
            raise Rejected("%s is over %d characters" % (self.name, self.high))
        return value

    def _choice(self, value):
        if value not in self.low:
            raise Rejected("%s must be one of: %s" % (self.name, ", ".join(self.low)))
        return value


def _boolean(value):
    if isinstance(value, str):
        value = value.lower()
    if value in (True, "true", "on", "yes", "1"):
        return True
    if value in (False, "false", "off", "no", "0"):
        return False
    raise ValueError


def integer(name, low, high, unit="", about=""):
    """An integer parameter of low..high."""
    return Param(name, "integer", low, high, unit, about)


def number(name, low, high, unit="", about=""):
    """A parameter that may have a fraction, of low..high."""
    return Param(name, "number", low, high, unit, about)


def boolean(name, about=""):
    """An on/off parameter."""
    return Param(name, "boolean", None, None, "", about)


def text(name, most=64, about=""):
    """A string parameter of at most `most` characters."""
    return Param(name, "text", None, most, "", about)


def choice(name, options, about=""):
    """A parameter that is one of `options`, a list of strings."""
    return Param(name, "choice", options, None, "", about)


class Tool:
    """A declared tool; `run` is its function, plain or async."""

    def __init__(self, run, name, about, effect, params, timeout_s, touches):
        self.run = run
        self.name = name
        self.about = about
        self.effect = effect
        self.params = params
        if type(timeout_s) is not int or timeout_s < 1:
            raise ValueError("tool %s: timeout_s must be a whole number, 1 or more" % name)
        self.timeout_s = timeout_s
        self.touches = touches

    def check(self, given):
        """The arguments to run with, from what the model gave. Raises Rejected."""
        if not isinstance(given, dict):
            raise Rejected("arguments are not a JSON object: %s" % str(given)[:80])
        args = {}
        for param in self.params:
            if param.name not in given:
                raise Rejected("%s is missing" % param.name)
            args[param.name] = param.coerce(given[param.name])
        for name in given:
            if name not in args:
                raise Rejected("unknown argument %s" % name)
        return args

    def pack(self, p):
        """Write the declaration (FORMAT.md, "Declarations") with the Packer `p`."""
        p.array(6).str(self.name).str(self.about).int(self.effect).int(self.timeout_s)
        p.value(self.touches).array(len(self.params))
        for a in self.params:
            p.array(6).str(a.name).str(a.kind).value(a.low).value(a.high).str(a.unit).str(a.about)


def tool(about, effect, *params, timeout_s=30, touches=()):
    """Declare the function below as a tool; its parameters have the names of `params`.

    `effect` is READ (may run again), IDEMPOTENT (may be set again) or ONCE (never starts twice).
    `touches` names pins, buses, paths or hosts.
    """

    def declare(run):
        return Tool(run, run.__name__, about, effect, params, timeout_s, touches)

    return declare


class Toolset:
    """The tools of a device, in order, each with a name of its own.

    `hash` (16 bytes) is the identity of their declarations. Raises FormatError if a declaration
    is over `declaration_bytes`.
    """

    def __init__(self, tools, declaration_bytes=1024):
        self.tools = list(tools)
        self._longest = declaration_bytes
        sha = hashlib.sha256()
        longest = 0
        for n in range(len(self.tools)):
            packed = self.declaration(n)
            sha.update(packed)
            longest = max(longest, len(packed))
        self.hash = sha.digest()[:16]
        self._longest = longest

    def declaration(self, n):
        """The nth declaration's bytes. The gateway wants them once, so nothing is kept for it."""
        p = Packer(bytearray(self._longest))
        self.tools[n].pack(p)
        return p.taken()

    def effect(self, name):
        """The effect class of the tool of that name, None if there is none."""
        for t in self.tools:
            if t.name == name:
                return t.effect
        return None

    def check(self, name, given):
        """(tool, arguments) for a call. Raises Rejected."""
        for t in self.tools:
            if t.name == name:
                return t, t.check(given)
        raise Rejected("there is no such tool")
