"""Finding records when many are lost: how often the medium is read, and what is found."""

# slow on boards: test_lost_records_inside_a_segment_are_crossed_in_one_walk

from chip import Chip
from helpers import make_log, nothing

SMALL = b"\x91\xcd\x01\x02"
EACH = 20  # records of a sync


def filled(size):
    """A log of four segments, full of small records."""
    chip = Chip(1, 8, size)
    log = make_log(chip)
    log.open(nothing, nothing)
    while len(log.segments()) < 4:
        log.append(10, SMALL)
        if log.seq % EACH == 0:
            log.sync()
    log.sync()
    return chip, log.segments()


def crossing(chip, seq):
    """(what `next` finds from there on, how often it read the medium) in a life of its own."""
    log = make_log(chip)
    log.open(nothing, nothing)
    before = chip.reads
    return log.next(seq), chip.reads - before


def without_a_segment(size):
    """(records that are lost, reads) where a segment in the middle is erased."""
    chip, segments = filled(size)
    first, segment, _ = segments[1]
    due = segments[2][0]
    chip.erase(segment)
    found, reads = crossing(chip, first)
    assert found == due
    return due - first, reads


def without_its_middle(size):
    """The same where a segment has zeros between its first records and its last ones."""
    chip, segments = filled(size)
    first, segment, _ = segments[1]
    chip.cells[segment][size // 4 : size * 3 // 4] = bytes(size // 2)
    lost = first
    while crossing(chip, lost)[0] == lost:
        lost += 1
    found, reads = crossing(chip, lost)
    assert lost < found < segments[2][0]
    return found - lost, reads


def grows_evenly(lose):
    """Twice as many lost records are about twice as many reads."""
    few, reads = lose(2048)
    many, more = lose(4096)
    assert many > few * 3 // 2 > 60
    assert more < reads * 3, (few, reads, many, more)
    return many, more


def test_a_lost_segment_is_crossed_in_one_walk():
    lost, reads = grows_evenly(without_a_segment)
    assert reads < lost // 4


def test_lost_records_inside_a_segment_are_crossed_in_one_walk():
    grows_evenly(without_its_middle)
