"""One client session of MQTT 5.0 or 3.1.1 over any byte stream, in fixed buffers.

Theory of operation. connect() opens a connection, lost() ends it:

    dead --connect()--> waiting --CONNACK ok--> connected --lost(), an error, DISCONNECT--> dead
                           '--CONNACK error, anything else, lost()--> dead

Bytes that arrive run through a second machine, which takes a step when it has what it wants, and
stops behind each packet that makes an event:

    HEAD --the fixed header is complete--> BODY --the packet is complete, and parsed--> HEAD

A PUBLISH that is too large has, with QoS 1, three BODYs: the size of its topic, its topic, and
the rest, which begins with the packet identifier. What the buffer cannot hold is dropped.
A dead session takes nothing until connect().
"""

from .outgoing import Outgoing
from .packets import ProtocolError, Reader

# Events: tuples that begin with one of these.
CONNECTED = 1  # session_present
REFUSED = 2  # code
MESSAGE = 3  # topic, payload, qos, pid, dup, retain
PUBACK = 4  # pid, code
SUBACK = 5  # pid, code
SKIPPED = 6  # size_bytes, pid
DISCONNECTED = 7  # code


class Session(Outgoing):
    """Makes the packets to send and turns the bytes that arrive into events.

    `will` is (topic, payload, retain), sent with QoS 1. `rx_bytes` (at least 32) and `tx_bytes`
    bound a whole packet each way. A received PUBLISH beyond the bound gives SKIPPED.
    Clean start is off. `keepalive_s` = 0 turns off every time-out, CONNECT's too.

    `level` is 5 or 4 (3.1.1), for the next CONNECT. `connected` is True from CONNACK until the
    connection dies. `max_qos`, `receive_max` and `packet_max` are the server's, `client_id` may
    come from it.

    `now_ms` is a clock that never goes back and never wraps. A packet counts as sent at the last
    `now_ms` the session was told: if that is old, a PINGREQ comes early, never late.
    A packet is a memoryview: those of puback() and poll() have buffers of their own, all others
    share one, so each must be written out before the next is made.
    """

    def __init__(
        self,
        client_id,
        user=None,
        password=None,
        keepalive_s=60,
        will=None,
        expiry_s=86400,
        rx_bytes=1280,
        tx_bytes=1280,
        level=5,
    ):
        super().__init__(tx_bytes)
        self.client_id = client_id
        self.level = level
        if password is not None:
            user = user or ""  # 3.1.1 allows no password without a user name
        fields = []
        flags = 0
        if will:
            flags = 0x0C | will[2] << 5
            fields.extend(will[:2])
        for field, flag in ((user, 0x80), (password, 0x40)):
            if field is not None:
                flags |= flag
                fields.append(field)
        self._options = (flags, fields, keepalive_s, expiry_s)
        self._allowed = 0xFF  # those flags that the server does not refuse
        self._rx = memoryview(bytearray(rx_bytes))
        self._reader = Reader(self._rx)
        self._ack = memoryview(bytearray(b"\x40\x02\0\0"))
        self._reset(0, 0, 0)

    # -- the connection

    def connect(self, now_ms):
        """CONNECT; begins a connection, whatever came before. ValueError as in publish()."""
        flags, fields, keepalive_s, expiry_s = self._options
        v5 = self.level - 4
        self._reset(v5, keepalive_s, now_ms)
        tx = self._begin()
        tx.data("MQTT")
        tx.uint(self.level << 8 | flags & self._allowed, 2)
        tx.uint(keepalive_s, 2)
        if v5:
            tx.uint(0x0D11, 2)  # 13 bytes of properties; Session Expiry Interval
            tx.uint(expiry_s, 4)
            tx.uint(0x21000427, 4)  # Receive Maximum: 4; Maximum Packet Size
            # More than fits: what the broker drops nobody hears of, what is skipped is refused.
            tx.uint(max(16384, len(self._rx)), 4)
        tx.data(self.client_id)
        if flags & 4:
            tx.uint(0, v5)  # no properties of the will: a byte that 3.1.1 does not have
        for field in fields:
            tx.data(field)
        packet = tx.end(0x10)
        self._waiting = True
        self._asked = now_ms
        self._expect(0, 2)
        return packet

    def lost(self):
        """The stream ended. Before a CONNACK that may mean the version: `level` flips."""
        if self._waiting:
            self.level = 9 - self.level
        self._waiting = False
        self._close()

    def disconnect(self, code=0):
        """DISCONNECT (3.1.1 has no code); the session is dead with it."""
        self._waiting = False
        self._close()
        tx = self._begin()
        if code and self._v5:
            tx.uint(code, 1)
        return tx.end(0xE0)

    def deadline(self):
        """When to call poll(), in ms, or None."""
        if not self._want or not self._keep_ms:
            return None
        if self._asked is not None:
            return self._asked + self._keep_ms
        # silence of the broker is worth a PINGREQ as well: or who reads takes it for dead
        return min(self._sent, self._heard) + self._keep_ms

    def poll(self, now_ms):
        """PINGREQ if due, or None. ProtocolError if the server owes an answer for too long."""
        self._now = now_ms
        due = self.deadline()
        if due is None or now_ms < due:
            return None
        if self._asked is not None:
            # Silence may mean the version as well: `_waiting` is left to lost().
            self._close()
            raise ProtocolError("no CONNACK" if self._waiting else "no PINGRESP")
        self._asked = self._sent = now_ms
        return memoryview(b"\xc0\0")

    # -- packets to send

    def puback(self, pid):
        """PUBACK; overwrites the last PUBACK only."""
        self._ack[2] = pid >> 8
        self._ack[3] = pid & 255
        self._sent = self._now
        return self._ack

    # -- bytes that arrive

    def receive(self, data, now_ms):
        """Take bytes up to the end of the next packet that makes an event; return how many.

        More than 0 and at most len(data), as long as next_event() has been called since; so
        call both in turn until all is taken. ProtocolError: the connection is dead.
        """
        self._now = now_ms
        if not self._want:
            raise ProtocolError("not connected")
        data = memoryview(data)
        taken = 0
        try:
            while taken < len(data) and self._event is None:
                size = min(self._want, len(data) - taken)
                at = self._at
                self._at = min(at + size, len(self._rx))
                self._rx[at : self._at] = data[taken : taken + self._at - at]
                taken += size
                self._want -= size
                if not self._want:
                    self._step()
        except ProtocolError:
            self._close()
            raise
        return taken

    def next_event(self):
        """The event of the packet that was completed last, or None.

        The payload of MESSAGE is a slice of the receive buffer: valid until the next receive().
        """
        event = self._event
        self._event = None
        return event

    def _step(self):
        if not self._head:
            self._header()
            if self._want:
                return
        head = self._head
        self._reader.start(0, self._at)
        self._expect(0, 2)
        event = self._skip(head) if self._size else self._packet(head)
        if self._reader.left() and not self._size:
            raise ProtocolError("bad length")
        self._event = event
        if not self._head:  # bytes that never become a packet are no sign of life
            self._heard = self._now

    def _header(self):
        at = self._at
        if self._rx[at - 1] > 127 and at < 5:
            self._want = 1
            return
        reader = self._reader
        reader.start(1, at)
        size = reader.varint()
        head = self._rx[0]
        # CONNACK first; then PUBLISH with QoS 0 or 1 (we subscribe with no more), PUBACK, SUBACK,
        # PINGRESP, and DISCONNECT in 5.0.
        allowed = b"\x30\x31\x32\x33\x38\x39\x3a\x3b\x40\x90\xd0\xe0"[: 11 + self._v5]
        if head not in (b"\x20" if self._waiting else allowed):
            raise ProtocolError("packet 0x%02x" % head)
        self._size = 0  # bytes of the packet, if it is too large
        self._rest = 0  # bytes behind its topic; before that is known, minus those of its body
        if at + size > len(self._rx):
            if head >> 4 != 3:
                raise ProtocolError("packet too large")
            self._size = at + size
            if head & 6:
                self._rest = -size
                size = 2
        self._expect(head, size)

    def _skip(self, head):
        reader = self._reader
        rest = self._rest
        if not rest:
            return (SKIPPED, self._size, reader.pid() if head & 6 else 0)
        self._rest = 0
        if rest < 0:
            size = reader.uint(2)
            self._rest = -rest - size - 2
            rest = size
            if self._rest < 2 or not size:
                raise ProtocolError("bad length")
        self._expect(head, rest)
        return None

    def _packet(self, head):
        # The event of a whole packet, or None.
        reader = self._reader
        kind = head >> 4
        if kind == 2:
            return self._connack()
        if kind == 3:
            return self._publish(head)
        if kind == 14:
            return self._end(DISCONNECTED, self._code())
        if kind == 13:
            self._asked = None
            return None
        pid = reader.pid()
        if kind == 4:
            return (PUBACK, pid, self._code())
        if self._v5:
            reader.properties()
        return (SUBACK, pid, reader.uint(1))

    def _connack(self):
        reader = self._reader
        flags = reader.uint(1)
        code = reader.uint(1)
        if flags > (not code):  # only a success has a session present
            raise ProtocolError("bad CONNACK")
        # A server of the other version refuses in its own format, with or without properties.
        found = {}
        if reader.left() if code else self._v5:
            found = reader.properties()
        self._waiting = False
        if code:
            if code in (1, 0x84):
                self.level = 9 - self.level
            elif code in (0x9A, 0x9B):  # a will that is retained, or of QoS 1: the next has none
                self._allowed &= 0xDF if code == 0x9A else 0xE7
            return self._end(REFUSED, code)
        self._limits(found)
        # more often than the server wants is never wrong, and we notice its silence ourselves
        if found.get(0x13) and not 0 < self._keep_ms < found[0x13] * 1000:
            self._keep_ms = found[0x13] * 1000
        if 0x12 in found:
            self.client_id = found[0x12]
        self._asked = None
        self.connected = True
        return (CONNECTED, flags == 1)

    def _publish(self, head):
        reader = self._reader
        topic = reader.text()
        qos = head >> 1 & 3
        pid = reader.pid() if qos else 0
        if self._v5 and 0x23 in reader.properties():
            raise ProtocolError("topic alias")
        return (MESSAGE, topic, reader.raw(reader.left()), qos, pid, head & 8 > 0, head & 1 > 0)

    def _code(self):
        # A reason code and properties, each of which may be missing; 3.1.1 has neither.
        reader = self._reader
        code = reader.uint(min(self._v5, reader.left()))
        if self._v5 and reader.left():
            reader.properties()
        return code

    # -- shared steps

    def _reset(self, v5, keepalive_s, now_ms):
        self._v5 = v5  # 1 or 0, of this connection; `level` may already be that of the next
        self._waiting = False  # CONNECT went out, nothing sensible came back
        self._event = None
        self._now = self._sent = self._heard = now_ms
        self._asked = None  # when CONNECT or PINGREQ went out that has no answer yet
        self._keep_ms = keepalive_s * 1000
        self._limits({})
        self._close()

    def _expect(self, head, size):
        self._head = head  # first byte of the packet coming in; 0 in its fixed header
        self._want = size  # bytes to come before the next step; 0 if dead
        self._at = 0  # bytes in the receive buffer

    def _close(self):
        self._want = 0
        self.connected = False

    def _end(self, event, code):
        self._close()
        return (event, code)
