"""Text that is fit for a record: UTF-8, whole."""


def is_unicode(text):
    """False for what UTF-8 can't hold, such as half a surrogate pair."""
    try:
        data = text.encode()
        str(data, "utf-8")
    except UnicodeError:
        return False
    # MP: strings may hold surrogates, and nothing there minds
    at = data.find(b"\xed")
    while at >= 0:
        if data[at + 1] >= 0xA0:
            return False
        at = data.find(b"\xed", at + 1)
    return True
