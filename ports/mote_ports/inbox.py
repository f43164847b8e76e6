"""What anybody may publish to `mote/d/in`."""

import json

from .text import is_unicode

_SESSION = 32  # characters
_ID = 64


class BadAsk(Exception):
    """A message that is no ask; the text says what it should be."""

    def __init__(self, why, session="", name=""):
        super().__init__(why)
        self.session = session
        self.name = name


def parse_ask(payload):
    """(text, session, id) of an `in` payload: plain text, or JSON {"text", "session", "id"}.

    Session is "main" and id "" where none is given. Raises BadAsk.
    """
    try:
        text = str(payload, "utf-8")
    except UnicodeError:
        raise BadAsk("the ask is not UTF-8")
    if not is_unicode(text):  # MP: str() takes half a surrogate pair
        raise BadAsk("the ask is not UTF-8")
    if text[:1] != "{":
        return text.strip(), "main", ""
    try:
        # MP: nesting ends in RuntimeError; 1.25 takes truncated JSON for whole
        fields = json.loads(text)
    except (ValueError, RuntimeError):
        raise BadAsk("the ask begins with { and is not a JSON object")
    name = _field(fields, "id", "", _ID)
    session = _field(fields, "session", "main", _SESSION, name)
    text = fields.get("text")
    if not isinstance(text, str) or not is_unicode(text):
        raise BadAsk('the ask\'s JSON has no "text"', session, name)
    return text.strip(), session, name


def _field(fields, key, default, most, name=""):
    value = fields.get(key)
    if value is None or value == "":
        return default
    if not isinstance(value, str) or not is_unicode(value) or len(value.encode()) > most:
        raise BadAsk('"%s" must be a string of at most %d bytes' % (key, most), "", name)
    return value
