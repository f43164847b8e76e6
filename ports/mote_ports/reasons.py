"""Codes in words, for people: MQTT's reason codes, and the errors of the operating system."""

# Code in upper case, words in lower case, comma: no text can be taken for a code.
_TEXTS = (
    "84unsupported version,85client id invalid,86bad credentials,87not authorized,"
    "88server unavailable,89server busy,8Abanned,8Bserver shutting down,"
    "8Esession taken over,"
)

# errno in decimal: Linux and MicroPython's boards have the same numbers
_ERRORS = (
    "001not permitted,002no such file or folder,005input or output error,"
    "012out of memory,013permission denied,016busy,017exists already,019no such device,"
    "020not a folder,021is a folder,022invalid argument,023too many open files,"
    "024too many open files,027file too large,028no space left,030file system is read-only,"
    "036name too long,116stale file handle,122quota exceeded,"
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


def _words(texts, code):
    at = texts.find(code)
    return "" if at < 0 else texts[at + len(code) : texts.find(",", at)]
