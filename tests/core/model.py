"""What must hold for durable turns, whatever happens to the device: a simple model.

`Model` is told of each record when it is folded, of each opening of the log, and of all that the
world outside sees: asks that were accepted, calls that were started, answers that were published.
It raises AssertionError as soon as one of them may not be. All records are kept here for good, so
whatever the device forgets, drops or loses can be compared with what was.
"""

import hashlib

from mote import records as r
from mote.lookup import GONE, fact_at
from mote.msgpack import Packer, Unpacker
from mote.segments import ITEM

_FAR = 258  # records back from an ask that are not searched for its session's last one
LIMITS = {"restarts": "restarts", "tokens": "tokens", "steps": "steps", "calls": "tool calls"}


def packed(state):
    """The state as the items of a checkpoint."""
    items = []

    def item():
        items.append(Packer(bytearray(ITEM)))
        return items[-1]

    state.pack(item)
    return [bytes(p.taken()) for p in items]


class Ask:
    """What the records say about one ask."""

    def __init__(self, seq, h, fields):
        self.seq = seq
        self.session, self.name, self.text = fields[:3]
        self.id = self.name or h[:8].hex()
        self.requests = []
        self.restarts = 0
        self.verdict = None  # (how, text) of the answer, if something ended the turn,
        self.ended = 0  # and the record that says so
        self.answer = 0
        self.said = None  # (how, text) of the answer
        self.sent = False

    def count(self, what):
        """How much of a limit is used."""
        if what == "steps":
            return len(self.requests)
        if what == "calls":
            return sum(max(len(q.starts), len(q.results)) for q in self.requests)
        if what == "tokens":
            return sum(q.tokens for q in self.requests)
        return self.restarts


class Request:
    """What the records say about one request to the model, and the reply to it."""

    def __init__(self, seq, h, ask):
        self.seq = seq
        self.id = h[:16]
        self.ask = ask
        self.data = b""
        self.ncalls = None  # in a reply that is whole
        self.tokens = 0
        self.starts = {}  # index: number of the START
        self.results = []  # status of each call


class Model:
    """`replies` has what the gateway said to a request, by id; it never says anything else."""

    def __init__(self, limits, replies):
        self.limits = limits
        self.log = None  # of the life that is
        self.records = []  # (hash, kind, payload, packed state behind it)
        self.accepted = {}  # number: (session, name, text) of asks that were acknowledged
        self.remembered = {}  # facts that were acknowledged; None: forgotten
        self.told = {}  # number of an ask: the answer that was published
        self.ran = {}  # (request id, index): how often that call was started
        self.confirmed = 0  # the newest record that the gateway ever had
        self.bounded = False  # all records since the newest ask were foreseen when it was accepted
        self.foreseen = []  # the gaps before that
        self.spoilt = set()  # ids of requests whose reply did not arrive as it was sent
        self._replies = replies
        self._derive()

    def _derive(self):
        """Build all that follows from the records."""
        self.asks = {}
        self.requests = {}
        self.window = []  # asks with the ids that are remembered
        self.facts = {}
        self.gaps = []
        self.epoch = 0
        for n in range(len(self.records)):
            self._note(n + 1, *self.records[n][:3])

    # -- the log

    def fold(self, seq, h, kind, payload, state):
        """A record was folded, for the first time or once more after a start."""
        entry = (h, kind, payload, state)
        if seq <= len(self.records):
            assert self.records[seq - 1] == entry, f"record {seq} is not what it was"
        else:
            assert seq == len(self.records) + 1, f"record {seq} follows {len(self.records)}"
            self.records.append(entry)
            self._note(seq, h, kind, payload)

    def reopened(self, log, state, safe):
        """The log and its state as a new reader finds them; records behind `safe` may be gone."""
        n = log.seq
        assert safe <= n <= len(self.records), f"{n} records; {safe} were safe"
        assert not log.notes, log.notes
        if n < len(self.records):
            del self.records[n:]
            self._derive()
        if n:
            assert self.records[-1][0] == log.head
            assert self.records[-1][3] == packed(state), "the fold is not the live state"
        for seq in range(log.oldest(), n + 1):
            frame = log.frame(seq)
            assert (frame[2], bytes(frame[5:])) == self.records[seq - 1][1:3]
        self.covered(log)
        assert {key: fact_at(log, seq) for key, seq in state.facts} == self.facts

    def covered(self, log):
        """What is no longer kept was confirmed, or there is a gap record about it."""
        gaps = self.gaps + ([tuple(log.owed[:2])] if log.owed else [])
        if self.bounded and not self.limits.drop:
            assert gaps == self.foreseen, "the log took an ask that it had no room for"
        self.foreseen = gaps
        for seq in range(self.confirmed + 1, log.oldest()):
            assert any(first <= seq <= last for first, last in gaps), f"record {seq} vanished"

    def _note(self, seq, h, kind, payload):
        fields = Unpacker(bytearray(payload)).value()
        note = _NOTES.get(kind)
        if note:
            note(self, seq, h, fields)
        elif kind in (r.CANCEL, r.TIMEOUT, r.FAIL, r.END):
            self._end(seq, kind, fields)

    def _boot(self, seq, h, fields):
        assert fields[0] == self.epoch + 1
        self.epoch += 1
        for ask in self.open():
            ask.restarts += 1

    def _ask(self, seq, h, fields):
        ask = Ask(seq, h, fields)
        assert ask.name not in [known.name for known in self.window], "taken twice"
        before = max([a.seq for a in self.asks.values() if a.session == ask.session], default=0)
        far = before < max(self.log.oldest(), seq - _FAR)
        assert fields[4] == before or far, "the conversation is cut"
        self.asks[seq] = ask
        assert len(self.open()) <= self.limits.open_turns
        if ask.name:
            self.window = (self.window + [ask])[-self.limits.seen_asks :]

    def _request(self, seq, h, fields):
        ask = self._going(fields[0])
        assert not ask.verdict
        for q in ask.requests[-1:]:
            if q.ncalls is None:
                assert q.id in self.spoilt or q.seq < self.log.oldest()
            else:
                assert len(q.results) == q.ncalls > 0, "calls were left out"
        assert not self._before(ask), "an earlier turn of the session is not answered"
        self.requests[seq] = Request(seq, h, ask)
        ask.requests.append(self.requests[seq])
        assert len(ask.requests) <= self.limits.steps

    def _part(self, seq, h, fields):
        q = self._newest(fields[0])
        assert q.ncalls is None
        q.data += fields[1]
        assert len(q.data) <= self.limits.reply_bytes

    def _reply_end(self, seq, h, fields):
        q = self._newest(fields[0])
        reply = self._replies[q.id]
        assert q.ncalls is None
        assert q.data == reply.data, "not what the gateway sent"
        digest = hashlib.sha256(q.data).digest()[:16]
        assert fields[1:] == [len(q.data), digest, reply.ncalls, reply.tokens]
        q.ncalls, q.tokens = fields[3:]

    def _start(self, seq, h, fields):
        q, index = self._newest(fields[0]), fields[1]
        assert index == len(q.results) < q.ncalls
        assert index not in q.starts
        assert not q.ask.verdict
        assert tuple(fields[2:]) == self._replies[q.id].good(index)
        q.starts[index] = seq
        assert q.ask.count("calls") <= self.limits.calls

    def _result(self, seq, h, fields):
        q, index, status = self._newest(fields[0]), fields[1], fields[2]
        assert index == len(q.results) < q.ncalls
        assert (status == r.REJECTED) == (index not in q.starts)
        assert (status == r.REJECTED) == (self._replies[q.id].good(index) is None)
        q.results.append(status)
        assert q.ask.count("calls") <= self.limits.calls

    def _end(self, seq, kind, fields):
        ask = self._newest(fields[0]).ask if kind == r.FAIL else self._going(fields[0])
        assert not ask.verdict
        ask.ended = seq
        if kind == r.CANCEL:
            ask.verdict = (r.CANCELLED, "cancelled")
        elif kind == r.TIMEOUT:
            ask.verdict = (r.LIMITED, "out of time")
        else:
            ask.verdict = (r.FAILED, fields[1])

    def _answer(self, seq, h, fields):
        ask = self.asks[fields[0]]
        how, req, text = fields[1:4]
        if ask.answer:
            assert (how, text) == (r.FAILED, "out of memory"), "a second answer"
        elif ask.verdict:
            gone = ask.ended < self.log.oldest() and (how, text) == (r.FAILED, GONE)
            assert gone or (how, text) == ask.verdict
        elif how == r.DONE:
            text = self._done(ask, req)
        else:
            assert how == r.LIMITED
            self._limited(ask, text)
        if ask.requests:
            assert not self._before(ask), "an earlier turn of the session is not answered"
        for q in ask.requests[-1:]:
            assert len(q.results) >= len(q.starts), "a call runs still"
        ask.answer, ask.said = seq, (how, text)

    def _done(self, ask, req):
        """All that the model ordered was done; the answer is the last reply."""
        last = ask.requests[-1]
        assert (last.seq, last.ncalls) == (req, 0)
        for q in ask.requests:
            for index in range(q.ncalls or 0):
                good = self._replies[q.id].good(index)
                if good and good[0] != r.ONCE:
                    assert self.ran.get((q.id, index)), "a call was left out"
        return last.data.decode("utf-8")

    def _limited(self, ask, text):
        for name, words in LIMITS.items():
            most = getattr(self.limits, name)
            if text == f"limit of {most} {words}":
                assert ask.count(name) >= most + (name in ("restarts", "tokens"))
                return
        raise AssertionError(text)

    def _sent(self, seq, h, fields):
        ask = self.asks[fields[0]]
        assert ask.answer
        assert not ask.sent
        assert ask.seq in self.told, "nobody can have acknowledged it"
        ask.sent = True

    def _gap(self, seq, h, fields):
        first, last, before, after, why = fields
        assert why == r.DROPPED, "nothing was damaged"
        assert before == (self.records[first - 2][0] if first > 1 else before)
        assert after == self.records[last - 1][0]
        self.gaps.append((first, last))

    def _fact(self, seq, h, fields):
        key, value = fields
        if value is None:
            self.facts.pop(key, None)
        else:
            self.facts[key] = value

    # -- what it says

    def open(self):
        """The asks whose turns are open, oldest first."""
        return [ask for ask in self.asks.values() if not ask.sent]

    def going(self):
        """Those that can still be ended from outside."""
        return [ask for ask in self.open() if not ask.answer and not ask.verdict]

    def _going(self, seq):
        ask = self.asks[seq]
        assert not ask.answer, "it was answered already"
        return ask

    def _newest(self, req):
        q = self.requests[req]
        assert q is self._going(q.ask.seq).requests[-1]
        return q

    def _before(self, ask):
        """Earlier asks of its session that are not answered."""
        asks = self.open()
        return [a for a in asks if a.session == ask.session and a.seq < ask.seq and not a.answer]

    def known(self, name):
        """The ask of that id, if it is remembered."""
        return next((ask for ask in self.window if name and ask.name == name), None)

    # -- what the world sees

    def started(self, turn, tool, args):
        """A call is started."""
        q = self.requests[turn.req]
        assert q is self._newest(turn.req)
        assert not q.ask.verdict
        assert len(q.results) == turn.index
        assert turn.index in q.starts
        assert (tool.effect, tool.name, args) == self._replies[q.id].good(turn.index)
        times = self.ran.get((q.id, turn.index), 0)
        if tool.effect == r.ONCE:
            assert times == 0, "started twice"
            assert q.starts[turn.index] <= self.log.synced, "its START is not safe"
        self.ran[(q.id, turn.index)] = times + 1

    def published(self, seq, answer, told):
        """(session, id, how, text) was published as the answer to ask `seq`."""
        ask = self.asks[seq]
        assert ask.answer == answer <= self.log.synced
        due = (ask.session, ask.id) + ask.said
        if told != due:
            assert seq < self.log.oldest(), f"{told} is not {due}"
            assert told[0] == ask.session
            assert told[2:] in (ask.said, (r.FAILED, GONE))
        elif seq in self.told:
            assert told == self.told[seq], "another answer"
        self.told[seq] = told


_NOTES = {
    r.BOOT: Model._boot,
    r.ASK: Model._ask,
    r.REQ: Model._request,
    r.PART: Model._part,
    r.REPLY_END: Model._reply_end,
    r.START: Model._start,
    r.RESULT: Model._result,
    r.ANSWER: Model._answer,
    r.SENT: Model._sent,
    r.GAP: Model._gap,
    r.FACT: Model._fact,
}
