"""The messages for `up`, made in one buffer, and cut where a packet may not be as long."""

from . import records as r
from . import wire
from .log import HEAD, Lost, chain
from .msgpack import Packer, Unpacker
from .turn import WAITING

_TAIL = wire.CHECK + 8  # what follows the frames in an upload
_POINT = 24  # bytes of a point at most
_POINTS = 24


class Uplink:
    """Makes messages of `agent`'s log, signed with `mac`. A view is good until the next one."""

    def __init__(self, agent, mac):
        self._agent = agent
        self._mac = mac
        tools = agent.tools
        longest = max([0] + [len(tools.declaration(n)) for n in range(len(tools.tools))])
        self.message_bytes = max(agent.log.record_bytes, longest) + 128
        self._buf = memoryview(bytearray(self.message_bytes))
        self._packer = Packer(self._buf)
        self._most = self.message_bytes
        self._piece = None  # a buffer for fragments, if they are needed
        self._number = 0  # of the message that is in fragments,
        self._at = self._size = 0  # and what of its array is sent
        self.whole = 0  # records up to this one go without references
        # of the last upload
        self.seq = 0  # its last record,
        self.h = b""  # and the hash there
        self.full = False  # there was more than one message takes
        self.wanted = None  # the turn whose reply is wanted

    # -- fragments

    def limit(self, most):
        """A message may have so many bytes."""
        self._most = min(most, self.message_bytes)
        self._piece = None if self._most == self.message_bytes else Packer(bytearray(self._most))
        self.drop()

    def drop(self):
        """Forget what is still to be sent of a message."""
        self._at = self._size = 0

    def cut(self, message):
        """The message itself, or its first fragment if it is too long."""
        if message is None or len(message) <= self._most:
            return message
        # none that an earlier life used: its fragments must not pass for those of this one
        self._number = (self._number or (self._agent.epoch & 0xFFFF) << 16) + 1
        self._at, self._size = wire.MAC, len(message)
        return self.fragment()

    def fragment(self):
        """The next fragment, None if nothing is left of a message."""
        if self._at >= self._size:
            return None
        p = self._piece.reset(wire.MAC).array(5).int(wire.FRAGMENT).int(self._number)
        p.int(self._at - wire.MAC).int(self._size - wire.MAC)
        end = min(self._size, self._at + self._most - p.pos - 3)
        p.bin(self._buf[self._at : end])
        self._at = end
        return self._seal(p)

    # -- messages

    def message(self, kind, *fields):
        """An array of the kind and these fields."""
        p = self._start(1 + len(fields), kind)
        for field in fields:
            p.value(field)
        return self._seal(p)

    def _start(self, fields, kind):
        return self._packer.reset(wire.MAC).array(fields).int(kind)

    def _seal(self, p):
        view = p.taken()
        view[: wire.MAC] = self._mac.sign(view[wire.MAC :])
        return view

    def hello(self, nonce, count):
        """HELLO number `count` of this life."""
        agent = self._agent
        log = agent.log
        log.sync()
        b, h = agent.before_boot
        p = self._start(11, wire.HELLO).int(agent.epoch).bin(nonce).int(b).bin(h[: wire.ID])
        p.bin(agent.boot).int(count).int(log.seq).bin(log.head[: wire.ID])
        return self._seal(p.int(log.oldest()).int(agent.limits.part_bytes))

    def tool(self, n):
        """The declaration of the nth tool."""
        tools = self._agent.tools
        return self.message(wire.TOOL, tools.hash, n, len(tools.tools), tools.declaration(n))

    def points(self):
        """Records of this chain: the newest one, and those before which segments begin."""
        log = self._agent.log
        log.sync()
        found = [(log.seq, log.head)]
        found.extend([(first - 1, h) for first, _, h in reversed(log.segments())])
        del found[min(_POINTS, (self._most - 64) // _POINT) :]
        p = self._start(3, wire.POINTS).int(self._agent.epoch).array(len(found))
        for seq, h in found:
            p.array(2).int(seq).bin(h[: wire.ID])
        return self._seal(p)

    def upload(self, seq, h):
        """The records behind `seq`, whose hash is `h`: as many as one message takes."""
        log = self._agent.log
        log.sync()
        first = seq + 1
        p = self._start(7, wire.UPLOAD).int(self._agent.epoch).int(first).bin(h[: wire.SHORT])
        p.raw(b"\xc5\0\0")  # binary, its length comes last
        start = p.pos
        referred = False
        while seq < log.seq:
            try:
                frame = log.frame(seq + 1)
            except Lost:
                break
            data = self._reference(frame) if seq >= self.whole else None
            most = self.message_bytes if seq < first else self._most
            if p.pos + len(data or frame) + _TAIL > most:
                break
            p.raw(data or frame)
            referred = referred or data is not None
            h = chain(h, frame)
            seq += 1
        self._buf[start - 2 : start] = (p.pos - start).to_bytes(2, "big")
        self.seq, self.h, self.full = seq, h, seq < log.seq
        self.wanted = self._want(first, seq)
        p.value(h[: wire.CHECK] if referred else None)
        return self._seal(p.value(self.wanted.req if self.wanted else None))

    def _reference(self, frame):
        """What stands for a record that the gateway can make itself; None if it can't."""
        kind = frame[2]
        if kind not in (r.PART, r.REPLY_END):
            return None
        u = Unpacker(frame[HEAD:])
        u.array(2)
        data = bytes((wire.REFERENCE, kind, frame[3], frame[4])) + u.int().to_bytes(4, "big")
        return data + len(u.bin()).to_bytes(2, "big") if kind == r.PART else data

    def _want(self, first, last):
        """The turn whose request is among these records and has no reply yet."""
        for turn in reversed(self._agent.turns):
            fresh = turn.state == WAITING and not turn.ending and not turn.got
            if fresh and first <= turn.req <= last:
                return turn
        return None
