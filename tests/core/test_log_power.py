# slow on micropython
"""The log under power cuts: what is there is a prefix of what was appended, with all that was
synced, and the next life writes on."""

from binascii import crc32

from chip import BACKWARDS, Chip, PowerCut
from helpers import DEVICE, OVERHEAD, chain_holds, kept, make_log, nothing, opened, raises
from mote.log import chain, genesis
from mote.records import DROPPED

# (payload, sync behind it): small, with a batch, an empty record, and bytes like erased ones
WORK = (
    (b"one", True),
    (b"two is longer", False),
    (b"", False),
    (b"\xff\xff\xff", True),
    (b"five" * 9, False),
    (b"six", True),
)


def work(chip, synced, rounds=1, batches=True):
    """Do the workload; `synced` gets the count of safe records as it grows."""
    log = opened(chip, 64)
    synced.append(log.seq)
    for _ in range(rounds):
        for n, (data, sync) in enumerate(WORK):
            log.append(n + 1, data)
            if sync or not batches:
                log.sync()
                synced.append(log.seq)
    return log


def plus(records, *more):
    """A new list: MicroPython has no `[*records, more]`."""
    out = list(records)
    out.extend(more)
    return out


def appended(rounds=1):
    return [(n + 1, data) for n, (data, _) in enumerate(WORK)] * rounds


def chain_of(records):
    h = genesis(DEVICE)
    for n, (kind, data) in enumerate(records):
        seq = n + 1
        h = chain(h, bytes([len(data) >> 8, len(data) & 255, kind, seq >> 8, seq & 255]) + data)
    return h


def check_prefix(chip, wanted, at_least):
    """What is on the chip is a prefix of `wanted` of `at_least` records, its chain right."""
    log = make_log(chip, 64)
    visited = []
    log.open(nothing, lambda seq, h, kind, data: visited.append((kind, bytes(data))))
    old = log.oldest() - 1
    found = wanted[:old] + kept(log)
    assert len(found) == log.seq == log.synced
    assert found == wanted[: len(found)], found
    assert found[len(found) - len(visited) :] == visited
    assert len(found) >= at_least, (len(found), at_least)
    assert log.head == chain_of(found)
    assert chain_holds(log)
    assert log.notes == [], "a power cut is no damage"
    if log.owed:  # what the ring dropped: nobody said that it is acknowledged
        hashes = [chain_of([]), chain_of(found[: log.owed[1]])]
        assert log.owed == [1, log.owed[1], hashes[0], hashes[1], DROPPED]
    assert (log.owed[1] if log.owed else 0) == old
    return log, found


def planned(make, rounds, step, batches):
    """Every accident that a cut of the workload on the chip that `make()` gives can be."""
    whole = make()
    whole.record = True
    work(whole, [], rounds, batches)
    for number, (kind, _, _, size) in enumerate(whole.ops):
        # what is programmed backwards in a large unit is no prefix of a batch: see the last test
        ways = (False, True) if batches and whole.unit > 4 else (False, True, BACKWARDS)
        if kind != "sync":
            for byte in range(0, size, step) if kind == "program" else (0, 1, size // 2, size - 1):
                for smear in ways:
                    yield number, byte, smear
        yield number, None, False
        yield number, size, False  # done, but nobody knows


def cut_chips(make, rounds=1, step=1, batches=True):
    """Each chip that a cut leaves, how many records had been synced, and what happened."""
    for accident in planned(make, rounds, step, batches):
        chip = make()
        chip.cut(*accident)
        synced = [0]
        raises(PowerCut, work, chip, synced, rounds, batches)
        chip.power_on()
        yield chip, synced[-1], accident


def survive(make, rounds=1, step=1, batches=True):
    wanted = appended(rounds)
    count = 0
    for chip, safe, accident in cut_chips(make, rounds, step, batches):
        try:
            log, found = check_prefix(chip, wanted, safe)
            after = plus(found, (9, b"after the cut"), (10, b""))
            log.append(9, b"after the cut")
            log.append(10, b"")
            log.sync()
            _, again = check_prefix(chip, after, len(after))
            assert again == after
        except AssertionError as e:
            raise AssertionError(f"cut at {accident}: {e}")
        count += 1
    assert count > 200


def test_a_cut_at_every_byte_unit_1():
    survive(lambda: Chip(1, 4, 1024))


def test_a_cut_at_every_byte_unit_4():
    survive(lambda: Chip(4, 4, 1024))


def test_a_cut_at_every_byte_unit_16():
    survive(lambda: Chip(16, 4, 1024))


def test_a_cut_at_every_byte_unit_256():
    survive(lambda: Chip(256, 4, 2048), 1, 7)


def test_a_cut_backwards_in_a_large_unit():
    survive(lambda: Chip(16, 4, 1024), 1, 3, False)
    survive(lambda: Chip(256, 4, 2048), 1, 13, False)


def test_a_cut_around_the_ring_unit_1():
    survive(lambda: Chip(1, 3, 320), 6, 9)


def test_a_cut_around_the_ring_of_two_segments():
    survive(lambda: Chip(4, 2, 320), 5, 9)


def test_a_cut_around_the_ring_of_several_blocks():
    survive(lambda: Chip(16, 3, 512, 128), 8, 9)


def test_a_cut_around_a_ring_that_another_life_filled():
    full = Chip(4, 4, 320)
    log = opened(full, 64)
    for n in range(40):
        log.append(12, b"%d" % n * 6)
    log.sync()
    old = [(12, b"%d" % n * 6) for n in range(40)]
    wanted = old + appended(3)
    for chip, safe, accident in cut_chips(full.copy, 3, 9):
        log, found = check_prefix(chip, wanted, safe)
        assert log.seq >= 40, accident
        log.append(9, b"after the cut")
        log.sync()
        check_prefix(chip, plus(found, (9, b"after the cut")), len(found) + 1)


def test_a_second_cut_while_writing_on():
    count = 0
    for chip, safe, _ in cut_chips(lambda: Chip(16, 3, 320), 3, 29):
        _, found = check_prefix(chip.copy(), appended(3), safe)
        for operation in range(4):
            for byte in (None, 0, 5):
                second, torn = cut_again(chip.copy(), operation, byte)
                log, more = check_prefix(second, plus(found, (9, b"after")), len(found))
                log.append(11, b"third life")
                log.sync()
                check_prefix(second, plus(more, (11, b"third life")), len(more) + 1)
                count += torn
    assert count > 100


def cut_again(chip, operation, byte):
    """What a life leaves that is cut at that operation; whether it got that far."""
    try:
        chip.cut(operation, byte)
        log = opened(chip, 64)
        log.append(9, b"after")
        log.sync()
    except PowerCut:
        return chip.copy(), True
    except AssertionError as e:
        assert "fewer bytes" in str(e)  # a sync has none
    return chip.copy(), False


def test_cut_after_cut_without_end():
    chip = Chip(4, 4, 512)
    log = opened(chip, 64)
    log.append(1, b"begun")
    log.sync()
    wanted = [(1, b"begun")]
    torn = 0
    for life in range(120):
        log, wanted = check_prefix(chip, wanted, len(wanted))
        record = (life % 60 + 1, b"life %d" % life)
        torn += life_cut_at(chip, log, record, life)
        log, found = check_prefix(chip, plus(wanted, record), len(wanted))
        wanted = found
    assert torn > 40
    assert len(wanted) > 40


def life_cut_at(chip, log, record, life):
    """Append in a life that is cut early in one of two; True if it was."""
    if life % 2:
        chip.cut(chip.operations + life % 3 // 2, life % 7 if life % 3 < 2 else None, life % 5 > 2)
    try:
        log.append(record[0], record[1])
        log.sync()
    except PowerCut:
        chip.power_on()
        return True
    return False


def forged(seq):
    """A frame that is right in all but the seed of its CRC, which nobody outside knows."""
    frame = b"\x00\x03\x02" + bytes([seq >> 8, seq & 255]) + b"bad"
    return frame + crc32(frame).to_bytes(4, "big")


def test_a_payload_that_looks_like_a_frame_is_no_record():
    data = forged(2) + forged(3) + forged(2) + forged(3)
    for unit in (1, 4):
        for cut in range(1, len(data) + OVERHEAD + 1):
            chip = Chip(unit, 2, 1024)
            log = opened(chip, 64)
            log.append(1, b"first")
            log.sync()
            chip.cut(chip.operations, cut)
            log.append(1, data)
            raises(PowerCut, log.sync)
            chip.power_on()
            found = kept(opened(chip, 64))
            assert found[0] == (1, b"first")
            whole = cut == len(data) + OVERHEAD
            assert found[1:] == ([(1, data)] if whole else []), cut


def test_a_torn_batch_keeps_its_whole_records():
    chip = Chip(1, 2, 1024)
    log = opened(chip)
    log.append(1, b"")
    log.sync()
    for n in range(5):
        log.append(1, b"%d" % n * 10)
    chip.cut(chip.operations, 3 * (10 + OVERHEAD) + 4)
    raises(PowerCut, log.sync)
    chip.power_on()
    assert kept(opened(chip))[1:] == [(1, b"%d" % n * 10) for n in range(3)]


def test_a_sync_of_several_records_that_is_torn_from_its_end_is_no_damage():
    for unit, at in ((256, 225), (16, 20), (1, 30)):
        chip = Chip(unit, 3, 2048)
        log = opened(chip)
        log.append(1, b"safe")
        log.sync()
        for n in range(5):
            log.append(2, b"%d" % n * 10)
        chip.cut(chip.operations, at, BACKWARDS)
        raises(PowerCut, log.sync)
        chip.power_on()
        log = opened(chip)
        assert (log.owed, log.notes) == (None, [])
        whole = [(1, b"safe")] + [(2, b"%d" % n * 10) for n in range(5)]
        assert kept(log) == whole[: log.seq]
        assert 1 <= log.seq < 6
        log.append(3, b"on")
        log.sync()
        log = opened(chip)
        assert (log.owed, log.notes) == (None, [])
        assert kept(log) == plus(whole[: log.seq - 1], (3, b"on"))
