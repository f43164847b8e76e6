"""The checkpoint: the state in it and the records behind it are the state; older and newer
versions read one another's."""

# slow on boards: test_at_every_record_the_checkpoint_and_what_is_behind_it_are_the_live_state

from chip import Chip
from helpers import KEY, Bench, make_log, nothing, opened, raises
from lives import busy, few, look, small_ring, state_of
from mote import records as r
from mote import wire
from mote.log import VERSION, Log, LogError, genesis
from mote.msgpack import Packer, Unpacker
from mote.state import State, UnknownRecord
from mote.turn import ANSWERED, Limits, Turn


def test_at_every_record_the_checkpoint_and_what_is_behind_it_are_the_live_state():
    chip = small_ring(48)
    folded = State(few())
    found = {"begun": 0, "open": 0, "seq": 0}

    def after(b, seq, h, kind, payload):
        folded.fold(seq, h, kind, payload)
        assert state_of(folded) == state_of(b.agent.state), "from the first record on"
        b.log.sync()
        first = b.log.segments()[-1][0]
        restored, log = look(chip.copy())
        restored.seq = log.seq  # the agent sets it: there may be nothing behind the checkpoint
        assert state_of(restored) == state_of(b.agent.state), (seq, kind)
        assert log.acked == 0 or log.acked <= b.log.acked
        found["begun"] += first > found["seq"]
        found["open"] = max(found["open"], len(restored.turns))
        found["seq"] = first
        b.agent.confirmed(seq) if kind == r.SENT and not b.agent.state.doubt else None

    busy(chip, after, 90, 256)
    assert found["begun"] > 50
    assert found["open"] >= 4
    assert look(chip)[1].oldest() > 100, "the ring wrapped"


def test_a_checkpoint_at_every_record_is_the_state_there():
    states = {}
    whole = Chip(4, 4, 32768)
    busy(whole, lambda b, seq, h, kind, data: states.update({seq: (b.agent.state, h)}) or None)
    log = opened(whole, 1024)
    folded = State(few())
    hashes = [log.hash_at(seq) for seq in range(log.seq + 1)]
    for seq in range(1, log.seq + 1):
        frame = bytes(log.frame(seq))
        folded.fold(seq, hashes[seq], frame[2], frame[5:])
        restored = packed_and_back(folded)
        restored.seq = seq
        assert state_of(restored) == state_of(folded), seq


def packed_and_back(state):
    """The state that a checkpoint of it gives."""
    packer = Packer(bytearray(65536))
    state.pack(lambda: packer)
    restored = State(Limits())
    u = Unpacker(bytes(packer.taken()))
    while u.more():
        restored.restore(u.value())
    return restored


# -- how large it may get


def extreme(limits):
    """The largest state that those limits allow."""
    state = State(limits)
    most = (1 << 32) - 1
    state.epoch = state.unix_s = state.doubt = most
    state.forgot = 1
    for n in range(limits.open_turns):
        turn = Turn(most - n, "\u00e9" * 16, b"k" * 8)
        turn.state, turn.req, turn.id = ANSWERED, most - n, b"i" * 16
        turn.running = turn.interrupted = turn.lost = True
        turn.effect, turn.ending = r.ONCE, r.TIMEOUT
        for name in ("got", "ncalls", "index", "steps", "calls", "tokens", "restarts", "ended"):
            setattr(turn, name, most)
        turn.answer = most
        state.turns.append(turn)
    state.seen = [[b"s" * 8, most, most] for _ in range(limits.seen_asks)]
    state.sessions = [["s" * 30 + "%02d" % n, most] for n in range(limits.sessions)]
    state.facts = [["f" * 30 + "%02d" % n, most] for n in range(limits.facts)]
    return state


def test_no_checkpoint_is_larger_than_it_is_said_to_be():
    for numbers in ((8, 32, 16, 16), (1, 1, 1, 0), (64, 256, 64, 64), (2, 0, 100, 3)):
        for unit in (1, 16, 256):
            limits = Limits()
            limits.open_turns, limits.seen_asks, limits.sessions, limits.facts = numbers
            for name in ("tokens", "turn_ms", "asks_per_hour", "reply_bytes"):
                setattr(limits, name, (1 << 32) - 1)
            state = extreme(limits)
            chip = Chip(unit, 3, 65536)
            log = Log(chip, genesis("d"), wire.subkey(KEY, "log").sign, 1024)
            log.checkpoint = state.pack
            log.acked = (1 << 32) - 1
            log.open(nothing, nothing)
            log.owed = [(1 << 32) - 2, (1 << 32) - 1, bytes(32), bytes(32), 1]
            log.append(1, b"")
            used = len(bytes(chip.cells[0]).rstrip(b"\xff"))
            assert used <= limits.checkpoint_bytes(), (numbers, unit)
            assert used > limits.checkpoint_bytes() * 5 // 10 or unit == 256, (numbers, unit)
            log.sync()
            restored = State(Limits())
            again = Log(chip, genesis("d"), wire.subkey(KEY, "log").sign, 1024)
            again.open(restored.restore, nothing)
            assert state_of(restored) == state_of(state)


def test_an_item_is_never_larger_than_its_bound():
    state = extreme(Limits())
    sizes = []
    packer = Packer(bytearray(1024))

    def item():
        sizes.append(packer.pos)
        return packer.reset(0)

    state.pack(item)
    from mote.segments import ITEM

    assert max(sizes) <= ITEM


# -- versions


def with_record(kind, payload):
    """A device's chip with a record that this core did not write."""
    b = Bench(Chip(4, 4, 8192), limits=few())
    b.ask("x", "a", "1")
    b.settle()
    b.log.append(kind, payload)
    b.log.sync()
    return b


def test_an_ignorable_kind_is_skipped_and_kept():
    b = with_record(0xC0, b"\x91\x01")
    again = Bench(b.chip, limits=few())
    assert len(again.agent.turns) == 1
    assert again.log.frame(again.agent.before_boot[0])[2] == 0xC0


def test_a_required_kind_is_refused_by_name():
    b = with_record(0x33, b"\x91\x01")
    error = raises(UnknownRecord, Bench, b.chip)
    assert str(error) == "record 4: unknown kind 51"


def newer(chip, marked):
    """A device of a newer version: its records and items have more fields, and there are more."""
    b = Bench(chip, limits=few(), record_bytes=256)
    log = b.log
    append, pack = log.append, State.pack

    def longer(kind, payload):
        n = payload[0]
        assert 0x90 <= n < 0x9E, "a short array"
        return append(kind, bytes([n + 2]) + bytes(payload[1:]) + b"\xa3new\x81\x01\x02")

    def checkpoint(item):
        pack(b.agent.state, lambda: Longer(item()))
        item().array(2).int(77).str("an item that is not known")
        marked.append(b.log.seq)

    log.append, log.checkpoint = longer, checkpoint
    log.room = lambda keep: 1 << 20
    return b


def test_limits_of_a_newer_or_an_older_version_are_taken():
    values = few().values()
    assert Limits.of(values + [7, 8]).values() == values
    assert Limits.of(values[:3]).values() == values[:3] + Limits().values()[3:]
    assert Limits.of(None).values() == Limits().values()


class Longer:
    """A Packer that makes its first array longer by a field, which is put at the end."""

    def __init__(self, packer):
        self._packer = packer

    def array(self, n):
        """Begin the array; the next item or the end of the frame ends it."""
        return Fields(self._packer, n)


class Fields:
    """What packs the fields of one array, and one more behind the last."""

    def __init__(self, packer, n):
        self._packer = packer.array(n + 1)
        self._left = n

    def __getattr__(self, name):
        pack = getattr(self._packer, name)

        def one(value):
            pack(value)
            self._left -= 1
            if not self._left:
                self._packer.str("newer")
            return self

        return one


def test_what_a_newer_version_wrote_is_read_and_gone_on_with():
    chip = small_ring(40)
    marked = []
    b = newer(chip, marked)
    for n in range(12):
        b.now_ms += 10**6
        seq = b.ask("go", "s%d" % (n % 5), "%d" % n)
        b.settle()
        b.reply(b.turn(seq), [("look", {"n": n})])
        b.settle()
        if n != 11:
            b.reply(b.turn(seq), [], "ok")
            b.settle()
        b.agent.remember("k%d" % (n % 3), "v")
        b.agent.confirmed(b.log.seq)
    b.log.sync()
    assert len(marked) > 3
    state, log = look(chip.copy())
    assert log.notes == []
    assert state_of(state) == state_of(b.agent.state)
    present = Bench(chip, limits=few(), record_bytes=256)
    present.log.room = lambda keep: 1 << 20
    assert present.agent.epoch == 2
    (turn,) = present.agent.turns
    present.settle()
    present.reply(turn, [], "still here")
    present.settle()
    assert present.published[-1][1][3] == "still here"
    for n in range(20):
        present.agent.confirmed(present.log.seq)
        present.agent.remember("k1", "v%d" % n * 9)
    assert state_of(look(chip)[0]) == state_of(present.agent.state)


def forged_checkpoint(**fields):
    """A segment of this device whose LOG item has these fields changed."""
    chip = Chip(4, 3, 2048)
    log = make_log(chip, 256)
    writer = log._writer
    log.open(nothing, nothing)
    values = {"version": VERSION, "size": 2048, "segments": 3, "record": 256}
    values.update(fields)
    writer.open(0, 1, genesis("bench"))
    p = writer.item().array(9).int(0).int(values["version"]).int(values["size"])
    p.int(values["segments"]).int(values["record"]).int(1).int(0).value(None).int(1)
    writer.close()
    return chip


def test_a_log_that_wants_a_newer_reader_is_refused_by_name():
    assert look(forged_checkpoint())[1].seq == 0
    for version in (3, 200):
        error = raises(LogError, look, forged_checkpoint(version=version))
        assert str(error) == f"segment 0: needs a mote that reads version {version}"
    assert look(forged_checkpoint(version=1))[1].notes == []


def test_a_checkpoint_that_is_forged_without_the_key_is_damage():
    chip = Chip(4, 3, 4096)
    state = extreme(few())
    log = Log(chip, genesis("bench"), wire.subkey(KEY, "log").sign, 256)
    log.open(nothing, nothing)
    sign = log._segments.sign
    log.append(r.REFUSED, b"\x91\x01")
    # the header is right, what authenticates the checkpoint is not
    log._segments.sign = lambda data: sign(data) if data[:4] == b"mote" else bytes(16)
    log.checkpoint = state.pack
    while len(log.segments()) < 2:
        log.append(r.REFUSED, b"\x91\x01")
    log.sync()
    found, again = look(chip)
    assert found.turns == []
    assert again.seq == log.seq
    assert again.notes == ["segment 1: damaged checkpoint"]
