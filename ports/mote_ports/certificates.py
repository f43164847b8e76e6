"""Certificates and keys in files: PEM to DER, and what a certificate says of itself.

Only as much of DER (X.690, 10) and of X.509 (RFC 5280, 4.1) as it takes to match a key with its
certificate, and to explain why a certificate was refused. It decides nothing: that is TLS's part.
"""

from binascii import a2b_base64

from .reasons import os_reason

_MAX_LINES = 400  # of a block: 25 KB
_SEQUENCE, _INTEGER = 0x30, 0x02
_GENERALIZED_TIME = 0x18  # its years have four digits; those of the other type have two
_VERSION, _EXTENSIONS = 0xA0, 0xA3  # fields of a certificate that may be missing
_EC_POINT = 0xA1  # of a key of RFC 5915
_NAME, _ADDRESS = 0x82, 0x87
_ALTERNATIVE_NAMES = b"\x55\x1d\x11"  # the OID 2.5.29.17


def read_pem(path, label):
    """The blocks of a PEM file whose label ends with `label`, in DER. Raises ValueError."""
    try:
        with open(path) as file:
            blocks = _blocks(file, label)
    except OSError as e:
        raise ValueError("%s: %s" % (path, os_reason(e))) from None
    except UnicodeError:
        blocks = None
    except ValueError as e:
        raise ValueError("%s: %s" % (path, e)) from None
    if not blocks:
        raise ValueError("%s: no %s in PEM form" % (path, label.lower()))
    return blocks


def _blocks(file, label):
    blocks = []
    lines = None  # of the block we are in
    for text in file:
        line = text.strip()
        if line.startswith("-----BEGIN ") and line.endswith(label + "-----"):
            lines = []
        elif lines is None:
            continue
        elif line.startswith("-----END "):
            blocks.append(_decode("".join(lines)))
            lines = None
        else:
            lines.append(line)
        if "ENCRYPTED" in line:  # in the label or, before PKCS #8, in a header
            raise ValueError("it is encrypted, and nobody is there to be asked for the password")
        if lines and len(lines) > _MAX_LINES:
            raise ValueError("too long")
    return blocks


def _decode(text):
    try:
        return a2b_base64(text)
    except ValueError:
        raise ValueError("damaged: no base64") from None


def read_pair(cert_path, key_path):
    """A client's (certificate, key) in DER. Raises ValueError; it names the keys of [broker]."""
    cert = named("client_cert", read_pem, cert_path, "CERTIFICATE")[0]
    key = named("client_key", read_pem, key_path, "PRIVATE KEY")[0]
    try:
        fits = public_part(key) in cert
    except (ValueError, IndexError):
        raise ValueError("client_key: %s: damaged" % key_path) from None
    if not fits:
        text = "client_key: %s: not the key that belongs to %s"
        raise ValueError(text % (key_path, cert_path))
    return cert, key


def named(name, call, *args):
    """`call(*args)`; a ValueError of it gets the name of the key in the configuration."""
    try:
        return call(*args)
    except ValueError as e:
        raise ValueError("%s: %s" % (name, e)) from None


def public_part(key):
    """What stands in a private key (DER) and in its certificate alike; b"" if nothing does.

    RSA (RFC 8017, A.1.2) has its modulus there, EC (RFC 5915) the point, unless it was left out.
    Raises ValueError or IndexError if it is no key.
    """
    fields = _items(key, _items(key, (_SEQUENCE, 0, len(key)))[0])
    if fields[1][0] == _SEQUENCE:  # RFC 5958: wrapped, behind its algorithm
        key = _bytes(key, fields[2])
        if key[0] != _SEQUENCE:
            return b""  # Ed25519 and its like: the public half would have to be computed
        fields = _items(key, _items(key, (_SEQUENCE, 0, len(key)))[0])
    if fields[1][0] == _INTEGER:
        return _bytes(key, fields[1])
    for field in fields:
        if field[0] == _EC_POINT:
            return _bytes(key, _items(key, field)[0])[1:]  # without the count of unused bits
    return b""


def dates(cert):
    """The (first, last) day of a certificate in DER, as "2026-01-31". Raises as public_part."""
    first, last = _items(cert, _fields(cert)[3])
    return _day(cert, first), _day(cert, last)


def names(cert):
    """The names and IPv4 addresses that a certificate in DER is for. Raises as public_part."""
    found = []
    for field in _fields(cert):
        if field[0] == _EXTENSIONS:
            for extension in _items(cert, _items(cert, field)[0]):
                parts = _items(cert, extension)
                if _bytes(cert, parts[0]) == _ALTERNATIVE_NAMES:
                    found.extend(_items(cert, _items(cert, parts[-1])[0]))
    shown = []
    for name in found:
        if name[0] == _NAME:
            shown.append(str(_bytes(cert, name), "utf-8"))
        elif name[0] == _ADDRESS and name[2] - name[1] == 4:
            shown.append(".".join([str(byte) for byte in _bytes(cert, name)]))
    return shown


def _fields(cert):
    """The items of a TBSCertificate, without the version."""
    whole = _items(cert, (_SEQUENCE, 0, len(cert)))[0]
    fields = _items(cert, _items(cert, whole)[0])
    return fields[1:] if fields[0][0] == _VERSION else fields


def _day(cert, item):
    text = str(_bytes(cert, item), "utf-8")
    if item[0] != _GENERALIZED_TIME:  # RFC 5280, 4.1.2.5.1
        text = ("19" if text >= "50" else "20") + text
    return text[:4] + "-" + text[4:6] + "-" + text[6:8]


def _bytes(data, item):
    return data[item[1] : item[2]]


def _items(data, item):
    """What an item of DER holds: (tag, begin, end) each. ValueError if that is no DER."""
    _, at, end = item
    items = []
    while at < end:
        if end - at < 2:
            raise ValueError("no DER")
        tag, size = data[at], data[at + 1]
        at += 2
        if size > 127:
            digits = size & 127
            if not 0 < digits < 4 or digits > end - at:
                raise ValueError("no DER")
            size = int.from_bytes(data[at : at + digits], "big")
            at += digits
        if size > end - at:
            raise ValueError("no DER")
        items.append((tag, at, at + size))
        at += size
    return items
