"""Codes in words, for people: MQTT's reason codes, and the errors of the operating system."""

# Code in upper case, words in lower case, comma: no text can be taken for a code.
_TEXTS = (
    "80unspecified error,81malformed packet,82protocol error,83implementation specific error,"
    "84unsupported version,85client id invalid,86bad credentials,87not authorized,"
    "88server unavailable,89server busy,8Abanned,8Bserver shutting down,"
    "8Cbad authentication method,8Dkeep-alive timeout,"
    "8Esession taken over by another client,8Ftopic filter invalid,90topic name invalid,"
    "91packet identifier in use,93receive maximum exceeded,94topic alias invalid,"
    "95packet too large,96message rate too high,97quota exceeded,98administrative action,"
    "99payload format invalid,9Aretain not supported,9Bquality of service not supported,"
    "9Cuse another server,9Dserver moved,9Fconnection rate exceeded,"
    "A0maximum connect time,"
)

# errno in decimal: Linux and MicroPython's boards have the same numbers
_ERRORS = (
    "001not permitted,002no such file or folder,005input or output error,"
    "012out of memory,013permission denied,016busy,017exists already,019no such device,"
    "020not a folder,021is a folder,022invalid argument,023too many open files,"
    "024too many open files,025not a serial port,"
    "027file too large,028no space left,030file system is read-only,"
    "032connection broken,036name too long,101network unreachable,103connection aborted,"
    "104connection reset,110no answer,111connection refused,113no way to that host,"
    "116stale file handle,122quota exceeded,"
)


def reason(code):
    """The words for a reason code (MQTT 5.0 section 2.4), or its number.

    1..5 are the return codes of a CONNACK in 3.1.1 (section 3.2.2.3).
    """
    if 0 < code < 6:
        code = b"\x84\x85\x88\x86\x87"[code - 1]
    return _words(_TEXTS, "%02X" % code) or "code 0x%02x" % code


def os_reason(error):
    """The words for an OSError, or its number. MP: boards have no texts for them."""
    number = error.args[0] if error.args else 0
    if not isinstance(number, int):
        return str(error)
    return _words(_ERRORS, "%03d" % number) or "error %d" % number


def network_reason(error, host):
    """The words for an OSError of a connection to `host`."""
    number = error_number(error)
    if number < 0:  # of getaddrinfo
        return 'no address is known for "%s"' % host
    return _words(_ERRORS, "%03d" % number) or os_reason(error)


def error_number(error):
    """errno, or 0 where there is none."""
    number = error.args[0] if error.args else 0
    if isinstance(number, int):
        return number
    # asyncio on CPython, if a name has several addresses: one text of all errors. MP: getaddrinfo
    for mark in ("[Errno ", "[addrinfo error "):
        digits = number.partition(mark)[2].partition("]")[0]
        if digits:
            return int(digits)
    return 0


def _words(texts, code):
    at = texts.find(code)
    return "" if at < 0 else texts[at + len(code) : texts.find(",", at)]
