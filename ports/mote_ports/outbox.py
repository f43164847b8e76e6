"""Answers on their way to `mote/d/out`: sent once the broker takes them, until it has them.

What the broker did not acknowledge before a connection ended is sent again with its old packet
identifier if the broker kept the session, else with a new one (MQTT 5.0, 4.4). All of that is RAM
only: after a restart the log says what is not acknowledged.
"""

from mote.log import Lost
from mote.lookup import GONE
from mote.records import FAILED

_ERRORS = 0x80  # reason codes from here on are errors (MQTT 5.0, 2.4)
_PATIENCE = 3  # times that an answer is sent to a broker that refuses it,
_RETRY_MS = 30000  # and when again


class Outbox:
    """Sends answers of `agent` over `net`, a Connection, to one topic."""

    def __init__(self, agent, session, net, topic, expiry_s, report, now_ms):
        self._agent = agent
        self._session = session
        self._net = net
        self._topic = topic
        self._expiry_s = expiry_s
        self._report = report
        self._now_ms = now_ms
        self._due = []  # (seq of the ASK, of the ANSWER)
        self._flying = {}  # packet identifier: the same; not acknowledged
        self._open = set()  # identifiers that were sent over this connection
        self._refusals = {}  # seq of the ASK: how often the broker refused its answer
        self._later = []  # (when, (seq of the ASK, of the ANSWER)) that it refused

    def add(self, seq, answer):
        """An answer is to be sent."""
        if (seq, answer) not in self._due:
            self._due.append((seq, answer))

    def connected(self, present):
        """A connection stands; `present` if the broker kept the session."""
        flying = list(self._flying.values())
        self._later.clear()  # the agent says what is due
        self._due = flying + [answer for answer in self._due if answer not in flying]
        self._open.clear()
        if not present:
            self._flying.clear()

    def acknowledged(self, pid, code):
        """The broker has the packet, or refuses it."""
        seq, answer = self._flying.pop(pid, (0, 0))
        self._open.discard(pid)
        turn = self._agent.state.turn(seq)
        if not turn or turn.answer != answer:
            return
        if code >= _ERRORS:
            from .reasons import reason  # only who is refused loads it

            self._refusals[seq] = n = self._refusals.get(seq, 0) + 1
            self._report("the broker refuses the answer to ask %d: %s" % (seq, reason(code)))
            if n < _PATIENCE:
                self._later.append((self._now_ms() + _RETRY_MS, (seq, answer)))
                return
            self._report("the answer to ask %d is in the log only" % seq)
        self._refusals.pop(seq, None)
        self._agent.sent(seq)

    async def send(self):
        """Send what is due, as far as the broker takes it now (its Receive Maximum)."""
        while self._later and self._now_ms() >= self._later[0][0]:
            self.add(*self._later.pop(0)[1])
        while self._net.stream and len(self._open) < self._session.receive_max:
            seq, answer = self._next()
            if not seq:
                return
            try:
                await self._send(seq, answer)
            except Lost:  # the ring went on meanwhile: half an answer, so the connection ended
                self._report("the answer to ask %d went out of the log while it was sent" % seq)
            except MemoryError:
                if self._agent.state.turn(seq):
                    raise  # who runs the driver ends the turn
                self._report("no memory to answer ask %d once more" % seq)

    def deadline(self):
        """When something is due that was refused, or None."""
        return self._later[0][0] if self._later else None

    def _next(self):
        """What is due and not on its way already: who repeats an ask ten times is told twice."""
        under_way = [self._flying[pid] for pid in self._open]
        for i in range(len(self._due)):
            if self._due[i] not in under_way:
                return self._due.pop(i)
        return 0, 0

    async def _send(self, seq, answer):
        session = self._session
        qos = session.max_qos
        most = session.packet_max - len(self._topic) - 16
        payload, size = self._payload(seq, answer, most)
        pid, again = self._identifier(seq, answer) if qos else (0, False)
        if qos:
            self._flying[pid] = seq, answer
            self._open.add(pid)
        head = session.publish_head(self._topic, size, qos, pid, again, self._expiry_s)
        self._report("answer to ask %d: %d bytes" % (seq, size), detail=True)
        if await self._net.send(head, payload.pieces()) and not qos:
            self._agent.sent(seq)  # nobody will ever acknowledge it

    def _payload(self, seq, answer, most):
        from .answers import Answer  # not before there is one

        session, name, how, text = self._agent.answer(seq, answer)
        payload = Answer(session, name, how, text)
        try:
            return payload, payload.measure(most)
        except Lost:
            payload = Answer(session, name, FAILED, GONE)
            return payload, payload.measure(most)

    def _identifier(self, seq, answer):
        """(packet identifier, whether the broker may have the packet already)."""
        for pid, flying in self._flying.items():
            if flying == (seq, answer) and pid not in self._open:
                return pid, True
        pid = self._session.next_pid()
        while pid in self._flying:
            pid = self._session.next_pid()
        return pid, False
