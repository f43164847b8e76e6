# slow on micropython
"""The ring of segments: what goes, who may let it go, and how the chip wears."""

from chip import Chip, PowerCut
from helpers import (
    KEY,
    Bench,
    answers,
    chain_holds,
    kept,
    make_log,
    nothing,
    opened,
    raises,
    records_of,
)
from lives import few
from mote import records as r
from mote import wire
from mote.agent import Refused
from mote.log import HEAD, Log, LogError, Lost, genesis
from mote.msgpack import Unpacker

SEGMENTS, SIZE = 24, 1024  # room for one turn of `few()` and a little more


def turn(b):
    """A whole turn; returns the number of its ASK."""
    b.now_ms += 10**6
    seq = b.ask("x" * 60, "s", "")
    b.settle()
    b.reply(b.turn(seq), [("look", {"n": 1})])
    b.settle()
    b.reply(b.turn(seq), [], "ok" * 90)
    b.settle()
    b.log.sync()
    return seq


def device(chip, drop=False):
    limits = few()
    limits.drop = drop
    return Bench(chip, limits=limits, record_bytes=256)


def erased(chip):
    return [cells == b"\xff" * chip.segment_bytes for cells in chip.cells].count(True)


def fill(log, count, at=0):
    for n in range(at, at + count):
        log.append(1, b"%d" % n * 8)
        log.acked = log.seq
        if n % 3 == 0:
            log.sync()
    log.sync()


def test_the_ring_wraps_and_the_oldest_go():
    for segments in (2, 3, 7):
        for unit in (1, 16, 256):
            chip = Chip(unit, segments, 1024)
            log = opened(chip)
            fill(log, 400)
            ring = log.segments()
            assert 1 < log.oldest() == ring[0][0]
            assert len(ring) <= segments - 1 or segments == 2
            assert log.owed is None
            again = opened(chip)
            assert kept(again) == kept(log)
            assert kept(log)[-1] == (1, b"399" * 8)
            assert (again.seq, again.head, again.oldest()) == (400, log.head, log.oldest())
            while log.tidy():
                pass
            raises(Lost, log.frame, log.oldest() - 1)
            raises(Lost, log.hash_at, log.oldest() - 2)


def test_the_chain_holds_across_the_segments_that_went():
    chip = Chip(4, 5, 512)
    log = opened(chip, 64)
    hashes = [log.head]
    for n in range(300):
        log.append(2, b"%d" % n * 5)
        log.acked = log.seq
        hashes.append(log.head)
        if n % 25 == 0:
            log.sync()
            assert chain_holds(log)
            for seq in range(log.oldest() - 1, log.seq + 1):
                assert log.hash_at(seq) == hashes[seq]
            for first, _, before in log.segments():
                assert before == hashes[first - 1]
    log.sync()
    again = opened(chip, 64)
    assert chain_holds(again)
    assert again.head == hashes[-1]


def test_a_spare_is_erased_when_the_device_is_idle():
    chip = Chip(4, SEGMENTS, SIZE)
    b = device(chip)
    gone = 0
    for n in range(130):
        turn(b)
        b.agent.confirmed(b.log.seq)
        dropped = b.log.dropped()
        gone += dropped
        for _ in range(dropped):
            before = sum(chip.erases)
            b.agent.tidy()
            assert sum(chip.erases) == before + 1, "one erase at a time"
        before = sum(chip.erases)
        b.agent.tidy()
        assert sum(chip.erases) == before, "there was nothing to do"
        assert erased(chip) >= 1, n
    assert gone > 5


def test_a_rotation_that_finds_a_spare_erases_nothing():
    chip = Chip(4, 4, 512, None, 1, True)
    log = opened(chip, 64)
    for n in range(200):
        begun = chip.erases[:]
        log.append(1, b"%d" % n * 8)
        log.acked = log.seq
        log.sync()
        assert chip.erases == begun
        while log.tidy():
            pass
    assert sum(chip.erases) > 10


def test_without_tidy_the_ring_goes_on():
    chip = Chip(4, 4, 512)
    fill(opened(chip, 64), 200)
    assert sum(chip.erases) > 10
    assert records_of(chip, 64)[-1] == (1, b"199" * 8)


def test_wear_is_even():
    for segments, blocks in ((3, 1), (5, 1), (4, 4)):
        chip = Chip(4, segments, 512, 512 // blocks)
        log = opened(chip, 64)
        for life in range(6):
            fill(log, 150, life * 150)
            while life % 2 and log.tidy():
                pass
            log = opened(chip, 64)
        assert min(chip.erases) > 10
        assert max(chip.erases) - min(chip.erases) <= 1, chip.erases


# -- what the gateway does not have yet


def test_unacknowledged_records_stay_and_asks_are_refused():
    chip = Chip(4, SEGMENTS, SIZE)
    b = device(chip)
    turns = 0
    while True:
        try:
            turn(b)
            turns += 1
        except Refused as e:
            assert str(e) == "the log is full: the gateway must take what it holds"
            break
        assert turns < 200
    assert turns >= 2
    assert b.log.oldest() == 1
    b = device(chip)  # nor does a restart help
    raises(Refused, turn, b)
    assert b.log.oldest() == 1
    b.agent.confirmed(b.log.seq)
    for _ in range(turns):
        turn(b)
        b.agent.confirmed(b.log.seq)
    while b.log.oldest() == 1:
        turn(b)
        b.agent.confirmed(b.log.seq)
    assert r.GAP not in [kind for kind, _ in records_of(chip, 256)]
    assert answers(b)[-1] == (r.DONE, "ok" * 90)


def test_an_open_turn_stays_even_if_all_is_acknowledged():
    chip = Chip(4, 40, SIZE)
    b = device(chip, True)
    seq = b.ask("keep me", "kept", "")
    b.settle()
    for _ in range(400):
        b.agent.confirmed(b.log.seq)
        try:
            turn(b)
        except Refused:
            break
    else:
        raise AssertionError("the open turn's records are dropped")
    assert b.log.frame(seq)
    b.reply(b.turn(seq), [], "was kept")
    b.settle()
    assert answers(b)[-1] == (r.DONE, "was kept")
    turn(b)


def gaps(log):
    """[(number, fields)] of all GAP records that are kept."""
    found = []
    for seq in range(log.oldest(), log.seq + 1):
        frame = log.frame(seq)
        if frame[2] == r.GAP:
            found.append((seq, Unpacker(bytes(frame[HEAD:])).value()))
    return found


def watched(chip):
    """A dropping device, and the hash behind each record that it appends."""
    b = device(chip, True)
    hashes = {0: genesis("bench"), b.log.seq: b.log.head}
    fold = b.agent.state.fold

    def note(seq, h, kind, payload):
        hashes[seq] = bytes(h)
        fold(seq, h, kind, payload)

    b.agent.state.fold = note
    return b, hashes


def test_dropping_tells_what_went():
    chip = Chip(4, SEGMENTS, SIZE)
    b, hashes = watched(chip)
    told = {}
    for _ in range(130):
        turn(b)
        b.agent.tidy()
        assert b.log.owed is None
        for seq, fields in gaps(b.log):
            told[seq] = fields
    assert len(told) > 5
    after = 0
    for seq in sorted(told):
        first, last, before, behind, why = told[seq]
        assert first == after + 1, "one after the other"
        assert first <= last < seq
        assert (before, behind) == (hashes[first - 1], hashes[last])
        assert why == r.DROPPED
        after = last
    assert after == b.log.oldest() - 1
    assert b.agent.state.doubt == 0, "what the device drops itself is no damage"


def test_what_was_acknowledged_goes_without_a_word():
    chip = Chip(4, SEGMENTS, SIZE)
    b, _ = watched(chip)
    for _ in range(130):
        turn(b)
        b.agent.confirmed(b.log.seq - 3)
        b.agent.tidy()
        assert gaps(b.log) == []
    assert b.log.oldest() > 1


def full_chip():
    """A dropping device's ring, wrapped, all of it told."""
    chip = Chip(4, SEGMENTS, SIZE)
    b = device(chip, True)
    while not gaps(b.log):
        turn(b)
    b.log.sync()
    b.agent.tidy()
    return chip


def until_it_drops(chip):
    """A life that drops something; the device, and how often it was asked."""
    b = device(chip, True)
    oldest = b.log.oldest()
    while b.log.oldest() == oldest:
        turn(b)
    b.log.sync()
    b.agent.tidy()


def test_a_gap_is_told_once_wherever_the_power_goes():
    start = full_chip()
    whole = start.copy()
    whole.record = True
    until_it_drops(whole)
    told = 0
    for operation in range(whole.operations):
        size = whole.ops[operation][3]
        for byte in (None, 0, size // 2, size):
            chip = start.copy()
            chip.cut(operation, byte)
            raises(PowerCut, until_it_drops, chip)
            chip.power_on()
            b = device(chip, True)
            assert b.log.notes == []
            b.agent.cancel(None)
            b.settle()
            turn(b)
            b.agent.tidy()
            all_told = gaps(b.log)
            lasts = [fields[1] for _, fields in all_told]
            firsts = [fields[0] for _, fields in all_told]
            assert sorted(set(firsts)) == firsts, (operation, byte)
            assert firsts[1:] == [last + 1 for last in lasts[:-1]], (operation, byte)
            assert lasts[-1] == b.log.oldest() - 1, (operation, byte)
            told += len(all_told)
    assert told > whole.operations


# -- geometry


def made(segments, size, record_bytes):
    log = Log(Chip(4, segments, size), genesis("d"), wire.subkey(KEY, "log").sign, record_bytes)
    log.open(nothing, nothing)
    fill(log, 60)
    return log


def test_a_smaller_geometry_is_refused_and_a_larger_one_taken():
    for segments, size, record_bytes, why in (
        (5, 1024, 100, "segments of 1024 bytes"),
        (3, 512, 100, "5 segments"),
        (5, 512, 90, "records of up to 100 bytes"),
    ):
        chip = Chip(4, 5, 512 if size == 512 else 1024)
        fill(opened(chip, 100), 60)
        other = Chip(4, segments, 512)
        for n in range(segments):
            other.cells[n][:] = chip.cells[n][:512]
        error = str(raises(LogError, opened, other, record_bytes))
        assert error == "this log was made with " + why


def test_more_segments_and_larger_records_are_taken():
    chip = Chip(4, 4, 512)
    log = opened(chip, 100)
    fill(log, 60)
    wanted = kept(log)
    larger = Chip(4, 9, 512)
    for n in range(4):
        larger.cells[n][:] = chip.cells[n]
    log = opened(larger, 128)
    assert kept(log) == wanted
    oldest = log.oldest()
    fill(log, 30, 60)
    log.append(1, bytes(128))
    log.sync()
    assert kept(opened(larger, 128))[: len(wanted)] == wanted
    assert log.oldest() == oldest, "there was more room"
    fill(log, 200, 90)
    assert [bytes(cells[:4]) for cells in larger.cells].count(b"mote") >= 8
    assert str(raises(LogError, opened, larger, 100)).startswith("this log was made with records")


def test_segments_too_small_for_a_checkpoint_and_a_record_are_an_error():
    chip = Chip(4, 4, 256)
    log = make_log(chip, 256)
    log.open(nothing, nothing)
    assert "too small" in str(raises(LogError, log.append, 1, bytes(200)))


def test_room_is_what_can_be_appended():
    for unit in (1, 16):
        for acked in (0, 1):
            chip = Chip(unit, 6, 1024)
            log = opened(chip, 100)
            for _ in range(40):
                log.append(1, bytes(50))
                log.acked = log.seq
            log.acked = log.seq if acked else 0
            keep = log.seq + 1 if acked else log.oldest()
            room, oldest = log.room(keep), log.oldest()
            start = log.seq
            while room >= 100 + 9:
                log.append(1, bytes(100))
                room -= 100 + 9
            assert log.seq > start + 2
            assert log.oldest() <= (start + 1 if acked else oldest)
