"""MQTT's reason codes in words, for people."""

# Code in upper case, words in lower case, comma: no text can be taken for a code.
_TEXTS = (
    "84unsupported version,85client id invalid,86bad credentials,87not authorized,"
    "88server unavailable,89server busy,8Abanned,8Bserver shutting down,"
    "8Esession taken over,"
)


def reason(code):
    """The words for a reason code (MQTT 5.0 section 2.4), or its number.

    1..5 are the return codes of a CONNACK in 3.1.1 (section 3.2.2.3).
    """
    if 0 < code < 6:
        code = b"\x84\x85\x88\x86\x87"[code - 1]
    at = _TEXTS.find("%02X" % code)
    return "code 0x%02x" % code if at < 0 else _TEXTS[at + 2 : _TEXTS.find(",", at)]
