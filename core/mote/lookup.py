"""What is read back from the log when it is wanted, instead of being held in RAM."""

from . import records as r
from .body import Body, came_back, recovered_fields
from .const import const
from .log import HEAD, Lost
from .msgpack import FormatError, Unpacker

FACT_KEY = const(32)  # bytes
FACT_VALUE = const(256)

_BACK = const(256)  # records: an ask in a new session must not cost a walk through the log

UNSURE = "the device lost the records of this turn; what it did is not known"
GONE = "the records that it needs are no longer in the log"


def _fields(log, seq):
    frame = log.frame(seq)
    u = Unpacker(frame[HEAD:])
    u.array(1)
    if frame[2] == r.RECOVERED:
        u = Unpacker(_payload(log, seq))
        u.array(1)
    return u


def _payload(log, seq):
    """That of the lost record that came back in record `seq`, and more behind it if it is long."""
    _, number, _, _, length, data = recovered_fields(log.frame(seq))
    data = bytes(data)
    while len(data) < min(length, log.record_bytes) and seq < log.seq:
        seq += 1
        frame = log.frame(seq)
        if frame[2] == r.RECOVERED:
            fields = recovered_fields(frame)
            if fields[1] != number or fields[3] != len(data):
                break
            data += bytes(fields[5])
    return data


def ask_at(log, seq):
    """(session, id) in ASK record `seq`; empty if it is lost."""
    try:
        u = _fields(log, seq)
        return u.str(), u.str()
    except (Lost, FormatError):
        return "", ""


def answer_at(log, seq):
    """(how, text) in ANSWER record `seq`. A reply is a function that gives a new Body of it."""
    try:
        u = _fields(log, seq)
        u.int()
        how, req, text = u.int(), u.int(), u.value()
        if not r.DONE <= how <= r.CANCELLED:
            return r.FAILED, GONE
        if text is None:
            lost = came_back(log, seq, req) if log.frame(seq)[2] == r.RECOVERED else None
            return how, lambda: Body(log, req, lost)
        return (how, text) if isinstance(text, str) else (r.FAILED, GONE)
    except (Lost, FormatError):
        return r.FAILED, GONE


def reason_at(log, turn):
    """(how, text) of the answer to a turn that was ended."""
    if turn.ending == r.CANCEL:
        return r.CANCELLED, "cancelled"
    if turn.ending == r.TIMEOUT:
        return r.LIMITED, "out of time"
    if turn.ending == r.RECOVERED:
        return r.FAILED, UNSURE
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
