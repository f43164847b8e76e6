"""Certificates, keys and clocks, as far as they are read in order to explain a refusal."""

# not on boards: it reads files of the host

import os
from binascii import a2b_base64

from helpers import Random, raises
from mote_ports.certificates import dates, names, public_part, read_pair, read_pem
from mote_ports.reasons import network_reason
from mote_ports.refusals import BUILT, clock_fault, refusal

# Made for this test: a self-signed certificate for a.example, b.example, 10.1.2.3 and ::1, from
# 1999 (a date with a year of two digits) to 2055 (four), and its key in PKCS #8.
CERT = """\
MIIBOTCB4KADAgECAgEFMAoGCCqGSM49BAMCMAAwIBcNOTkxMjMxMDAwMDAwWhgP
MjA1NTAyMDMwNDA1MDZaMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQY8VZi
Tjb7VVnTh4wceevcyuVt55hl4tRs+3ftMrLXmVkcNevZS2rnA3hK/whA3KN7E/WW
aW+/HW5MbWlNyBtco0kwRzAMBgNVHRMBAf8EAjAAMDcGA1UdEQQwMC6CCWEuZXhh
bXBsZYcECgECA4cQAAAAAAAAAAAAAAAAAAAAAYIJYi5leGFtcGxlMAoGCCqGSM49
BAMCA0gAMEUCICjVUQVUdKJTfZCbKwzs3RnOTgnUWEobX2k1k+EIdmPcAiEAv5m2
cBwy16OZNrBHH98jwC2gK+PCs7lU9fqCxspH61A=
"""
KEY = """\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgSnijnqw18wM9bkRC
Y95eAlnlxqshpjUKYyLukctZySehRANCAAQY8VZiTjb7VVnTh4wceevcyuVt55hl
4tRs+3ftMrLXmVkcNevZS2rnA3hK/whA3KN7E/WWaW+/HW5MbWlNyBtc
"""
CERT_PEM = f"-----BEGIN CERTIFICATE-----\n{CERT}-----END CERTIFICATE-----\n"
KEY_PEM = f"-----BEGIN PRIVATE KEY-----\n{KEY}-----END PRIVATE KEY-----\n"


def _write(name, text):
    path = (os.getenv("MOTE_TEST_TMP") or "/tmp") + "/" + name
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_certificate_tells_its_names_and_dates():
    cert = a2b_base64(CERT)
    assert names(cert) == ["a.example", "10.1.2.3", "b.example"]
    assert dates(cert) == ("1999-12-31", "2055-02-03")


def test_what_is_no_certificate_raises_what_callers_expect():
    cert, key = a2b_base64(CERT), a2b_base64(KEY)
    random = Random(3)
    spoilt = [cert[:n] for n in range(len(cert))]
    for _ in range(500):
        at = random.below(len(cert))
        spoilt.append(cert[:at] + random.bytes(1) + cert[at + 1 :])
    spoilt.extend([key[:n] for n in range(len(key))])
    for data in spoilt:
        for call in (names, dates, public_part):
            try:
                call(data)
            except (ValueError, IndexError):
                continue


def test_a_key_belongs_to_its_certificate():
    cert, key = _write("cert.pem", "a comment\n" + CERT_PEM + CERT_PEM), _write("key.pem", KEY_PEM)
    assert read_pair(cert, key) == (a2b_base64(CERT), a2b_base64(KEY))
    other = bytearray(a2b_base64(CERT))
    other[100] ^= 1  # in its public key
    assert public_part(a2b_base64(KEY)) not in bytes(other)


def test_pem_files_that_are_not_as_they_should_be():
    for text, why in (
        ("", "no certificate in PEM form"),
        (CERT_PEM[:-30], "no certificate in PEM form"),
        (KEY_PEM, "no certificate in PEM form"),
        (b"\x30\x82\xff\xfe", "no certificate in PEM form"),
        (CERT_PEM.replace("MIIB", "MIB"), "damaged: no base64"),
        (CERT_PEM.replace(CERT, CERT * 60), "too long"),
    ):
        path = _write("bad.pem", text)
        assert str(raises(ValueError, read_pem, path, "CERTIFICATE")) == f"{path}: {why}"
    encrypted = KEY_PEM.replace("\nMIGH", "\nProc-Type: 4,ENCRYPTED\n\nMIGH")
    for text in (encrypted, KEY_PEM.replace(" PRIVATE", " ENCRYPTED PRIVATE")):
        path = _write("key.pem", text)
        assert "encrypted" in str(raises(ValueError, read_pem, path, "PRIVATE KEY"))


def test_a_clock_from_before_the_program_was_built_is_a_fault():
    assert clock_fault((1970, 1, 1, 0, 0, 5)) == (
        "the clock says 1970-01-01, before this program was built: "
        "certificates can't be checked until the time is set"
    )
    year, month, day = BUILT
    assert clock_fault((year - 1, 12, 31))
    assert clock_fault((year, month - 1, 28))
    assert clock_fault((year, month, day)) is None
    assert clock_fault((year + 1, 1, 1)) is None


def _said(text, cert=None):
    return refusal(ValueError(text), ("c.example", 8883, "ca.pem"), cert, (2026, 11, 21)).args[-1]


def test_a_refusal_with_the_certificate_at_hand_has_its_names_and_dates():
    cert = a2b_base64(CERT)
    expired = "\nThe certificate validity has expired\n"
    assert "expired on 2055-02-03, today is 2026-11-21" in _said(expired, cert)
    early = "\nThe certificate validity starts in the future\n"
    assert "valid from 1999-12-31 on, today is" in _said(early, cert)
    name = "\nThe certificate Common Name (CN) does not match with the expected CN\n"
    assert '"a.example", "10.1.2.3", "b.example", not for "c.example"' in _said(name, cert)
    assert 'is not for "c.example"' in _said(name, cert[:50])
    assert _said(expired + name[1:]).startswith("the certificate expired,")


def test_a_refusal_that_nobody_foresaw_is_one_line():
    assert _said("\nThe certificate has been revoked\n  (is on a CRL)\n") == (
        "TLS: The certificate has been revoked (is on a CRL)"
    )


def test_errors_of_the_network_have_words():
    for args, said in (
        ((111, "Connect call failed ('127.0.0.1', 9)"), "connection refused"),
        (("Multiple exceptions: [Errno 111] a, [Errno 113] b",), "connection refused"),
        ((-2, "Name or service not known"), 'no address is known for "b"'),
        (("[addrinfo error -2]",), 'no address is known for "b"'),
        ((104,), "connection reset"),
        ((999,), "error 999"),
        (("whatever",), "whatever"),
        ((), "error 0"),
    ):
        assert network_reason(OSError(*args), "b") == said, args
