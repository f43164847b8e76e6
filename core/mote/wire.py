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
SHORT = const(8)  # bytes of one that only has to tell chains apart
NONCE = const(8)

# up; the first field
HELLO = const(1)  # epoch, nonce, b, ids of b and b+1, count, head, its id, oldest, bytes in a part
UPLOAD = const(2)  # epoch, a, short id of a-1, frames a..b one after the other, check, wanted REQ
COMPLETE = const(3)  # id of the request, offset: send the reply from there on
TOOL = const(4)  # hash of all declarations, index, count, declaration
GAP = const(5)  # epoch, first and last record that are lost, h[first-1], h[last] (32 bytes)
POINTS = const(6)  # epoch, [[record, its id]...]: the gateway's tip is on another chain
FRAGMENT = const(7)  # number, offset, length of the whole, bytes of an array
RECOVER = const(8)  # record, offset: send this lost record from there on

# dn; the second field, behind the counter
TIP = const(1)  # T, id of T, epoch, unix time [, first and last record to take back]
REPLY = const(2)  # id, offset, bytes
REPLY_END = const(3)  # id, length, digest, calls, tokens [, offset, bytes]
BUSY = const(4)  # id, milliseconds to wait
FAIL = const(5)  # id, why
CANCEL = const(6)  # session or nil, milliseconds after the hello when this expires
TOOLS = const(7)  # hash: the gateway needs these declarations
WHOLE = const(8)  # record: send all up to it without references
RECORD = const(9)  # last to take back, record, kind, offset, length, bytes of its payload

# a record in an upload that the gateway can make itself
REFERENCE = const(0xFF)  # then its kind, low bits of its number, REQ; of a PART its length
CHECK = const(4)  # bytes of the chain hash behind references


class Mac:
    """HMAC-SHA-256 under one key of at most 64 bytes."""

    def __init__(self, key):
        self._inner = bytes([b ^ 0x36 for b in bytes(key) + bytes(64 - len(key))])

    def full(self, a, b=b""):
        """32 bytes over `a` and `b`."""
        inner = hashlib.sha256(self._inner)
        inner.update(a)
        inner.update(b)
        outer = hashlib.sha256(bytes([b ^ 0x6A for b in self._inner]))  # 0x36 ^ 0x5C
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
