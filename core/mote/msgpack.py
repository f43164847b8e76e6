"""MessagePack without ext types and timestamps, bounded, in buffers that the caller owns.

A `Packer` writes into one buffer, field by field, in the order that the format's page says. An
`Unpacker` reads from one buffer; given a `fill` function it streams: values far larger than the
buffer can be taken piece by piece, and no single item may be larger than the buffer.
Source: the MessagePack specification, "Formats".
"""

import struct

from .const import const

_DEPTH = const(8)
_DEEP = "nested over 8 deep"

_INT = const(0)
_STR = const(1)
_BIN = const(2)
_ARRAY = const(3)
_MAP = const(4)
_OTHER = const(5)  # nil, booleans and floats: the value itself is in `_n`


class FormatError(ValueError):
    """Bytes that are not what their format says, or a value that does not fit it."""


class Packer:
    """Writes values into `buf` from `pos` on. Raises FormatError when the buffer is full."""

    def __init__(self, buf):
        self.buf = memoryview(buf)
        self.pos = 0

    def reset(self, pos):
        """Start again at byte `pos`; returns self."""
        self.pos = pos
        return self

    def taken(self):
        """A view of all that was written."""
        return self.buf[: self.pos]

    def _room(self, n):
        at = self.pos
        if at + n > len(self.buf):
            raise FormatError("over %d bytes" % len(self.buf))
        self.pos = at + n
        return at

    def _head(self, n, fix, most, tag8, tag16):
        """A length: fixed form below `most`, else 8 or 16 bits (8 only if the type has it)."""
        if n < most:
            self.buf[self._room(1)] = fix | n
        elif n < 256 and tag8:
            struct.pack_into(">BB", self.buf, self._room(2), tag8, n)
        elif n < 65536:
            struct.pack_into(">BH", self.buf, self._room(3), tag16, n)
        else:
            raise FormatError("over 65535 long")

    def array(self, n):
        """An array's header; `n` values follow. Returns self, so that headers chain."""
        self._head(n, 0x90, 16, 0, 0xDC)
        return self

    def map(self, n):
        """A map's header; `n` pairs follow."""
        self._head(n, 0x80, 16, 0, 0xDE)
        return self

    def raw(self, data):
        """Bytes as they are: packed before, or not MessagePack at all."""
        n = len(data)
        at = self._room(n)
        self.buf[at : at + n] = data
        return self

    def bin(self, data):
        """Binary."""
        self._head(len(data), 0, 0, 0xC4, 0xC5)
        return self.raw(data)

    def str(self, text):
        """A string, as UTF-8."""
        data = text.encode()
        self._head(len(data), 0xA0, 32, 0xD9, 0xDA)
        return self.raw(data)

    def int(self, n):
        """An integer of -2**63 .. 2**64 - 1, in its shortest form."""
        if -32 <= n < 128:
            self.buf[self._room(1)] = n & 0xFF
        else:
            self._int(n, 0xCC if n >= 0 else 0xD0)
        return self

    def _int(self, n, tag):
        # MP: struct wraps silently on overflow, so the range is checked here
        for width in (1, 2, 4, 8):
            most = 1 << (8 * width)
            if 0 <= n < most or 0 > n >= -(most >> 1):
                at = self._room(1 + width)
                self.buf[at] = tag
                self.buf[at + 1 : at + 1 + width] = (n & most - 1).to_bytes(width, "big")
                return
            tag += 1
        raise FormatError("over 64 bits")

    def value(self, v, depth=_DEPTH):
        """Any plain value. Maps are written in the order of their sorted keys."""
        if v is None or v is True or v is False:
            self.buf[self._room(1)] = 0xC0 if v is None else 0xC3 if v else 0xC2
        elif isinstance(v, int):
            self.int(v)
        elif isinstance(v, float):
            struct.pack_into(">Bd", self.buf, self._room(9), 0xCB, v)
        elif isinstance(v, str):
            self.str(v)
        elif isinstance(v, (list, tuple, dict)):
            self._nested(v, depth - 1)
        else:
            self.bin(v)
        return self

    def _nested(self, v, depth):
        if depth < 0:
            raise FormatError(_DEEP)
        if isinstance(v, dict):
            self.map(len(v))
            for key in sorted(v):
                self.value(key, depth).value(v[key], depth)
        else:
            self.array(len(v))
            for item in v:
                self.value(item, depth)


class Unpacker:
    """Reads values from `buf`, whose first `end` bytes count (all of it, if not given).

    `fill(view) -> int` adds bytes when the buffer runs dry, 0 at the end. Views that `bin` and
    `rest` return are good until the next call. Raises FormatError on whatever is not well formed,
    not of the type asked for, cut short, nested too deep, or larger than the buffer.
    """

    def __init__(self, buf, end=None, fill=None):
        self.buf = memoryview(buf)
        self.pos = 0
        self.end = end if end is not None else 0 if fill else len(buf)
        self._fill = fill
        self._kind = 0
        self._n = 0

    def more(self):
        """True if another byte is there."""
        return self.pos < self.end or self._refill(1)

    def _refill(self, n):
        if self._fill is None:
            return False
        left = self.end - self.pos
        self.buf[:left] = bytes(self.buf[self.pos : self.end])
        self.pos, self.end = 0, left
        while self.end < n:
            got = self._fill(self.buf[self.end :])
            if not got:
                return False
            self.end += got
        return True

    def _take(self, n):
        """Claim `n` bytes; returns where they begin in `buf`."""
        if self.pos + n > self.end and (n > len(self.buf) or not self._refill(n)):
            self._fail("cut short or over %d bytes" % len(self.buf))
        at = self.pos
        self.pos = at + n
        return at

    def _uint(self, width):
        at = self._take(width)
        return int.from_bytes(self.buf[at : at + width], "big")

    def _next(self):
        """Read one head: what follows is of `_kind`, its length or value is in `_n`."""
        tag = self.buf[self._take(1)]
        if tag < 0x80 or tag >= 0xE0:
            self._kind, self._n = _INT, tag - 256 if tag >= 0xE0 else tag
        elif tag < 0x90:
            self._kind, self._n = _MAP, tag & 15
        elif tag < 0xA0:
            self._kind, self._n = _ARRAY, tag & 15
        elif tag < 0xC0:
            self._kind, self._n = _STR, tag & 31
        else:
            self._long(tag)

    def _long(self, tag):
        width = 1 << (tag & 3)
        if tag in (0xC0, 0xC2, 0xC3):
            self._kind, self._n = _OTHER, (None, None, False, True)[tag & 3]
        elif 0xC4 <= tag < 0xC7:
            self._kind, self._n = _BIN, self._uint(width)
        elif tag in (0xCA, 0xCB):
            at = self._take(width)
            self._kind = _OTHER
            self._n = struct.unpack_from(">d" if width == 8 else ">f", self.buf, at)[0]
        elif 0xCC <= tag < 0xD4:
            n = self._uint(width)
            if tag >= 0xD0 and n >> (8 * width - 1):
                n -= 1 << (8 * width)
            self._kind, self._n = _INT, n
        elif 0xD9 <= tag < 0xDC:
            self._kind, self._n = _STR, self._uint(width >> 1)
        elif tag >= 0xDC:
            self._kind, self._n = _ARRAY if tag < 0xDE else _MAP, self._uint(2 << (tag & 1))
        else:
            self._fail("type 0x%02x" % tag)

    def _fail(self, why):
        raise FormatError("%s, at byte %d" % (why, self.pos))

    def _want(self, kind):
        self._next()
        if self._kind != kind:
            self._fail("another type is due")
        return self._n

    def array(self, n=None):
        """An array's length; if `n` is given, it must have at least `n` items."""
        got = self._want(_ARRAY)
        if n is not None and got < n:
            self._fail("%d fields are due" % n)
        return got

    def int(self):
        """An integer."""
        return self._want(_INT)

    def bin(self):
        """A view of a binary value."""
        n = self._want(_BIN)
        at = self._take(n)
        return self.buf[at : at + n]

    def str(self):
        """A string."""
        return self._text(self._want(_STR))

    def _text(self, n):
        at = self._take(n)
        try:
            return str(self.buf[at : at + n], "utf-8")
        except UnicodeError:
            self._fail("not UTF-8")

    def rest(self):
        """A view of what is left in the buffer: the next piece of what is not MessagePack."""
        if self.pos == self.end:
            self.more()
        at, self.pos = self.pos, self.end
        return self.buf[at : self.end]

    def value(self, depth=_DEPTH):
        """Any value, as plain Python objects; binary as bytes."""
        self._next()
        kind, n = self._kind, self._n
        if kind in (_INT, _OTHER):
            return n
        if kind == _STR:
            return self._text(n)
        if kind == _BIN:
            at = self._take(n)
            return bytes(self.buf[at : at + n])
        if depth == 0:
            self._fail(_DEEP)
        # each item takes a byte at least: no list is begun that the buffer could not hold
        if n > len(self.buf):
            self._fail("%d items" % n)
        if kind == _ARRAY:
            return [self.value(depth - 1) for _ in range(n)]
        out = {}
        for _ in range(n):
            key = self.value(0)
            out[key] = self.value(depth - 1)
        return out
