"""The device's end of the link: what goes up, what comes down, and the timers that repeat it.

Sans-IO. The driver calls `connected` and `lost`, hands each `dn` message to `receive`, and
publishes whatever `poll` returns until it returns None, again at `deadline`. MQTT delivers these
messages at most once and in any state of mind: everything here is repeated until the log's
replica or the reply says that it arrived (DESIGN.md, "Replication").
"""

from . import wire
from .const import const
from .log import Lost, chain
from .msgpack import FormatError, Packer, Unpacker
from .turn import WAITING

_FIRST_MS = const(1000)  # before the first repetition; doubles
_LONGEST_MS = const(30000)
_COMPLETE_MS = const(5000)  # before a request is repeated
_LINGER_MS = const(300)  # how long a record waits for company
_QUIET_MS = const(15000)  # without any answer before the device says hello again
_UNKNOWN = const(-1)


class Link:
    """Replicates the log of `agent` and fetches replies. `random(n)` gives n random bytes."""

    def __init__(self, agent, key, random):
        self.trouble = None  # why the gateway and this log do not agree, in words
        self.rejected = 0  # messages with a wrong MAC, counter or form
        self._agent = agent
        self._random = random
        self._up = wire.subkey(key, "up")
        self._dn = wire.subkey(key, "dn")
        tools = agent.tools
        longest = max([0] + [len(tools.declaration(n)) for n in range(len(tools.tools))])
        self.message_bytes = max(agent.log.record_bytes, longest) + 128  # the longest for `up`
        self._buf = bytearray(self.message_bytes)
        self._packer = Packer(self._buf)
        self._online = False
        self._nonce = b""
        self._hello_ms = 0  # when the hello was sent
        self._counter = 0
        self._tip = _UNKNOWN  # the newest record that the gateway holds
        self._tip_hash = b""
        self._sent = _UNKNOWN  # the newest record that is on its way
        self._sent_hash = b""
        self._anchor = False  # the gateway has what was damaged here
        self._due_ms = 0  # when hello or upload is repeated
        self._wait_ms = _FIRST_MS
        self._quiet_ms = None  # since when an answer is due
        self._linger_ms = None
        self._tools = 0  # declarations still to send
        self._clock = (0, 0)  # unix time, at

    # -- connection

    def connected(self, now_ms):
        """A connection to the broker stands, and `dn` is subscribed."""
        self._online = True
        self._greet(now_ms)

    def lost(self):
        """The connection is gone."""
        self._online = False

    def _greet(self, now_ms):
        self._nonce = self._random(wire.NONCE)
        self._counter = self._tools = 0
        self._quiet_ms = None
        self._tip = self._sent = _UNKNOWN
        self._anchor = False
        self._due_ms = now_ms
        self._wait_ms = _FIRST_MS
        for turn in self._agent.turns:
            turn.ask_at_ms = now_ms

    def unix_s(self, now_ms):
        """The time, as the gateway told it; 0 if it never did."""
        told, at = self._clock
        return told + (now_ms - at) // 1000 if told else 0

    # -- up

    def poll(self, now_ms):
        """The next message for `up` that is due, or None. The view is good until the next call."""
        if not self._online or self.trouble:
            return None
        if self._quiet_ms is not None and now_ms - self._quiet_ms >= _QUIET_MS:
            self._greet(now_ms)
        if self._tip == _UNKNOWN:
            return self._hello(now_ms) if now_ms >= self._due_ms else None
        if self._anchor:
            due = now_ms >= self._due_ms
            return self._gap(self._tip + 1, self._tip, now_ms) if due else None
        if self._upload_due(now_ms):
            return self._upload(now_ms)
        if self._tools:
            return self._tool()
        for turn in self._agent.turns:
            if self._asks(turn) and now_ms >= turn.ask_at_ms:
                turn.ask_at_ms = now_ms + _COMPLETE_MS
                self._expect(now_ms)
                return self._seal(self._start(3, wire.COMPLETE).bin(turn.id).int(turn.got))
        return None

    def deadline(self):
        """When `poll` may have something, or None."""
        if not self._online or self.trouble:
            return None
        if self._tip == _UNKNOWN or self._anchor:
            return self._due_ms
        due = self._due_ms if self._sent > self._tip else self._linger_ms
        for turn in self._agent.turns:
            if self._asks(turn) and (due is None or turn.ask_at_ms < due):
                due = turn.ask_at_ms
        return due

    def _asks(self, turn):
        """Its request is at the gateway, or on the way, and the reply is not here."""
        return turn.state == WAITING and not turn.ending and turn.req <= self._sent

    def _start(self, fields, kind):
        return self._packer.reset(wire.MAC).array(fields).int(kind)

    def _seal(self, p):
        view = p.taken()
        self._buf[: wire.MAC] = self._up.sign(view[wire.MAC :])
        return view

    def _expect(self, now_ms):
        if self._quiet_ms is None:
            self._quiet_ms = now_ms

    def _again_in(self, now_ms):
        self._due_ms = now_ms + self._wait_ms
        self._wait_ms = min(2 * self._wait_ms, _LONGEST_MS)

    def _hello(self, now_ms):
        agent = self._agent
        log = agent.log
        log.sync()
        b, h = agent.before_boot
        self._hello_ms = now_ms
        self._again_in(now_ms)
        p = self._start(9, wire.HELLO).int(agent.epoch).bin(self._nonce)
        p.int(b).bin(h[: wire.ID]).int(log.seq).bin(log.head[: wire.ID])
        return self._seal(p.int(log.oldest()).int(agent.limits.part_bytes))

    def _upload_due(self, now_ms):
        log = self._agent.log
        if self._sent > self._tip:  # one in flight
            if now_ms < self._due_ms:
                return False
            self._sent = self._tip
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
        log = self._agent.log
        log.sync()
        seq, h = self._tip, self._tip_hash
        there = log.next(seq + 1)
        if there > seq + 1:
            return self._gap(seq + 1, there - 1, now_ms)
        p = self._start(5, wire.UPLOAD).int(self._agent.epoch).int(seq + 1)
        p.bin(h[: wire.ID]).raw(b"\xc5\0\0")  # binary, its length comes last
        start = p.pos
        while seq < log.seq:
            try:
                frame = log.frame(seq + 1)
            except Lost:
                break
            if p.pos + len(frame) > len(self._buf):
                break
            p.raw(frame)
            h = chain(h, frame)
            seq += 1
        self._buf[start - 2 : start] = (p.pos - start).to_bytes(2, "big")
        return self._send(p, seq, h, now_ms)

    def _gap(self, first, last, now_ms):
        """What the gateway wants next is no longer here, up to `last`.

        Without any such record it says that the chain goes on from this log's own hash: records
        before `first` were damaged here, so that hash can't be the gateway's.
        """
        h = self._agent.log.hash_at(last)
        p = self._start(6, wire.GAP).int(self._agent.epoch).int(first).int(last)
        return self._send(p.bin(self._tip_hash[: wire.ID]).bin(h), last, h, now_ms)

    def _send(self, p, seq, h, now_ms):
        """The message brings the replica up to record `seq`, whose hash is `h`."""
        self._sent, self._sent_hash = seq, h
        self._linger_ms = None
        self._again_in(now_ms)
        self._expect(now_ms)
        return self._seal(p)

    def _tool(self):
        tools = self._agent.tools
        n = len(tools.tools) - self._tools
        self._tools -= 1
        p = self._start(5, wire.TOOL).bin(tools.hash).int(n).int(len(tools.tools))
        return self._seal(p.bin(tools.declaration(n)))

    # -- down

    def receive(self, message, now_ms):
        """Take a `dn` message. What is not authentic, not new or malformed is counted."""
        try:
            u = Unpacker(wire.body(self._dn, message, self._nonce))
            fields = u.array(2)
            counter = u.int()
            if counter <= self._counter:
                raise FormatError("counter %d" % counter)
            self._counter = counter
            self._quiet_ms = None
            self._take(u, fields, now_ms)
        except FormatError:
            self.rejected += 1

    def _take(self, u, fields, now_ms):
        kind = u.int()
        if kind == wire.TIP:
            self._take_tip(u, now_ms)
        elif kind == wire.CANCEL:
            session, expires_ms = u.value(), u.int()
            if now_ms - self._hello_ms <= expires_ms:
                self._agent.cancel(session)
        elif kind == wire.TOOLS:
            if u.bin() == self._agent.tools.hash:
                self._tools = len(self._agent.tools.tools)
        else:
            turn = self._agent.waiting(bytes(u.bin()))
            if turn:
                self._take_reply(kind, turn, u, now_ms)

    def _take_reply(self, kind, turn, u, now_ms):
        agent = self._agent
        turn.ask_at_ms = now_ms + _COMPLETE_MS
        if kind == wire.REPLY:
            agent.part(turn, u.int(), u.bin())
        elif kind == wire.REPLY_END:
            if not agent.reply_end(turn, u.int(), bytes(u.bin()), u.int(), u.int()):
                turn.ask_at_ms = now_ms
        elif kind == wire.BUSY:
            turn.ask_at_ms = now_ms + _number(u)
        elif kind == wire.FAIL:
            agent.fail(turn, u.str())

    def _take_tip(self, u, now_ms):
        tip, h = _number(u), bytes(u.bin())
        u.value()
        self._clock = (_number(u), now_ms)
        log = self._agent.log
        if tip > log.seq:
            self.trouble = "the gateway is ahead at record %d" % tip
            return
        if tip == self._sent:
            own = self._sent_hash
        else:
            own = self._tip_hash if tip == self._tip else _hash_at(log, tip) or h
        if own[: wire.ID] != h:
            self._differs(tip, h, now_ms)
            return
        self._anchor = False
        self._tip, self._tip_hash = tip, own
        if self._sent <= tip:
            self._sent, self._sent_hash = tip, own
            self._wait_ms = _FIRST_MS
        else:
            self._due_ms = now_ms
        if own is not h:  # else nothing was compared
            self._agent.confirmed(tip)

    def _differs(self, tip, h, now_ms):
        """The gateway's hash is another one than ours."""
        if not self._agent.state.doubt:
            self.trouble = "the gateway differs at record %d" % tip
        elif not (self._anchor and self._tip == tip):  # else a timer repeats it
            self._anchor = True
            self._tip, self._tip_hash = tip, h
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
