"""The other end of the link, small, and the wire between: both for the portable tests."""

from chip import Chip
from helpers import DEVICE, KEY, Bench, Random, digest16, pack_reply
from mote import records as r
from mote import wire
from mote.link import Link
from mote.log import chain, genesis
from mote.msgpack import Packer, Unpacker
from mote.turn import Limits

CALLS = pack_reply([("look", {"n": 1}), ("pour", {"n": 2})])
TEXT = pack_reply([], "done " * 300)


class Gateway:
    """Keeps a replica, checks its chain, and answers requests with scripted replies.

    Of records that the device has no more, `frames` and `hashes` have None. `script` is a list of
    (bytes, calls, tokens), ("busy", ms) or ("fail", why), one for each new request in turn; a
    stored reply is sent again for the same id. What goes down is in `out`.
    """

    def __init__(self, script=()):
        self.script = list(script)
        self.out = []
        self.frames = []
        self.hashes = [genesis(DEVICE)]
        self.replies = {}
        self.seen = []  # kind of each authentic message
        self.completes = []  # (id, offset)
        self.declared = []
        self.hello = None
        self.refused = 0  # uploads and gaps that did not fit
        self.gaps = []  # (first, last) of each that the device told
        self.unix_s = 1700000000
        self.spoil = 0  # digests to falsify
        self.tips = True  # a tip for each upload, else not where a reply follows
        self.whole = 0  # uploads with references that could not be resolved
        self.points = []
        self.lost = None  # (first, {number: (kind, payload)}) of what the device lost
        self.pieces = 0  # fragments
        self._fragment = None  # (number, bytes)
        self._up = wire.subkey(KEY, "up")
        self._dn = wire.subkey(KEY, "dn")
        self._counter = 0
        self._nonce = b""
        self._part = 512

    def send(self, kind, *fields):
        """Sign one `dn` message under the nonce of the last hello; returns its bytes too."""
        self._counter += 1
        p = Packer(bytearray(2048)).array(2 + len(fields)).int(self._counter).int(kind)
        for field in fields:
            p.value(field)
        body = bytes(p.taken())
        message = self._dn.sign(self._nonce, body) + body
        self.out.append(message)
        return message

    def receive(self, message):
        """Take an `up` message. Raises FormatError if it is not authentic."""
        self._take(Unpacker(wire.body(self._up, bytes(message))))

    def _take(self, u):
        u.array(2)
        kind = u.int()
        self.seen.append(kind)
        if kind == wire.HELLO:
            self._take_hello(u)
        elif kind == wire.UPLOAD:
            self._take_upload(u)
        elif kind == wire.COMPLETE:
            self._complete(bytes(u.bin()), u.int())
        elif kind == wire.GAP:
            self._take_gap(u)
        elif kind == wire.POINTS:
            u.int()
            self.points.append(u.value())
        elif kind == wire.FRAGMENT:
            self._take_fragment(u.int(), u.int(), u.int(), bytes(u.bin()))
        elif kind == wire.RECOVER:
            self._give_back(u.int(), u.int())
        else:
            self.declared.append((bytes(u.bin()), u.int(), u.int(), bytes(u.bin())))

    def _take_hello(self, u):
        epoch, nonce = u.int(), bytes(u.bin())
        b, h, self.boot, self.count = u.int(), bytes(u.bin()), bytes(u.bin()), u.int()
        self.hello = (epoch, nonce, b, h, u.int(), bytes(u.bin()), u.int())
        self._part = u.int()
        if nonce != self._nonce:
            self._nonce, self._counter = nonce, 0
        self.tip()

    def tip(self):
        """Tell the newest record that is held."""
        n = len(self.frames)
        back = (self.lost[0], max(self.lost[1])) if self.lost else ()
        self.send(wire.TIP, n, self.hashes[n][: wire.ID], self.hello[0], self.unix_s, *back)

    def _take_fragment(self, number, offset, length, data):
        self.pieces += 1
        known, had = self._fragment or (0, b"")
        if offset == 0 or (known == number and offset == len(had)):
            had = had + data if offset else data
            self._fragment = number, had
            if len(had) == length:
                self._take(Unpacker(had))

    def _give_back(self, seq, offset):
        if not self.lost:
            return  # somebody else told the device of a loss
        records = self.lost[1]
        last = max(records)
        while seq not in records:
            seq += 1
        kind, payload = records[seq]
        data = payload[offset : offset + self._part]
        self.send(wire.RECORD, last, seq, kind, offset, len(payload), data)

    def _take_upload(self, u):
        u.int()
        first, before, frames = u.int(), bytes(u.bin()), bytes(u.bin())
        check, wanted = u.value(), u.value()
        whole = True
        if self._fits(first, before):
            whole = self._extend(first, frames, check)
        if not whole or self.tips or not wanted:
            self.tip()
        if not whole:
            self.whole += 1
            self.send(wire.WHOLE, self._last)
        elif wanted and wanted < len(self.hashes):
            self._complete(self.hashes[wanted][: wire.ID], 0)

    def _fits(self, first, before):
        """True if a record `first` that follows the hash of id `before` can be taken."""
        h = self.hashes[first - 1] if first - 1 <= len(self.frames) else None
        if h is None or h[: len(before)] != before:
            self.refused += 1
            return False
        return True

    def _take_gap(self, u):
        u.int()
        first, last, before, h = u.int(), u.int(), bytes(u.bin()), bytes(u.bin())
        if self._fits(first, before) and last >= len(self.frames):
            assert first == len(self.frames) + 1, "a gap where the replica has records"
            self.gaps.append((first, last))
            self.frames.extend([None] * (last - first + 1))
            self.hashes.extend([None] * (last - first + 1))
            self.hashes[last] = h  # the last one's; of an empty gap, that before it
        self.tip()

    def _extend(self, seq, data, check):
        """Append; False if a reference can't be resolved: then what is before it is appended."""
        h = self.hashes[seq - 1]
        added = []
        at, whole = 0, None
        while at < len(data):
            if data[at] == wire.REFERENCE:
                whole = len(added) if whole is None else whole
                frame, n = self._resolve(data[at : at + 10], added)
            else:
                n = 5 + (data[at] << 8 | data[at + 1])
                frame = data[at : at + n]
                assert len(frame) == n
            h = chain(h, frame)
            added.append((frame, h))
            at += n
        self._last = seq + len(added) - 1
        good = whole is None or h[: wire.CHECK] == check
        for frame, h in added if good else added[:whole]:
            assert frame[3] << 8 | frame[4] == seq & 0xFFFF
            if seq == len(self.hashes):
                self.frames.append(frame)
                self.hashes.append(h)
            assert self.hashes[seq] == h, "a fork"
            seq += 1
        return good

    def _resolve(self, data, added):
        """(the frame for which a reference stands, its own length)."""
        kind, req = data[1], int.from_bytes(data[4:8], "big")
        frames = self.frames + [frame for frame, _ in added]
        reply = self.replies.get(self._id_of(req, added), (b"", 0, 0))
        p = Packer(bytearray(2048))
        if kind == r.PART:
            n = int.from_bytes(data[8:10], "big")
            at = 0
            for frame in frames:
                if frame and frame[2] == r.PART:
                    u = Unpacker(frame[5:])
                    u.array(2)
                    if u.int() == req:
                        at += len(u.bin())
            payload = p.array(2).int(req).bin(reply[0][at : at + n]).taken()
        else:
            whole, calls, tokens = reply
            p.array(5).int(req).int(len(whole)).bin(digest16(whole)).int(calls).int(tokens)
            payload = p.taken()
        frame = len(payload).to_bytes(2, "big") + bytes((kind,)) + data[2:4] + bytes(payload)
        return frame, 10 if kind == r.PART else 8

    def _id_of(self, seq, added):
        if seq < len(self.hashes):
            return (self.hashes[seq] or b"")[: wire.ID]
        n = seq - len(self.hashes)
        return added[n][1][: wire.ID] if n < len(added) else b""

    def _complete(self, ident, offset):
        self.completes.append((ident, offset))
        if ident not in [h[: wire.ID] for h in self.hashes if h]:
            self.tip()
            return
        if ident not in self.replies:
            self.replies[ident] = self.choose()
        reply = self.replies[ident]
        if reply[0] == "busy":
            del self.replies[ident]
            self.send(wire.BUSY, ident, reply[1])
        elif reply[0] == "fail":
            self.send(wire.FAIL, ident, reply[1])
        else:
            self._send_reply(ident, offset, reply)

    def choose(self):
        """The next reply."""
        assert self.script, "a request that the test did not expect"
        return self.script.pop(0)

    def _send_reply(self, ident, offset, reply):
        data, calls, tokens = reply
        at = offset
        while len(data) - at > self._part:
            self.send(wire.REPLY, ident, at, data[at : at + self._part])
            at += self._part
        digest = digest16(data)
        if self.spoil:
            self.spoil -= 1
            digest = bytes(16)
        self.send(wire.REPLY_END, ident, len(data), digest, calls, tokens, at, data[at:])


class Wire:
    """One direction: drops, repeats and reorders; each in `percent` of the cases."""

    def __init__(self, random, percent=0):
        self._random = random
        self._percent = percent
        self._queue = []

    def _happens(self):
        return self._random.below(100) < self._percent

    def send(self, message):
        """Take a message."""
        if self._happens():
            return
        self._queue.append(message)
        if self._happens():
            self._queue.append(message)
        if len(self._queue) > 1 and self._happens():
            self._queue[-1], self._queue[-2] = self._queue[-2], self._queue[-1]

    def take(self):
        """All that arrives now."""
        queue, self._queue = self._queue, []
        return queue


class Line:
    """A bench device's link and a gateway over two wires, and the clock they share."""

    def __init__(self, bench, link, gateway, random, percent=0):
        self.bench = bench
        self.link = link
        self.gateway = gateway
        self.up = Wire(random, percent)
        self.down = Wire(random, percent)

    def step(self):
        """Let everything happen that is due at this moment."""
        busy = True
        while busy:
            busy = False
            self.bench.settle()
            message = self.link.poll(self.bench.now_ms)
            while message is not None:
                busy = True
                self.up.send(bytes(message))
                message = self.link.poll(self.bench.now_ms)
            for message in self.up.take():
                self.gateway.receive(message)
            for message in self.gateway.out:
                self.down.send(message)
            self.gateway.out.clear()
            for message in self.down.take():
                busy = True
                self.link.receive(message, self.bench.now_ms)

    def until_quiet(self, most=500):
        """Go from deadline to deadline until there is none; fails if there is always another."""
        for _ in range(most):
            self.step()
            due = self.link.deadline()
            if due is None:
                return
            self.bench.now_ms = max(self.bench.now_ms, due)
        raise AssertionError("there is always another deadline")


def line(script=(), seed=1, percent=0, part=None, chip=None):
    """A connected device and its gateway; `part` bounds the bytes of a reply in a message."""
    limits = Limits()
    if part:
        limits.part_bytes = part
    b = Bench(chip or Chip(4, 16, 16384), limits=limits, now_ms=1000)
    made = Line(b, Link(b.agent, KEY, Random(seed).bytes), Gateway(script), Random(seed), percent)
    made.link.connected(b.now_ms)
    return made


def half_a_reply():
    """A device that starts anew with 800 bytes of a reply; its new link is not connected yet."""
    made = line([(TEXT, 0, 1)], part=400)
    made.until_quiet()
    made.bench.ask("go", "s", "1")
    made.bench.settle()
    drain(made)
    del made.gateway.out[-2:]
    deliver(made)
    made.bench.log.sync()
    made.bench = Bench(made.bench.chip)
    made.link = Link(made.bench.agent, KEY, Random(9).bytes)
    return made


def whole():
    """The script of a turn with two calls and then text."""
    return [(CALLS, 2, 10), (TEXT, 0, 10)]


def texts(made):
    """[(how, text)] of what the device published."""
    return [(how, text) for _, (_, _, how, text) in made.bench.published]


def drain(made):
    """Everything that `poll` has, as kinds."""
    before = len(made.gateway.seen)
    message = made.link.poll(made.bench.now_ms)
    while message is not None:
        made.gateway.receive(message)
        message = made.link.poll(made.bench.now_ms)
    return made.gateway.seen[before:]


def deliver(made):
    """Give the device all that the gateway has sent."""
    for message in made.gateway.out:
        made.link.receive(message, made.bench.now_ms)
    made.gateway.out.clear()


def replica_is_whole(made):
    """True if the gateway holds all of the log."""
    log = made.bench.log
    return len(made.gateway.frames) == log.seq and made.gateway.hashes[-1] == log.head


def waiting_line():
    """A line with a request at the gateway and nothing on the way down."""
    made = line([(TEXT, 0, 1)])
    made.until_quiet()
    seq = made.bench.ask("go", "s", "1")
    made.bench.settle()
    drain(made)
    held = list(made.gateway.out)
    made.gateway.out.clear()
    return made, made.bench.turn(seq), held
