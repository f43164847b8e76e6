"""The device's end of the link: what goes up, what comes down, and the timers that repeat it.

Sans-IO. The driver calls `connected` and `lost`, hands each `dn` message to `receive`, and
publishes whatever `poll` returns until it returns None, again at `deadline`. MQTT delivers these
messages at most once and in any state of mind: everything here is repeated until the log's
replica or the reply says that it arrived (DESIGN.md, "Replication").
"""

from . import wire
from .const import const
from .log import Lost
from .msgpack import FormatError, Unpacker
from .turn import WAITING
from .uplink import Uplink

_FIRST_MS = const(1000)  # before the first repetition; doubles
_WANTED_MS = const(3000)  # the same, if a reply is to come instead of a tip
_LONGEST_MS = const(30000)
_COMPLETE_MS = const(5000)  # before a request is repeated
_LINGER_MS = const(300)  # how long a record waits for company
_QUIET_MS = const(15000)  # without any answer before the device says hello again
_TROUBLE_MS = const(60000)  # the same, once the gateway is known to disagree
_WINDOW = const(16)  # messages from the gateway that may be swapped
_UNKNOWN = const(-1)


class Link:
    """Replicates the log of `agent` and fetches replies. `random(n)` gives n random bytes."""

    def __init__(self, agent, key, random):
        self.trouble = None  # why the gateway and this log do not agree, in words
        self.rejected = 0  # messages with a wrong MAC, counter or form
        self._agent = agent
        self._random = random
        self._dn = wire.subkey(key, "dn")
        self._up = Uplink(agent, wire.subkey(key, "up"))
        self.message_bytes = self._up.message_bytes  # the longest for `up`
        self._online = False
        self._nonce = b""
        self._hellos = 0  # in this life
        self._hello_ms = 0  # when the last one was sent
        self._counter = 0  # of the newest message from the gateway,
        self._seen = 1  # and, by bit, which came of those before it
        self._tip = _UNKNOWN  # the newest record that the gateway holds
        self._tip_hash = b""
        self._sent = _UNKNOWN  # the newest record that is on its way
        self._sent_hash = b""
        self._anchor = False  # the gateway has what was damaged here
        self._points = False  # it has another chain, and is to be told of this one
        self._lost = 0  # the last of the records that it gives back, 0: none
        self._due_ms = 0  # when hello or upload is repeated
        self._wait_ms = _FIRST_MS
        self._quiet_ms = None  # since when an answer is due
        self._linger_ms = None
        self._tools = 0  # declarations still to send
        self._clock = (0, 0)  # unix time, at

    # -- connection

    def connected(self, now_ms, most=0):
        """A connection to the broker stands, and `dn` is subscribed.

        `most` bounds the bytes of a message for `up`; 0: `message_bytes` does.
        """
        self._online = True
        self._up.limit(most or self.message_bytes)
        self._greet(now_ms)

    def hurry(self):
        """No record waits for company any more: the connection is to be closed."""
        self._linger_ms = 0

    def lost(self):
        """The connection is gone."""
        self._online = False

    def _greet(self, now_ms):
        self._nonce = self._random(wire.NONCE)
        self._counter = self._tools = self._lost = 0
        self._seen = 1
        self._quiet_ms = None
        self._tip = self._sent = _UNKNOWN
        self._anchor = self._points = False
        self._due_ms = now_ms
        self._wait_ms = _FIRST_MS
        self._up.drop()
        for turn in self._agent.turns:
            turn.ask_at_ms = now_ms

    def unix_s(self, now_ms):
        """The time, as the gateway told it; 0 if it never did."""
        told, at = self._clock
        return told + (now_ms - at) // 1000 if told else 0

    # -- up

    def poll(self, now_ms):
        """The next message for `up` that is due, or None. The view is good until the next call."""
        if not self._online:
            return None
        return self._up.fragment() or self._up.cut(self._poll(now_ms))

    def _poll(self, now_ms):
        if self._quiet_ms is not None and now_ms - self._quiet_ms >= _QUIET_MS:
            self._greet(now_ms)
        if self._tip == _UNKNOWN or self.trouble or self._lost or self._anchor:
            return self._special(now_ms) if now_ms >= self._due_ms else None
        if self._upload_due(now_ms):
            return self._upload(now_ms)
        if self._tools:
            self._tools -= 1
            return self._up.tool(len(self._agent.tools.tools) - 1 - self._tools)
        for turn in self._agent.turns:
            if self._asks(turn) and now_ms >= turn.ask_at_ms:
                turn.ask_at_ms = now_ms + _COMPLETE_MS
                self._expect(now_ms)
                return self._up.message(wire.COMPLETE, turn.id, turn.got)
        return None

    def _special(self, now_ms):
        """What comes before all uploads."""
        if self._tip == _UNKNOWN:
            return self._hello(now_ms)
        if self._points:
            self._points = False
            self._due_ms = now_ms + _TROUBLE_MS
            return self._up.points()
        if self.trouble:
            self._greet(now_ms)
            return self._hello(now_ms)
        if self._anchor:
            return self._gap(self._tip + 1, self._tip, now_ms)
        self._again_in(now_ms)
        self._expect(now_ms)
        _, seq, offset = self._agent.back
        return self._up.message(wire.RECOVER, seq, offset)

    def deadline(self):
        """When `poll` may have something, or None."""
        if not self._online:
            return None
        due = self._due_ms
        if not (self._tip == _UNKNOWN or self.trouble or self._lost or self._anchor):
            due = due if self._sent > self._tip else self._linger_ms
            for turn in self._agent.turns:
                if self._asks(turn) and (due is None or turn.ask_at_ms < due):
                    due = turn.ask_at_ms
        return due

    def _asks(self, turn):
        """Its request is at the gateway, or on the way, and the reply is not here."""
        return turn.state == WAITING and not turn.ending and turn.req <= self._sent

    def _expect(self, now_ms):
        if self._quiet_ms is None:
            self._quiet_ms = now_ms

    def _again_in(self, now_ms):
        self._due_ms = now_ms + self._wait_ms
        self._wait_ms = min(2 * self._wait_ms, _LONGEST_MS)

    def _hello(self, now_ms):
        self._hellos += 1
        self._hello_ms = now_ms
        self._again_in(now_ms)
        return self._up.hello(self._nonce, self._hellos)

    def _upload_due(self, now_ms):
        log = self._agent.log
        if self._sent > self._tip:  # one in flight
            if now_ms < self._due_ms:
                return False
            self._give_up()
            return True
        if log.seq == self._tip:
            self._linger_ms = None
            return False
        for turn in self._agent.turns:
            if turn.state == WAITING and turn.req > self._tip:
                return True
        if self._linger_ms is None:
            self._linger_ms = now_ms + _LINGER_MS
        return now_ms >= self._linger_ms

    def _upload(self, now_ms):
        up, seq = self._up, self._tip
        there = self._agent.log.next(seq + 1)
        if there > seq + 1:
            return self._gap(seq + 1, there - 1, now_ms)
        message = up.upload(seq, self._tip_hash)
        if up.wanted:
            self._wait_ms = max(self._wait_ms, _WANTED_MS)
            up.wanted.ask_at_ms = now_ms + _COMPLETE_MS
        self._send(up.seq, up.h, now_ms)
        return message

    def _gap(self, first, last, now_ms):
        """What the gateway wants next is no longer here, up to `last`.

        Without any such record it says that the chain goes on from this log's own hash: records
        before `first` were damaged here, so that hash can't be the gateway's.
        """
        h = self._agent.log.hash_at(last)
        self._send(last, h, now_ms)
        before = bytes(self._tip_hash[: wire.ID])
        return self._up.message(wire.GAP, self._agent.epoch, first, last, before, h)

    def _give_up(self):
        """What is on its way has not arrived, as far as is known: it is sent again."""
        self._sent, self._sent_hash = self._tip, self._tip_hash

    def _send(self, seq, h, now_ms):
        """The message brings the replica up to record `seq`, whose hash is `h`."""
        self._sent, self._sent_hash = seq, h
        self._linger_ms = None
        self._again_in(now_ms)
        self._expect(now_ms)

    # -- down

    def receive(self, message, now_ms):
        """Take a `dn` message. What is not authentic, not new or malformed is counted."""
        try:
            u = Unpacker(wire.body(self._dn, message, self._nonce))
            fields = u.array(2)
            late = self._count(u.int())
            self._quiet_ms = None
            kind = u.int()
            if not late or kind != wire.TIP:  # a newer one was taken
                self._take(kind, u, fields, now_ms)
        except FormatError:
            self.rejected += 1

    def _count(self, counter):
        """True if newer messages came before this one. Raises FormatError if it came already.

        Two gateways, or a cluster of brokers, may swap messages (RFC 4303, 3.4.3).
        """
        ahead = counter - self._counter
        if ahead > 0:
            self._counter = counter
            self._seen = self._seen << min(ahead, _WINDOW) & (1 << _WINDOW) - 1 | 1
        elif counter < 1 or -ahead >= _WINDOW or self._seen >> -ahead & 1:
            raise FormatError("counter %d" % counter)
        else:
            self._seen |= 1 << -ahead
        return ahead < 0

    def _take(self, kind, u, fields, now_ms):
        agent = self._agent
        if kind == wire.TIP:
            self._take_tip(u, fields, now_ms)
        elif kind == wire.CANCEL:
            session, expires_ms = u.value(), u.int()
            if now_ms - self._hello_ms <= expires_ms:
                agent.cancel(session)
        elif kind == wire.TOOLS:
            if u.bin() == agent.tools.hash:
                self._tools = len(agent.tools.tools)
        elif kind == wire.WHOLE:
            self._up.whole = max(self._up.whole, u.int())
            self._give_up()
            self._linger_ms = now_ms
        elif kind == wire.RECORD:
            self._take_back(u, now_ms)
        elif wire.REPLY <= kind <= wire.FAIL:
            turn = agent.waiting(bytes(u.bin()))
            if turn and turn.req <= self._sent:
                self._take_reply(kind, turn, u, fields, now_ms)

    def _take_reply(self, kind, turn, u, fields, now_ms):
        agent = self._agent
        if turn.req == self._sent > self._tip:  # who replies holds the request
            self._reached(self._sent, self._sent_hash)
        turn.ask_at_ms = now_ms + _COMPLETE_MS
        if kind == wire.REPLY:
            agent.part(turn, u.int(), u.bin())
        elif kind == wire.REPLY_END:
            length, digest, calls, tokens = u.int(), bytes(u.bin()), u.int(), u.int()
            if fields > 8:
                agent.part(turn, u.int(), u.bin())
            if not agent.reply_end(turn, length, digest, calls, tokens):
                turn.ask_at_ms = now_ms
        elif kind == wire.BUSY:
            turn.ask_at_ms = now_ms + _number(u)
        elif kind == wire.FAIL:
            agent.fail(turn, u.str())

    def _take_tip(self, u, fields, now_ms):
        tip, h = _number(u), bytes(u.bin())
        u.value()
        self._clock = (_number(u), now_ms)
        first, last = (_number(u), _number(u)) if fields > 7 else (0, 0)
        log = self._agent.log
        if tip > log.seq:
            self._disagree("the gateway is ahead at record %d" % tip, tip, now_ms)
            return
        if tip == self._sent:
            own = self._sent_hash
        else:
            own = self._tip_hash if tip == self._tip else _hash_at(log, tip) or h
        if own[: wire.ID] != h:
            self._differs(tip, h, now_ms)
            return
        if tip < log.acked:  # its store is a new or an older one, and replies are gone with it
            self._up.whole = log.seq
        self.trouble = None
        self._anchor = self._points = False
        if self._sent > tip and tip != self._tip:
            self._due_ms = now_ms
        self._reached(tip, own)
        if own is not h:  # else nothing was compared
            self._agent.confirmed(tip)
            self._lose(first, last, now_ms)

    def _reached(self, tip, h):
        self._tip, self._tip_hash = tip, h
        if self._sent <= tip:
            self._sent, self._sent_hash = tip, h
            self._wait_ms = _FIRST_MS
            if self._agent.log.seq > tip and self._up.full:  # the next one has waited already
                self._linger_ms = 0

    def _differs(self, tip, h, now_ms):
        """The gateway's hash is another one than ours."""
        if not self._agent.state.doubt:
            self._disagree("the gateway differs at record %d" % tip, tip, now_ms)
        elif not (self._anchor and self._tip == tip):  # else a timer repeats it
            self._anchor = True
            self._tip, self._tip_hash = tip, h
            self._due_ms = now_ms

    def _disagree(self, why, tip, now_ms):
        self.trouble = why
        self._tip = tip
        self._points = True
        self._due_ms = now_ms

    # -- records that this log has lost

    def _lose(self, first, last, now_ms):
        """The gateway says which records it can give back, if any."""
        lost = self._agent.behind(first, last)
        if lost and not self._lost:
            self._due_ms = now_ms
        self._lost = lost

    def _take_back(self, u, now_ms):
        last, seq, kind, offset, length = [_number(u) for _ in range(5)]
        if (
            last
            and last == self._lost
            and self._agent.take_back(last, seq, kind, offset, length, u.bin())
        ):
            self._lost = self._agent.behind(seq, last)  # what was taken back says where to go on
            self._wait_ms = _FIRST_MS
            self._due_ms = now_ms


def _number(u):
    """A number of at most 32 bits. Raises FormatError."""
    n = u.int()
    if not 0 <= n < 1 << 32:
        raise FormatError("number %d" % n)
    return n


def _hash_at(log, seq):
    """h[seq], None if it is no longer in the log."""
    try:
        return log.hash_at(seq)
    except Lost:
        return None
