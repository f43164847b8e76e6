"""The agent: the fold over the log, and what is due because of it.

`Agent` owns the log. Whatever happens comes in through a method that appends a record and folds
it; `next_effect` records the decisions that need nothing but the log and hands out those that
need the world. A driver performs them and reports back. State changes in `_fold` only.
"""

import hashlib

from . import records as r
from .body import Body, Reply
from .const import const
from .log import HEAD
from .msgpack import FormatError, Packer, Unpacker
from .tools import Rejected
from .turn import (
    ANSWERED,
    CALL,
    CALLING,
    FINISH,
    FORGET,
    NEW,
    NOTHING,
    PUBLISH,
    REQUEST,
    STOP,
    WAITING,
    Turn,
    decide,
    over_limit,
)

_HOUR_MS = const(3600000)
_TURN_KINDS = (r.REQ, r.ANSWER, r.SENT, r.CANCEL, r.TIMEOUT)  # they name the turn, others the REQ
_KNOWN = const(12)  # the highest kind that this core knows


class Refused(Exception):
    """An ask that was not accepted: nothing of it is in the log. The text says why."""


class UnknownRecord(Exception):
    """The log holds a record that this core must understand and doesn't."""


class Agent:
    """One device's agent over an unopened `log`, with a `tools.Toolset` and `turn.Limits`."""

    def __init__(self, log, tools, limits):
        self.log = log
        self.tools = tools
        self.limits = limits
        self.turns = []  # open ones, oldest first
        self.epoch = 0
        self.before_boot = (0, log.head)  # (b, h[b]): the last record before this BOOT
        self._seen = []  # [key, seq of the ASK, seq of the ANSWER or 0], oldest first
        self._again = []  # (seq of ASK, seq of ANSWER) that somebody asked for once more
        self._packer = Packer(bytearray(log.record_bytes))
        self._bucket_ms = limits.asks_burst * (_HOUR_MS // limits.asks_per_hour)
        self._bucket_at = 0
        self._refused = 0

    # -- the fold

    def open(self, now_ms, nonce, outputs, version):
        """Fold the log and append BOOT. `outputs` names what the reset switched off."""
        log = self.log
        log.open(self._fold)
        self.before_boot = (log.seq, log.head)
        self._bucket_at = now_ms
        p = self._start(4).int(self.epoch + 1).bin(nonce)
        p.value(outputs).str(version)
        self._append(r.BOOT)
        log.sync()
        for turn in self.turns:
            turn.until_ms = now_ms + self.limits.turn_ms

    def _fold(self, seq, h, kind, payload):
        u = Unpacker(payload)
        try:
            u.array(1)
            if kind == r.BOOT:
                self.epoch = u.int()
                for turn in self.turns:
                    turn.boot()
            elif kind == r.ASK:
                self._fold_ask(seq, h, u)
            elif kind <= _KNOWN:
                self._fold_turn(seq, h, kind, u)
            elif not kind & r.IGNORABLE:
                raise UnknownRecord("record %d: unknown kind %d" % (seq, kind))
        except FormatError as e:
            raise UnknownRecord("record %d: %s" % (seq, e))

    def _fold_ask(self, seq, h, u):
        session, name = u.str(), u.str()
        key = _key(name) if name else h[:8]
        self.turns.append(Turn(seq, session, key))
        if name:
            self._seen.append([key, seq, 0])
            if len(self._seen) > self.limits.seen_asks:
                self._seen.pop(0)

    def _fold_turn(self, seq, h, kind, u):
        number = u.int()
        turn = None
        for turn in self.turns:
            if number == (turn.seq if kind in _TURN_KINDS else turn.req):
                break
        else:
            return  # it came after the turn's end
        if kind == r.SENT:
            self.turns.remove(turn)
            return
        turn.apply(kind, seq, h, u)
        if kind == r.ANSWER:
            for entry in self._seen:
                if entry[1] == number:
                    entry[2] = seq

    def _turn(self, seq):
        for turn in self.turns:
            if turn.seq == seq:
                return turn
        return None

    def waiting(self, request_id):
        """The turn that waits for the reply to that request, or None."""
        for turn in self.turns:
            if turn.state == WAITING and not turn.ending and turn.id == request_id:
                return turn
        return None

    # -- appending

    def _start(self, fields):
        return self._packer.reset(0).array(fields)

    def _append(self, kind):
        """Append what `_packer` holds, and fold it."""
        log = self.log
        payload = self._packer.taken()
        seq = log.append(kind, payload)
        self._fold(seq, log.head, kind, payload)
        return seq

    def _note(self, kind, number):
        """Append a record of one field."""
        self._start(1).int(number)
        self._append(kind)

    # -- what happens

    def ask(self, text, session, name, now_ms, unix_s):
        """Take an ask; its number is returned, and it is safe. A known id is taken once only.

        Raises Refused, with the reason, if it can't be accepted.
        """
        key = _key(name) if name else None
        for entry in self._seen:
            if key and entry[0] == key:
                self._answer_again(entry)
                return entry[1]
        self._admit(text, now_ms)
        if self._refused:
            self._note(r.REFUSED, self._refused)
            self._refused = 0
        self._start(4).str(session).str(name).str(text).int(unix_s)
        seq = self._append(r.ASK)
        self.log.sync()
        self._turn(seq).until_ms = now_ms + self.limits.turn_ms
        return seq

    def _answer_again(self, entry):
        turn = self._turn(entry[1])
        if turn is None and entry[2]:
            self._again.append((entry[1], entry[2]))
        elif turn and turn.state == ANSWERED:
            turn.issued = False

    def _admit(self, text, now_ms):
        """Raises Refused unless the ask can be taken; then its price is paid."""
        limits = self.limits
        price = _HOUR_MS // limits.asks_per_hour
        level = self._bucket_ms + max(0, now_ms - self._bucket_at)
        self._bucket_ms = level = min(level, limits.asks_burst * price)
        self._bucket_at = now_ms
        size = len(text.encode())
        why = None
        if not size:
            why = "the ask is empty"
        elif size > limits.ask_bytes:
            why = "the ask is over %d bytes" % limits.ask_bytes
        elif level < price:
            why = "over %d asks an hour" % limits.asks_per_hour
        elif len(self.turns) >= limits.open_turns:
            why = "busy with %d turns" % limits.open_turns
        elif self.log.room() < (len(self.turns) + 1) * limits.worst_turn(self.log.unit):
            why = "the log is full"
        if why:
            self._refused += 1
            raise Refused(why)
        self._bucket_ms -= price

    def part(self, turn, offset, data):
        """Take bytes of the reply that `turn` waits for; out of order or over the limit: False."""
        if offset != turn.got or offset + len(data) > self.limits.reply_bytes:
            return False
        self._start(2).int(turn.req).bin(data)
        self._append(r.PART)
        return True

    def reply_end(self, turn, length, digest, ncalls, tokens):
        """The gateway sent all of the reply. False if parts are missing: ask from `turn.got` on.

        A reply that is not what its digest says is dropped, and the request made anew.
        """
        if turn.got < length:
            return False
        if turn.got == length and Body(self.log, turn.req).digest() == digest:
            self._start(5).int(turn.req).int(length).bin(digest).int(ncalls).int(tokens)
            self._append(r.REPLY_END)
        elif turn.steps < self.limits.steps:
            self._request(turn)
        else:
            self.fail(turn, "reply digest differs")
        return True

    def fail(self, turn, text):
        """The gateway can't answer the request that `turn` waits for."""
        self._start(2).int(turn.req).str(_cut(text, self.limits.result_bytes))
        self._append(r.FAIL)

    def result(self, turn, status, text):
        """The call of `turn` ended. Text over the limit is cut, and the cut marked."""
        text = _cut(text, self.limits.result_bytes)
        self._start(4).int(turn.req).int(turn.index).int(status).str(text)
        self._append(r.RESULT)

    def sent(self, seq):
        """Somebody acknowledged the answer to ask `seq`."""
        turn = self._turn(seq)
        if turn and turn.state == ANSWERED:
            self._note(r.SENT, seq)

    def cancel(self, session):
        """End the open turns of a session, or of all (None); returns how many."""
        n = 0
        for turn in self.turns:
            if session in (None, turn.session) and self._endable(turn):
                self._note(r.CANCEL, turn.seq)
                n += 1
        return n

    def tick(self, now_ms):
        """End what is out of time."""
        for turn in self.turns:
            if now_ms >= turn.until_ms and self._endable(turn):
                self._note(r.TIMEOUT, turn.seq)

    def deadline(self):
        """When `tick` has something to do, or None."""
        due = None
        for turn in self.turns:
            if self._endable(turn) and (due is None or turn.until_ms < due):
                due = turn.until_ms
        return due

    def _endable(self, turn):
        return turn.state != ANSWERED and not turn.ending

    # -- what is due

    def next_effect(self):
        """What the driver must do now, or None: each is handed out once, until a reboot.

        (CALL, turn, tool, args); (STOP, turn): stop that tool; (PUBLISH, seq of ASK, of ANSWER).
        """
        if self._again:
            seq, answer = self._again.pop(0)
            return (PUBLISH, seq, answer)
        for turn in self.turns:
            effect = self._settle(turn)
            if effect:
                return effect
        return None

    def publish_again(self):
        """The connection was lost: what was not acknowledged is due once more."""
        for turn in self.turns:
            if turn.state == ANSWERED:
                turn.issued = False

    def _settle(self, turn):
        """Record what follows from the log alone, until something is due outside."""
        while not turn.issued:
            due = decide(turn, self.limits)
            if due == NOTHING or (due == REQUEST and self._behind(turn)):
                return None
            if due == REQUEST:
                self._request(turn)
            elif due == FORGET:
                status = r.UNKNOWN if turn.effect == r.ONCE else r.STOPPED
                self.result(turn, status, "restarted meanwhile; outcome unknown")
            elif due == FINISH:
                self._finish(turn)
            else:
                if due == CALL:
                    effect = self._call(turn)
                    if effect is None:
                        continue
                    return effect
                turn.issued = True
                return (PUBLISH, turn.seq, turn.answer) if due == PUBLISH else (STOP, turn)
        return None

    def _behind(self, turn):
        """An earlier turn of the session is open: a conversation goes on in order."""
        for other in self.turns:
            if other is turn:
                return False
            if other.session == turn.session and other.state != ANSWERED and turn.state == NEW:
                return True
        return False

    def _request(self, turn):
        self._start(4).int(turn.seq).bin(self.tools.hash).value(None).int(self.limits.reply_bytes)
        self._append(r.REQ)
        self.log.sync()

    def _call(self, turn):
        """Begin the call that is next (or run it again, if it was interrupted)."""
        name = "?"
        try:
            name, given = Reply(self.log, turn.req).call(turn.index)
            tool, args = self.tools.check(name, given)
            if not turn.running:
                p = self._start(5).int(turn.req).int(turn.index).int(tool.effect).str(name)
                p.value(args)
        except (Rejected, FormatError) as e:
            self.result(turn, r.REJECTED, "%s: %s" % (name, e))
            return None
        if not turn.running:
            self._append(r.START)
            if tool.effect == r.ONCE:
                self.log.sync()
        turn.issued = True
        turn.interrupted = False  # it runs in this life now, and can be stopped
        return (CALL, turn, tool, args)

    def _finish(self, turn):
        how, text, req = turn.how, turn.ending, 0
        if text is None:
            how, text = r.LIMITED, over_limit(turn, self.limits)
            if turn.state == CALLING and turn.ncalls == 0:
                how, text, req = r.DONE, None, turn.req
        self._start(4).int(turn.seq).int(how).int(req).value(text)
        self._append(r.ANSWER)
        self.log.sync()

    def answer(self, seq, answer):
        """What ANSWER record `answer` says to ask `seq`: (session, id, how, text)."""
        u = Unpacker(self.log.frame(seq)[HEAD:])
        u.array(4)
        session, name = u.str(), u.str()
        if not name:
            name = self._turn(seq).key.hex()
        u = Unpacker(self.log.frame(answer)[HEAD:])
        u.array(4)
        u.value()
        how, req, text = u.int(), u.int(), u.value()
        if text is None:
            text = Reply(self.log, req).text()
        return session, name, how, text


def _key(name):
    return hashlib.sha256(name.encode()).digest()[:8]


def _cut(text, most):
    """`text` in at most `most` bytes of UTF-8, with a mark where it was cut."""
    data = text.encode()
    if len(data) <= most:
        return text
    end = most - 24
    while data[end] & 0xC0 == 0x80:  # not inside a character
        end -= 1
    return "%s [cut, was %d bytes]" % (str(data[:end], "utf-8"), len(data))
