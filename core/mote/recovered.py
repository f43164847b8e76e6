"""What records mean that this log lost and the gateway gave back (RECOVERED).

They are of another chain: their numbers are not those of this log. So what they say is not gone
through again. It decides what must not happen twice: an ask that was taken is not taken again, an
answer that was given is given with the same words, and a turn that was under way ends.
"""

from . import records as r
from .gate import SESSION_BYTES
from .lookup import FACT_KEY
from .turn import ANSWERED, Turn


def fold(state, seq, u):
    """Fold RECOVERED record `seq` into the state; `u` stands behind the array's head."""
    last, number, kind, offset, length = [u.int() for _ in range(5)]
    data = u.bin()
    if state.taken[0] != last:
        for turn in state.turns:
            # only one from before the loss has the same number there
            turn.origin = turn.seq if turn.restarts and turn.seq < number else 0
            if turn.origin and turn.state != ANSWERED:
                _end(turn, seq)  # what it did in the records that are lost, nobody knows here
    done = offset + len(data) >= length
    state.taken = [last, number + 1, 0] if done else [last, number, offset + len(data)]
    return (number, kind, data) if offset == 0 and len(data) else (number, 0, data)


def take(state, seq, number, kind, u, key_of):
    """Fold what the lost record `number` says, by its first fields; `seq` is where it is now."""
    if kind == r.ASK:
        _ask(state, seq, number, u.str(), u.str(), key_of)
    elif kind == r.FACT:
        _fact(state, seq, u.str(), u.value())
    elif kind in (r.ANSWER, r.SENT):
        ask = u.int()
        for turn in state.turns:
            if ask and ask == turn.origin:
                if kind == r.SENT:
                    state.turns.remove(turn)
                else:
                    turn.state, turn.answer, turn.ending = ANSWERED, seq, 0
                    turn.issued = False
                    state.answered(turn.seq, seq)
                break


def _end(turn, seq):
    turn.issued = False
    if not turn.ending:
        turn.ending, turn.ended = r.RECOVERED, seq


def _fact(state, seq, key, value):
    known = key in [fact[0] for fact in state.facts]
    room = value is None or known or len(state.facts) < state.limits.facts
    if room and len(key.encode()) <= FACT_KEY:
        state.know(seq, key, value)


def _ask(state, seq, number, session, name, key_of):
    key = key_of(name) if name else b"%08d" % (number % 100000000)
    for entry in state.seen:
        if name and entry[0] == key:
            turn = state.turn(entry[1])
            if turn and not turn.origin and turn.state != ANSWERED:
                # it was asked again before it came back: what became of it becomes of that one
                turn.origin = number
                _end(turn, seq)
            return
    if name:
        state.saw(key, seq)
    if len(state.turns) >= state.limits.open_turns or len(session.encode()) > SESSION_BYTES:
        return  # there is no room for an answer; asked once more, it is refused
    turn = Turn(seq, session, key)
    turn.origin = number
    _end(turn, seq)
    state.turns.append(turn)
