"""Why TLS refused a connection, in words: what is wrong, and what to do about it.

OpenSSL and mbedTLS tell their reasons as texts; the part that says which it is decides here, and
the same words come of it on both runtimes. Where the broker's certificate is at hand, they have
its names and dates.
"""

# When this was written: no clock that is right shows less. It is a constant because the dates of
# the files say nothing: frozen modules have none, packages may be built with any, and what is
# unpacked on a machine without a clock is of 1970. Raise it with each release.
BUILT = (2026, 11, 1)

HUNG_UP = "hung up"  # what streams says

_RESET = 104
_MAX_NAMES = 3  # shown

_EXPIRED, _EARLY, _NAME, _CA, _PLAIN, _WANTED, _UNLIKED, _GONE = range(8)
# The first that is found counts: an expired certificate may well have other faults.
_FRAGMENTS = (
    (_EXPIRED, ("certificate has expired", "validity has expired")),
    (_EARLY, ("not yet valid", "starts in the future")),
    (_NAME, ("mismatch, certificate is not valid", "does not match with the expected")),
    (_CA, ("local issuer", "self-signed", "self signed", "first certificate", "not correctly")),
    (_PLAIN, ("WRONG_VERSION", "INVALID_RECORD", "RECORD_LAYER", "PACKET_LENGTH")),
    (_WANTED, ("CERTIFICATE_REQUIRED",)),
    (_UNLIKED, ("ALERT",)),
    (_GONE, ("EOF", "CLOSE_NOTIFY", HUNG_UP)),
)
_TEXTS = {
    _CA: "the certificate is signed by no CA of %s: name the broker's CA with [broker] ca_file",
    _PLAIN: "what answers at port %d does not speak TLS: is it the broker's TLS port?",
    _WANTED: "the broker asks for a certificate: name one with [broker] client_cert, client_key",
    _UNLIKED: "the broker refuses to talk TLS with us: does it want a certificate ([broker] "
    "client_cert), or another one?",
    _GONE: "the broker hung up before it said anything: is %d its TLS port, does it want a "
    "certificate ([broker] client_cert)?",
}


def clock_fault(now):
    """What is wrong with the date `now` (year, month, day), or None."""
    if tuple(now[:3]) >= BUILT:
        return None
    return (
        "the clock says %s, before this program was built: "
        "certificates can't be checked until the time is set" % _shown(now)
    )


def is_about_dates_or_names(error):
    """Whether the broker's certificate has more to tell."""
    return _kind(error) in (_EXPIRED, _EARLY, _NAME)


def refusal(error, target, cert, now):
    """An OSError that says what an error means that TLS raised, ECONNRESET if somebody hung up.

    `target` is (host, port, name of the CAs); `cert` the broker's certificate in DER, or None.
    """
    kind = _kind(error)
    return OSError(_RESET if kind == _GONE else 0, _text(kind, error, target, cert, now))


def _text(kind, error, target, cert, now):
    host, port, trusted = target
    if kind is None:
        return "TLS: " + " ".join(str(error.args[-1] if error.args else error).split())
    if kind in (_EXPIRED, _EARLY, _NAME):
        return _of_certificate(kind, host, cert, _shown(now))
    if kind == _CA:
        return _TEXTS[kind] % trusted
    return _TEXTS[kind] % port if "%d" in _TEXTS[kind] else _TEXTS[kind]


def _of_certificate(kind, host, cert, today):
    found, first, last = _read(cert) if cert else ((), "", "")
    if kind == _EXPIRED:
        when = " on " + last if last else ""
        return "the certificate expired%s, today is %s: the broker needs a new one" % (when, today)
    if kind == _EARLY:
        when = "valid from %s on" % first if first else "not valid yet"
        return "the certificate is %s, today is %s: is the clock right?" % (when, today)
    shown = ", ".join(['"%s"' % name for name in found[:_MAX_NAMES]])
    what = "is for %s, not for" % shown if shown else "is not for"
    return 'the certificate %s "%s": [broker] host must be a name that is in it' % (what, host)


def _read(cert):
    """The names of a certificate, its first and its last day; empty if it is a strange one."""
    from .certificates import dates, names

    try:
        first, last = dates(cert)
        return names(cert), first, last
    except (ValueError, IndexError):
        return (), "", ""


def _kind(error):
    text = str(error)
    for kind, fragments in _FRAGMENTS:
        for fragment in fragments:
            if fragment in text:
                return kind
    return None


def _shown(now):
    return "%04d-%02d-%02d" % tuple(now[:3])
