"""The fields of MQTT packets: a bounded reader and a bounded writer.

A packet is a fixed header (type and flags in one byte, then the remaining length as a variable
byte integer of at most four) and a body. Numbers are big-endian; strings and binary data carry a
length of two bytes. In 5.0 most bodies hold a property list: its length, then identifier and
value, where the identifier decides the value's type (sections 1.5, 2.1 and 2.2.2 of MQTT 5.0).
"""

# Type of each property's value, by identifier: its size, 1, 2 or 4 bytes; 3: binary data or a
# string; 5: variable byte integer; 6: a pair of strings; 7: a string that is kept; 0: no property.
_KINDS = b"0143000033050000047203314130300302221164111"


class ProtocolError(Exception):
    """The peer broke MQTT or one of our bounds; the connection is dead."""


class Reader:
    """Reads fields of a packet in `buf`, a memoryview; nothing is read beyond the packet's end.

    Every method raises ProtocolError on malformed input.
    """

    def __init__(self, buf):
        self._buf = buf
        self._at = self._end = 0

    def start(self, at, end):
        """Read the bytes at..end from now on."""
        self._at = at
        self._end = end

    def left(self):
        """Bytes not yet read."""
        return self._end - self._at

    def raw(self, size):
        """`size` bytes as a slice of the buffer."""
        at = self._take(size)
        return self._buf[at : self._at]

    def uint(self, size):
        """A big-endian number of `size` bytes."""
        at = self._take(size)
        value = 0
        while at < self._at:
            value = value << 8 | self._buf[at]
            at += 1
        return value

    def varint(self):
        """A variable byte integer, 0..268435455."""
        value = shift = 0
        while shift < 28:
            byte = self.uint(1)
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ProtocolError("bad length")

    def pid(self):
        """A packet identifier, 1..65535."""
        pid = self.uint(2)
        if not pid:
            raise ProtocolError("packet id 0")
        return pid

    def text(self):
        """A string, not empty; U+0000 is malformed (section 1.5.4)."""
        try:
            text = str(self.raw(self.uint(2)), "utf-8")
        except UnicodeError:
            text = ""
        if not text or "\0" in text:
            raise ProtocolError("bad string")
        return text

    def properties(self):
        """A property list as {identifier: value}, without the strings that are not kept."""
        at = self._take(self.varint())
        end = self._end
        self.start(at, self._at)
        found = {}
        while self._at < self._end:
            ident = self.uint(1)
            kind = _KINDS[ident] - 48 if ident < len(_KINDS) else 0
            if not kind:
                raise ProtocolError("bad property")
            if kind == 6:
                self.raw(self.uint(2))
                kind = 3
            if kind == 3:
                self.raw(self.uint(2))
            elif kind == 7:
                found[ident] = self.text()
            else:
                found[ident] = self.varint() if kind == 5 else self.uint(kind)
        self._end = end
        return found

    def _take(self, size):
        at = self._at
        if size > self._end - at:
            raise ProtocolError("bad length")
        self._at = at + size
        return at


class Writer:
    """Builds a packet in a buffer of `size` bytes, which bound it as a whole.

    `limit`, never more than `size`, may be lowered.
    ValueError if the packet would be larger, or a number too big for its field.
    """

    def __init__(self, size_bytes):
        self.size = self.limit = size_bytes
        self._buf = memoryview(bytearray(size_bytes + 3))
        self.start()

    def start(self):
        """Begin a packet."""
        self._at = 5  # behind the longest fixed header

    def uint(self, value, size):
        """Append a big-endian number of `size` bytes, perhaps none."""
        if value >> 8 * size:
            raise ValueError("number too big")
        at = self._take(size)
        while size:
            size -= 1
            self._buf[at] = value >> 8 * size & 255
            at += 1

    def raw(self, data):
        """Append bytes as they are."""
        at = self._take(len(data))
        self._buf[at : self._at] = data

    def data(self, data):
        """Append bytes, or a str as UTF-8, behind their length."""
        if isinstance(data, str):
            data = data.encode()
        self.uint(len(data), 2)
        self.raw(data)

    def end(self, head, more=0):
        """The packet, its first byte being `head`: a slice that lives until the next start().

        `more` bytes of it follow later.
        """
        size = self._at - 5 + more
        at = self._start = _start_of(size)
        buf = self._buf
        buf[at] = head
        while at < 4:
            at += 1
            buf[at] = size & 127 | (128 if at < 4 else 0)
            size >>= 7
        return buf[self._start : self._at]

    def _take(self, size):
        at = self._at
        self._at = at + size
        if self._at - _start_of(self._at - 5) > self.limit:
            raise ValueError("packet over %d bytes" % self.limit)
        return at


def _start_of(size):
    """Where a packet begins whose body has `size` bytes and begins at 5."""
    return 3 - (size > 0x7F) - (size > 0x3FFF) - (size > 0x1FFFFF)
