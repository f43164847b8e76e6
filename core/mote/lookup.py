"""What is read back from the log when it is wanted, instead of being held in RAM."""

from . import records as r
from .body import Reply
from .const import const
from .log import HEAD, Lost
from .msgpack import FormatError, Unpacker

FACT_KEY = const(32)  # bytes
FACT_VALUE = const(256)

_BACK = const(256)  # records: an ask in a new session must not cost a walk through the log

GONE = "the records that it needs are no longer in the log"


def _fields(log, seq):
    u = Unpacker(log.frame(seq)[HEAD:])
    u.array(1)
    return u


def ask_at(log, seq):
    """(session, id) in ASK record `seq`; empty if it is lost."""
    try:
        u = _fields(log, seq)
        return u.str(), u.str()
    except (Lost, FormatError):
        return "", ""


def answer_at(log, seq):
    """(how, text) in ANSWER record `seq`, the text of a reply included."""
    try:
        u = _fields(log, seq)
        u.int()
        how, req, text = u.int(), u.int(), u.value()
        return how, Reply(log, req).text() if text is None else text
    except (Lost, FormatError):
        return r.FAILED, GONE


def reason_at(log, turn):
    """(how, text) of the answer to a turn that was ended."""
    if turn.ending == r.CANCEL:
        return r.CANCELLED, "cancelled"
    if turn.ending == r.TIMEOUT:
        return r.LIMITED, "out of time"
    try:
        u = _fields(log, turn.ended)
        u.int()
        return r.FAILED, u.str()
    except (Lost, FormatError):
        return r.FAILED, GONE


def fact_at(log, seq):
    """The value in FACT record `seq`; None if it is lost."""
    try:
        u = _fields(log, seq)
        u.str()
        return u.value()
    except (Lost, FormatError):
        return None


def newest_ask(log, session):
    """The number of the session's newest ASK among the last records, 0 if there is none."""
    found = 0
    for seq in range(max(log.oldest(), log.seq - _BACK), log.seq + 1):
        try:
            frame = log.frame(seq)
        except (Lost, FormatError):
            continue
        if frame[2] == r.ASK:
            u = Unpacker(frame[HEAD:])
            u.array(2)
            if u.str() == session:
                found = seq
    return found
