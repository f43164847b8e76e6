"""What a device and its gateway say to each other: message types, keys, authentication.

A message is a MAC of 16 bytes and one MessagePack array (FORMAT.md, "Link"). `up` is signed with
Ku over the array; `dn` with Kd over the nonce of the device's last HELLO and the array, whose
first field is a counter that rises within the nonce. Source: RFC 2104 (HMAC) with SHA-256,
truncated as RFC 2104, section 5, allows.
"""

import hashlib

from .const import const
from .msgpack import FormatError

MAC = const(16)
ID = const(16)  # bytes of a chain hash that travel: a request's id, a tip
NONCE = const(8)

# up; the first field
HELLO = const(1)  # epoch, nonce, b, h[b], head, h[head], oldest, bytes of a reply in one message
UPLOAD = const(2)  # epoch, a, h[a-1], frames a..b one after the other
COMPLETE = const(3)  # id of the request, offset: send the reply from there on
TOOL = const(4)  # hash of all declarations, index, count, declaration
GAP = const(5)  # epoch, first and last record that are lost, h[first-1], h[last] (32 bytes)

# dn; the second field, behind the counter
TIP = const(1)  # T, h[T], epoch, unix time
REPLY = const(2)  # id, offset, bytes
REPLY_END = const(3)  # id, length, digest, calls, tokens
BUSY = const(4)  # id, milliseconds to wait
FAIL = const(5)  # id, why
CANCEL = const(6)  # session or nil, milliseconds after the hello when this expires
TOOLS = const(7)  # hash: the gateway needs these declarations


class Mac:
    """HMAC-SHA-256 under one key of at most 64 bytes."""

    def __init__(self, key):
        pad = bytes(key) + bytes(64 - len(key))
        self._inner = bytes([b ^ 0x36 for b in pad])
        self._outer = bytes([b ^ 0x5C for b in pad])

    def full(self, a, b=b""):
        """32 bytes over `a` and `b`."""
        inner = hashlib.sha256(self._inner)
        inner.update(a)
        inner.update(b)
        outer = hashlib.sha256(self._outer)
        outer.update(inner.digest())
        return outer.digest()

    def sign(self, a, b=b""):
        """The first 16 bytes of that."""
        return self.full(a, b)[:MAC]


def subkey(key, use):
    """The Mac for one use of a device's key: "up", "dn" or "log"."""
    return Mac(Mac(key).full(use.encode()))


def body(mac, message, prefix=b""):
    """The array in a message whose MAC is right. Raises FormatError if it is not."""
    view = memoryview(message)
    if len(view) <= MAC:
        raise FormatError("message of %d bytes" % len(view))
    good = mac.sign(prefix, view[MAC:])
    wrong = 0
    for i in range(MAC):  # in constant time
        wrong |= good[i] ^ view[i]
    if wrong:
        raise FormatError("wrong MAC")
    return view[MAC:]
