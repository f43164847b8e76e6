"""Two readers of one format: the product's, and the one written from FORMAT.md alone.

Random lives of a small log (appends, syncs, rotations, power cuts, failing flash, flipped bits),
and after each the same records, the same chain, the same gaps.
"""

import random

import pytest
import reader
from chip import PART, REFUSE, WRONG, Chip, PowerCut
from helpers import DEVICE, KEY, make_log, nothing
from mote.log import LogError, Lost

SEGMENTS, SIZE, RECORD = 5, 1024, 64


def agree(chip):
    """Compare the two; returns the product's log."""
    log = make_log(chip, RECORD)
    before = [bytes(cells) for cells in chip.cells]
    moved = chip.operations
    log.open(nothing, nothing)
    found = reader.read(before, DEVICE, KEY)
    assert (log.seq, log.head) == (found.seq, found.head or log.head)
    if chip.operations == moved or not log.seq:  # nothing had to be moved
        assert log.oldest() == max(found.oldest, min([r.seq for r in found.records], default=1))
    by_number = {record.seq: record for record in found.records}
    firsts = [segment.first for segment in found.segments]
    for seq in range(log.oldest(), log.seq + 1):
        try:
            frame = bytes(log.frame(seq))
        except Lost:
            assert seq not in by_number
            continue
        assert (frame[2], frame[5:]) == (by_number[seq].kind, by_number[seq].payload)
        if seq + 1 not in firsts:  # there the next header tells
            assert log.hash_at(seq) == by_number[seq].hash
    return log


def live(chip, dice):
    """One life, which may end early."""
    log = make_log(chip, RECORD)
    try:
        log.open(nothing, nothing)
        for _ in range(dice.randrange(60)):
            log.append(
                dice.randrange(1, 13),
                bytes(dice.randrange(256) for _ in range(dice.randrange(RECORD))),
            )
            if dice.random() < 0.4:
                log.sync()
            if dice.random() < 0.2:
                log.acked = log.synced
            if dice.random() < 0.5:
                log.tidy()
            log.owed = None  # nobody here tells of it
    except (PowerCut, LogError):
        pass
    chip.power_on()


def trouble(chip, dice):
    """Plan something for the next life."""
    at = chip.operations + dice.randrange(1, 40)
    lot = dice.randrange(4)
    if lot == 0:
        chip.cut(at, None)
    elif lot == 1:
        chip.fail(at, dice.choice((REFUSE, PART, WRONG)))
    elif lot == 2:
        chip.cut(at, 0, smear=True)


@pytest.mark.parametrize("unit", [1, 4, 16, 256])
@pytest.mark.parametrize("seed", range(2))
def test_they_agree_after_any_life(unit, seed):
    dice = random.Random(f"{unit} {seed}")
    chip = Chip(unit, SEGMENTS, SIZE * (4 if unit == 256 else 1), seed=seed)
    for _ in range(25):
        trouble(chip, dice)
        live(chip, dice)
        chip = chip.copy()
        agree(chip.copy())


@pytest.mark.parametrize("seed", range(3))
def test_they_agree_about_damage(seed):
    dice = random.Random(seed)
    chip = Chip(4, SEGMENTS, SIZE, seed=seed)
    for _ in range(4):
        live(chip, dice)
    holes = 0
    for _ in range(150):
        bad = chip.copy()
        for _ in range(dice.choice((1, 1, 1, 2, 8))):
            bad.flip(dice.randrange(SEGMENTS), dice.randrange(8 * SIZE))
        holes += agree(bad).owed is not None
    assert holes
