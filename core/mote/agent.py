"""The agent: what is due because of the log, and what happens, recorded.

`Agent` owns the log. Whatever happens comes in through a method that appends a record and folds
it; `next_effect` records the decisions that need nothing but the log and hands out those that
need the world. A driver performs them and reports back. State changes in `State.fold` only.
What only a turn needs is imported where it is used: a device that idles can do without it.
"""

from . import records as r
from .gate import Gate, Refused, cut
from .log import Lost
from .lookup import GONE, UNSURE
from .msgpack import FormatError
from .recorder import Recorder
from .state import UnknownRecord, key_of  # noqa: F401 (its users find it here)
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
    decide,
    over_limit,
)


class Agent(Recorder):
    """One device's agent over an unopened `log`, with a `tools.Toolset` and `turn.Limits`."""

    def __init__(self, log, tools, limits):
        super().__init__(log, limits)
        self.tools = tools
        self.at = 0  # the turn that is being worked on, for who has to say why that failed
        self._again = []  # (seq of ASK, seq of ANSWER) that somebody asked for once more
        self._resumed = []  # turns whose interrupted call runs again in this life
        self._gate = Gate(limits)

    def open(self, now_ms, nonce, outputs, version):
        """Fold the log and append BOOT. `outputs` names what the reset switched off."""
        self._gate.open(now_ms)
        super().open(now_ms, nonce, outputs, version)

    def waiting(self, request_id):
        """The turn that waits for the reply to that request, or None."""
        for turn in self.turns:
            if turn.state == WAITING and not turn.ending and turn.id == request_id:
                return turn
        return None

    # -- what happens

    def ask(self, text, session, name, now_ms, unix_s):
        """Take an ask; its number is returned, and it is safe. A known id is taken once only.

        Raises Refused, with the reason, if it can't be accepted.
        """
        self._check()
        gate, state = self._gate, self.state
        key = key_of(name) if name else None
        for entry in state.seen:
            if key and entry[0] == key:
                self.log.sync()  # it was raised out of here before, perhaps
                self._answer_again(entry)
                return entry[1]
        gate.admit(text, session, name, now_ms, self.turns, self.log)
        previous = state.previous(session)
        if not previous and state.forgot:
            from .lookup import newest_ask

            previous = newest_ask(self.log, session)
        if gate.refused:
            self._note(r.REFUSED, gate.refused)
            gate.refused = 0
        self._start(5).str(session).str(name).str(text).int(unix_s).int(previous)
        seq = self._append(r.ASK)
        self.log.sync()
        state.turn(seq).until_ms = now_ms + self.limits.turn_ms
        return seq

    def _answer_again(self, entry):
        turn = self.state.turn(entry[1])
        if turn is None and not entry[2]:
            raise Refused(UNSURE)
        if not entry[2] or (turn and not turn.issued):
            return  # it is still to come
        if turn is None and min(entry[1:]) < self.log.oldest():
            raise Refused("this id was answered already; the answer is no longer in the log")
        if (entry[1], entry[2]) not in self._again:
            self._again.append((entry[1], entry[2]))

    def part(self, turn, offset, data):
        """Take bytes of the reply that `turn` waits for; out of order or over the limit: False."""
        self.at = turn.seq
        most = self.limits.reply_bytes
        if not len(data) or offset != turn.got or offset + len(data) > most:
            return False
        self._start(2).int(turn.req).bin(data)
        self._append(r.PART)
        return True

    def reply_end(self, turn, length, digest, ncalls, tokens):
        """The gateway sent all of the reply. False if parts are missing: ask from `turn.got` on.

        A reply that is not what its digest says, or that is lost, is dropped, and the request
        made anew.
        """
        from .body import Body

        self.at = turn.seq
        if turn.got < length:
            return False
        sane = 0 <= ncalls < 0x8000 and 0 <= tokens < 0x40000000
        if sane and turn.got == length and Body(self.log, turn.req).digest() == digest:
            self._start(5).int(turn.req).int(length).bin(digest).int(ncalls).int(tokens)
            self._append(r.REPLY_END)
        elif turn.steps < self.limits.steps:
            self._request(turn)
        else:
            self.fail(turn, "reply digest differs")
        return True

    def fail(self, turn, text):
        """The gateway can't answer the request that `turn` waits for."""
        self._start(2).int(turn.req).str(cut(text, self.limits.result_bytes))
        self._append(r.FAIL)

    def result(self, turn, status, text):
        """The call of `turn` ended. Text over the limit is cut, and the cut marked."""
        self.at = turn.seq
        text = cut(text, self.limits.result_bytes)
        self._start(4).int(turn.req).int(turn.index).int(status).str(text)
        self._append(r.RESULT)

    def sent(self, seq):
        """Somebody acknowledged the answer to ask `seq`."""
        turn = self.state.turn(seq)
        if turn and turn.state == ANSWERED:
            self._note(r.SENT, seq)

    def end(self, seq, why):
        """The device itself can't go on with the turn of ask `seq`; the answer says why.

        An answer that is recorded already, and can't be sent, gives way to this one.
        """
        turn = self.state.turn(seq)
        if turn and turn.state == ANSWERED:
            self._start(4).int(seq).int(r.FAILED).int(0).value(why)
            self._append(r.ANSWER)
            self.log.sync()
        elif turn and turn.ending:
            turn.issued = False  # its tool was to be stopped, and that was not recorded
        elif turn:
            self._start(2).int(seq).str(cut(why, self.limits.result_bytes))
            self._append(r.END)

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
        self._check()
        while self._again:
            seq, answer = self._again.pop(0)
            if self.state.turn(seq) or min(seq, answer) >= self.log.oldest():
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
            self.at = turn.seq
            if not self.sure and self._partly(turn):
                return None  # the answer, or more of it, may be among what is still to come back
            due = decide(turn, self.state.limits)
            if due == FORGET and turn.seq in self._resumed:
                due = STOP
            if due == NOTHING or (due == REQUEST and self._queued(turn)):
                return None
            if due == CALL and self._held(turn):
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
                self.log.sync()
                turn.issued = True
                return (PUBLISH, turn.seq, turn.answer) if due == PUBLISH else (STOP, turn)
        return None

    def _partly(self, turn):
        """Records that were lost are coming back, and some may be of this turn."""
        last, due, _ = self.state.taken
        return turn.origin and due <= last

    def _held(self, turn):
        """A ONCE call waits until the gateway has shown that no record of it was lost."""
        if self.sure or turn.running or (self.sure is None and not turn.restarts):
            return False
        from .body import Reply

        try:
            name = Reply(self.log, turn.req).call(turn.index)[0]
        except (FormatError, Lost):
            return False
        return self.tools.effect(name) == r.ONCE

    def _queued(self, turn):
        """An earlier turn of the session is open: a conversation goes on in order."""
        for other in self.turns:
            if other is turn:
                return False
            if other.session == turn.session and other.state != ANSWERED and turn.state == NEW:
                return True
        return False

    def _request(self, turn):
        most = self.state.limits.reply_bytes
        self._start(4).int(turn.seq).bin(self.tools.hash).value(None).int(most)
        self._append(r.REQ)
        self.log.sync()

    def _call(self, turn):
        """Begin the call that is next (or run it again, if it was interrupted)."""
        from .body import Reply

        name = "?"
        try:
            name, given = Reply(self.log, turn.req).call(turn.index)
            tool, args = self.tools.check(name, given)
            if turn.running and tool.effect == r.ONCE:  # it became so by an update
                self.result(turn, r.UNKNOWN, "restarted meanwhile; outcome unknown")
                return None
            if not turn.running:
                if tool.effect == r.ONCE and self._doubtful(turn):
                    return None
                p = self._start(5).int(turn.req).int(turn.index).int(tool.effect).str(name)
                p.value(args)
        except (Rejected, FormatError) as e:
            self.result(turn, r.REJECTED, "%s: %s" % (name, e))
            return None
        except Lost:
            self.end(turn.seq, GONE)
            return None
        if not turn.running:
            self._append(r.START)
        if tool.effect == r.ONCE:
            self.log.sync()
        turn.issued = True
        if turn.interrupted:
            self._resumed.append(turn.seq)
        return (CALL, turn, tool, args)

    def _doubtful(self, turn):
        """True, and that is the call's result, if records are lost that may have been of it."""
        if turn.lost:
            self.result(turn, r.UNKNOWN, "records of this turn are lost; outcome unknown")
        elif self.state.doubt:
            raise Rejected("not before the gateway has confirmed the damaged log")
        return turn.lost

    def _finish(self, turn):
        limits, req = self.state.limits, 0
        if turn.ending:
            from .lookup import reason_at

            how, text = reason_at(self.log, turn)
        elif turn.state == CALLING and turn.ncalls == 0:
            how, text, req = r.DONE, None, turn.req
        else:
            how, text = r.LIMITED, over_limit(turn, limits)
        self._start(4).int(turn.seq).int(how).int(req).value(text)
        self._append(r.ANSWER)
        self.log.sync()

    def answer(self, seq, answer):
        """What ANSWER record `answer` says to ask `seq`: (session, id, how, text).

        The text may be a function: each `Body` that it gives has it in pieces. Reading one raises
        Lost where the log has it no more.
        """
        from .lookup import answer_at, ask_at

        self.at = seq
        turn = self.state.turn(seq)
        session, name = ask_at(self.log, seq)
        if turn:
            session, name = turn.session, name or turn.key.hex()
        how, text = answer_at(self.log, answer)
        return session, name, how, text
