"""Two things go wrong at once: a segment fails, and the ring drops one, or the power goes."""

from chip import REFUSE, Chip, PowerCut
from helpers import Bench, opened, raises
from mote import records as r
from mote.log import LogError
from mote.lookup import fact_at
from mote.segments import chain_gap

SIZE = 4096
DUE = "x" * 40


class Nobody:
    """Stands for a turn that is not there: a FAIL of it is a record of some bytes."""

    req = 1 << 30
    seq = 0


def note(b, text=DUE):
    """Append a record and make it safe; the gateway has all there is."""
    b.agent.fail(Nobody, text)
    b.log.sync()
    b.agent.confirmed(b.log.seq)


# -- facts in a segment that goes


def facts_of(b):
    return {key: fact_at(b.log, seq) for key, seq in b.agent.state.facts}


def wrapping(chip):
    """A device with some facts, at work until all segments but one are in use."""
    b = Bench(chip, record_bytes=512)
    for n in range(4):
        b.agent.remember("fact %d" % n, "v" * 200)
    while len(b.log.segments()) < chip.segments - 1:
        note(b, "x" * 200)
    b.agent.tidy()
    return b


def drop_one(b):
    """Go on until the oldest segment is dropped, and erased."""
    oldest = b.log.oldest()
    while b.log.oldest() == oldest:
        b.agent.fail(Nobody, "x" * 200)
    b.log.sync()
    b.agent.tidy()


def test_no_fact_goes_with_a_segment_while_another_one_fails():
    start = Chip(1, 4, SIZE)
    wanted = facts_of(wrapping(start))
    assert len(wanted) == 4
    whole = start.copy()
    whole.record = True
    drop_one(Bench(whole, record_bytes=512))
    programs = [n for n in range(len(whole.ops)) if whole.ops[n][0] == "program"]
    assert len(programs) > 5
    for operation in programs:
        chip = start.copy()
        chip.fail(operation, REFUSE)
        drop_one(Bench(chip, record_bytes=512))
        assert facts_of(Bench(chip, record_bytes=512)) == wanted, operation


# -- segments that fail, one after the other


def fail_next(b):
    b.chip.fail(b.chip.operations, REFUSE)


def test_the_ring_goes_round_after_a_program_failed_in_each_segment():
    for segments in (4, 8):
        chip = Chip(1, segments, SIZE)
        b = Bench(chip, record_bytes=512)
        try:
            for _ in range(segments - 1):
                note(b)
                b.agent.tidy()
                fail_next(b)
            note(b)
        except LogError:
            b = Bench(chip, record_bytes=512)
        for _ in range(segments * SIZE // len(DUE)):
            note(b)
            b.agent.tidy()
        assert b.log.segments()[0][0] > 1, "the oldest have gone"
        assert Bench(chip, record_bytes=512).log.notes == []


def test_the_only_state_is_kept_though_the_first_sync_behind_it_was_torn():
    chip = Chip(1, 4, SIZE)
    b = Bench(chip, record_bytes=512)
    for _ in range(2):
        note(b)
        fail_next(b)
        note(b)
    log = b.log
    b.agent.fail(Nobody, DUE)
    while log.segments()[-1][0] <= log.synced:  # until a segment begins, one with a state
        log.sync()
        b.agent.confirmed(log.seq)
        b.agent.fail(Nobody, DUE)
    b.agent.tidy()  # the segment with the state before that one goes
    chip.cut(chip.operations, 20)
    raises(PowerCut, log.sync)
    chip.power_on()
    b = Bench(chip, record_bytes=512)
    assert b.log.notes == []
    assert (b.agent.epoch, b.agent.state.doubt) == (2, 0)


# -- a gap that tells of damage and of what was dropped


def append(log, hashes):
    log.append(r.FAIL, b"%40d" % log.seq)
    log.sync()
    hashes.append(log.head)


def damaged():
    """A log, the hashes of all its records, and the number of one that is damaged.

    It is in the newest of three segments; a fourth one is the spare.
    """
    chip = Chip(1, 4, 1024)
    log = opened(chip)
    hashes = [log.head]
    while len(log.segments()) < 3 or log.seq < log.segments()[2][0] + 5:
        append(log, hashes)
    first, segment, _ = log.segments()[2]
    seq = first + 3
    at = bytes(chip.cells[segment]).find(b"%40d" % (seq - 1))
    chip.cells[segment][at] ^= 1
    log = opened(chip)
    hashes[seq] = chain_gap(hashes[seq - 1], seq)
    hashes[seq + 1 :] = [log.hash_at(n) for n in range(seq + 1, log.seq + 1)]
    return log, hashes, seq


def drop_oldest(log, hashes):
    """Append until the oldest segment goes; returns the newest record that went."""
    first = log.segments()[1][0]
    while log.oldest() < first:
        append(log, hashes)
    assert log.oldest() == first
    log.tidy()
    return first - 1


def test_one_gap_tells_of_damage_and_of_all_that_was_dropped_around_it():
    log, hashes, seq = damaged()
    assert log.owed == [seq, seq, hashes[seq - 1], hashes[seq], r.DAMAGED]
    for _ in range(2):  # what goes was before the damage
        assert drop_oldest(log, hashes) < seq
        assert log.owed == [1, seq, hashes[0], hashes[seq], r.DAMAGED]
    for _ in range(2):  # then it is what goes itself, and more behind it
        last = drop_oldest(log, hashes)
        assert last > seq
        assert log.owed == [1, last, hashes[0], hashes[last], r.DAMAGED]


def test_what_was_dropped_and_acknowledged_is_in_no_gap():
    log, hashes, seq = damaged()
    log.acked = log.segments()[1][0] - 1
    drop_oldest(log, hashes)
    assert log.owed == [seq, seq, hashes[seq - 1], hashes[seq], r.DAMAGED]
