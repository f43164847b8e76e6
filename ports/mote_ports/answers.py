"""What goes to `mote/d/out`: an answer as JSON, in pieces: a long one is never whole in RAM.

The text comes from the log in pieces, twice: once to see how long the JSON will be, since a packet
begins with its length, and once to be sent. Keys stand in a fixed order and characters are
escaped in one way: the same answer is the same bytes.
"""

import json

HOW = ("done", "limit", "failed", "cancelled", "refused")
REFUSED = 4

CUT = b" [cut: the answer is longer than a packet]"
_BROKEN = b"(reply not UTF-8)"
_PIECE = 256  # bytes of text at a time
_SHORT = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}


class BadText(Exception):
    """The text is not UTF-8."""


def refusal(session, name, why):
    """The payload that refuses an ask, whole."""
    return Answer(session, name, REFUSED, why).whole()


class Answer:
    """The payload of an answer. `text` is a str, or a function that gives a new reader of it.

    A reader has `fill(into) -> int`, 0 at the end.
    """

    def __init__(self, session, name, how, text):
        # MP: dicts are unordered, so the object is put together by hand
        head = '{"session": %s, "id": %s, "status": "%s", "text": "'
        self._head = (head % (_quote(session), _quote(name), HOW[how])).encode()
        self._text = text
        self._bytes = -1  # of the text that are sent; all
        self._buf = memoryview(bytearray(_PIECE))

    def measure(self, most):
        """Bytes of the payload; text is cut, and the cut marked, where it would be over `most`."""
        try:
            return self._measure(most)
        except BadText:
            self._text = _BROKEN.decode()
            return self._measure(most)

    def _measure(self, most):
        room = most - len(self._head) - 2
        size = at = fits = cut = 0
        check = _Utf8()
        for data in self._pieces():
            for byte in data:
                if check.begins(byte) and size <= room - len(CUT):
                    fits, cut = at, size  # a cut may stand here
                at += 1
                size += 1 if byte > 31 and byte not in (34, 92) else len(_escaped(byte))
        check.end()
        if size <= room:
            self._bytes = -1
            return len(self._head) + size + 2
        self._bytes = fits
        return len(self._head) + cut + len(CUT) + 2

    def pieces(self):
        """The payload, in pieces that are good until the next one."""
        yield self._head
        left = self._bytes
        for data in self._pieces():
            n = len(data) if left < 0 else min(left, len(data))
            yield _escape(data[:n])
            if left >= 0:
                left -= n
        yield b'"}' if self._bytes < 0 else CUT + b'"}'

    def whole(self):
        """The payload at once."""
        self.measure(1 << 30)
        return b"".join([bytes(piece) for piece in self.pieces()])

    def _pieces(self):
        if isinstance(self._text, str):
            yield self._text.encode()
            return
        fill = self._text().fill
        n = fill(self._buf)
        while n:
            yield self._buf[:n]
            n = fill(self._buf)


class _Utf8:
    """Checks UTF-8 byte by byte. Source: RFC 3629, section 4."""

    def __init__(self):
        self._left = 0  # bytes of the character that are still to come
        self._low, self._high = 0x80, 0xBF  # what the next one may be

    def begins(self, byte):
        """True if a character begins with this byte. Raises BadText."""
        if self._left:
            if not self._low <= byte <= self._high:
                raise BadText
            self._left -= 1
            self._low, self._high = 0x80, 0xBF
            return False
        if byte >= 0x80:
            self._first(byte)
        return True

    def _first(self, byte):
        if not 0xC2 <= byte <= 0xF4:
            raise BadText
        self._left = 1 + (byte >= 0xE0) + (byte >= 0xF0)
        if byte in (0xE0, 0xF0):  # else it would be longer than it must
            self._low = 0xA0 if byte == 0xE0 else 0x90
        elif byte in (0xED, 0xF4):  # surrogates; beyond Unicode
            self._high = 0x9F if byte == 0xED else 0x8F

    def end(self):
        """Raises BadText in the middle of a character."""
        if self._left:
            raise BadText


def _escape(data):
    for byte in data:
        if byte < 32 or byte in (34, 92):
            return b"".join([_escaped(byte) for byte in data])
    return data


def _escaped(byte):
    if byte > 31 and byte not in (34, 92):
        return bytes((byte,))
    return _SHORT.get(byte) or b"\\u%04x" % byte


def _quote(text):
    try:
        return json.dumps(text, ensure_ascii=False)
    except TypeError:  # MP: has no such option, and writes UTF-8 anyway
        return json.dumps(text)
