"""What stands before the log: which asks are taken, how much of a text is.

A refused ask costs no flash.
"""

from .const import const

_HOUR_MS = const(3600000)
SESSION_BYTES = const(32)
_ID_BYTES = const(64)


class Refused(Exception):
    """An ask that was not accepted: nothing of it is in the log. The text says why."""


class Gate:
    """A token bucket and the limits of an ask. `refused` counts since the log was told."""

    def __init__(self, limits):
        self.refused = 0
        self._limits = limits
        self._price = _HOUR_MS // limits.asks_per_hour
        self._level = limits.asks_burst * self._price
        self._at = 0

    def open(self, now_ms):
        """The device has started."""
        self._at = now_ms

    def admit(self, text, session, name, now_ms, turns, log):
        """Raises Refused unless the ask can be taken; then its price is paid."""
        full = self._limits.asks_burst * self._price
        self._level = min(self._level + max(0, now_ms - self._at), full)
        self._at = now_ms
        why = self._why(text, session, name, turns, log)
        if why:
            self.refused += 1
            raise Refused(why)
        self._level -= self._price

    def _why(self, text, session, name, turns, log):
        limits = self._limits
        size = len(text.encode())
        if not size:
            return "the ask is empty"
        for n, most, what in (
            (size, limits.ask_bytes, "the ask"),
            (len(session.encode()), SESSION_BYTES, "the session's name"),
            (len(name.encode()), _ID_BYTES, "the ask's id"),
        ):
            if n > most:
                return "%s is over %d bytes" % (what, most)
        if self._level < self._price:
            return "over %d asks an hour" % limits.asks_per_hour
        if len(turns) >= limits.open_turns:
            return "busy with %d turns" % limits.open_turns
        if log.room(self._keep(turns, log)) < (len(turns) + 1) * limits.worst_turn(log.unit):
            return "the log is full: the gateway must take what it holds"
        return None

    def _keep(self, turns, log):
        """The oldest record that must stay: of an open turn, or one the gateway lacks."""
        keep = turns[0].seq if turns else log.seq + 1
        return keep if self._limits.drop else min(keep, log.acked + 1)


def cut(text, most):
    """`text` in at most `most` bytes of UTF-8, with a mark where it was cut."""
    data = text.encode()
    if len(data) <= most:
        return text
    end = most - 24
    while data[end] & 0xC0 == 0x80:  # not inside a character
        end -= 1
    return "%s [cut, was %d bytes]" % (str(data[:end], "utf-8"), len(data))
