"""Authentication on the link: RFC 4231's vectors, and no tampered byte passes."""

from helpers import KEY, raises
from mote import wire
from mote.msgpack import FormatError

# RFC 4231, section 4: key, data, the first bytes of HMAC-SHA-256. Keys over 64 bytes (cases 6
# and 7) are outside what `Mac` takes.
VECTORS = (
    (
        "0b" * 20,
        b"Hi There".hex(),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    (
        b"Jefe".hex(),
        b"what do ya want for nothing?".hex(),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        "aa" * 20,
        "dd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ),
    (
        "0102030405060708090a0b0c0d0e0f10111213141516171819",
        "cd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    ("0c" * 20, b"Test With Truncation".hex(), "a3b6167473100ee06e0c796c2955552b"),
)


def test_rfc_4231():
    for key, message, good in VECTORS:
        mac = wire.Mac(bytes.fromhex(key))
        data = bytes.fromhex(message)
        assert mac.full(data).hex()[: len(good)] == good
        assert mac.sign(data).hex() == good[:32]


def test_two_pieces_are_one_message():
    mac = wire.Mac(KEY)
    for n in range(6):
        assert mac.full(b"prefix"[:n], b"prefix"[n:]) == mac.full(b"prefix")
    assert mac.sign(b"a", memoryview(b"b")) == mac.sign(b"ab")


def test_each_use_has_its_own_key():
    signs = [wire.subkey(KEY, use).sign(b"x") for use in ("up", "dn", "log")]
    assert signs[0] != signs[1] != signs[2] != signs[0]
    assert signs[0] != wire.Mac(KEY).sign(b"x")


def test_a_body_comes_back():
    mac = wire.subkey(KEY, "dn")
    message = mac.sign(b"nonce", b"body") + b"body"
    assert bytes(wire.body(mac, message, b"nonce")) == b"body"
    assert bytes(wire.body(mac, bytearray(message), b"nonce")) == b"body"


def test_any_changed_bit_is_refused():
    mac = wire.subkey(KEY, "dn")
    message = mac.sign(b"nonce", b"the body") + b"the body"
    for i in range(len(message)):
        for bit in range(8):
            bad = bytearray(message)
            bad[i] ^= 1 << bit
            raises(FormatError, wire.body, mac, bad, b"nonce")


def test_another_nonce_key_or_direction_is_refused():
    mac = wire.subkey(KEY, "dn")
    message = mac.sign(b"nonce", b"body") + b"body"
    raises(FormatError, wire.body, mac, message, b"Nonce")
    raises(FormatError, wire.body, mac, message)
    raises(FormatError, wire.body, wire.subkey(KEY, "up"), message, b"nonce")
    raises(FormatError, wire.body, wire.subkey(bytes(32), "dn"), message, b"nonce")


def test_messages_cut_short_are_refused():
    mac = wire.subkey(KEY, "up")
    message = mac.sign(b"body") + b"body"
    for n in range(len(message)):
        raises(FormatError, wire.body, mac, message[:n])
    raises(FormatError, wire.body, mac, mac.sign(b""))
