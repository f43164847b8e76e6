"""The log under power cuts and bit rot: a prefix that holds all that was synced, or a refusal."""

from binascii import crc32

from helpers import DEVICE, HEADER, OVERHEAD, Nor, PowerCut, make_log, raises, records_of
from mote.log import LogError, chain, genesis

# (payload, sync behind it): small, with a batch, an empty record, and bytes like erased ones
WORK = (
    (b"one", True),
    (b"two is longer", False),
    (b"", False),
    (b"\xff\xff\xff", True),
    (b"five" * 9, False),
    (b"six", True),
)


def work(nor, synced):
    """Do the workload; `synced` gets the count of safe records as it grows."""
    log = make_log(nor, 64)
    log.open(lambda *_: None)
    synced.append(log.seq)
    for n, (data, sync) in enumerate(WORK):
        log.append(n + 1, data)
        if sync:
            log.sync()
            synced.append(log.seq)
    return log


def plus(records, *more):
    """A new list: MicroPython has no `[*records, more]`."""
    out = list(records)
    out.extend(more)
    return out


def appended(*more):
    return plus([(n + 1, data) for n, (data, _) in enumerate(WORK)], *more)


def chain_of(records):
    h = genesis(DEVICE)
    for n, (kind, data) in enumerate(records):
        seq = n + 1
        h = chain(h, bytes([len(data) >> 8, len(data) & 255, kind, seq >> 8, seq & 255]) + data)
    return h


def check_prefix(nor, wanted, at_least):
    """What is on the chip is a prefix of `wanted` of `at_least` records, its chain right."""
    log = make_log(nor, 64)
    found = []
    log.open(lambda seq, h, kind, data: found.append((kind, bytes(data))))
    assert found == wanted[: len(found)], found
    assert len(found) >= at_least, (len(found), at_least)
    assert log.head == chain_of(found)
    for seq in range(1, len(found) + 1):
        assert bytes(log.frame(seq)[5:]) == found[seq - 1][1]
    return log, found


def cut_copies(unit, segment_bytes):
    """Each chip that a cut at each byte leaves, and how many records had been synced."""
    whole = Nor(unit, 4, segment_bytes)
    work(whole, [])
    for cut in range(whole.programmed):
        for smear in (False, True):
            nor = Nor(unit, 4, segment_bytes)
            nor.cut_at, nor.smear = cut, smear
            synced = [0]
            raises(PowerCut, work, nor, synced)
            nor.cut_at = None
            yield nor, synced[-1]


def survive(unit, segment_bytes):
    for nor, safe in cut_copies(unit, segment_bytes):
        log, found = check_prefix(nor, appended(), safe)
        after = plus(found, (9, b"after the cut"), (10, b""))
        log.append(9, b"after the cut")
        log.append(10, b"")
        log.sync()
        _, again = check_prefix(nor, after, len(after))
        assert again == after


def test_a_cut_at_every_byte_unit_1():
    survive(1, 1024)


def test_a_cut_at_every_byte_unit_4():
    survive(4, 1024)


def test_a_cut_at_every_byte_unit_16():
    survive(16, 1024)


def test_a_cut_at_every_byte_unit_256():
    survive(256, 2048)


def test_a_cut_at_every_byte_over_segments():
    for unit in (1, 4, 16):
        survive(unit, 144)


def test_a_second_cut_while_writing_on():
    for nor, safe in cut_copies(16, 1024):
        if nor.programmed % 5:  # a sample: each costs a life for every byte
            continue
        _, found = check_prefix(nor, appended(), safe)
        for cut in range(0, 48, 3):
            second = nor.copy()
            log = make_log(second, 64)
            log.open(lambda *_: None)
            second.cut_at = cut
            try:
                log.append(9, b"after the cut")
                log.sync()
            except PowerCut:
                pass
            second.cut_at = None
            log, kept = check_prefix(second, plus(found, (9, b"after the cut")), len(found))
            log.append(11, b"third life")
            log.sync()
            check_prefix(second, plus(kept, (11, b"third life")), len(kept) + 1)


def test_cut_after_cut_without_end():
    nor = Nor(4, 4, 2048)
    log = make_log(nor, 64)
    log.open(lambda *_: None)
    log.append(1, b"begun")
    log.sync()
    wanted = [(1, b"begun")]
    torn = 0
    for life in range(60):
        log, wanted = check_prefix(nor, wanted, len(wanted))
        record = (life, b"life %d" % life)
        nor.cut_at = life % 29
        try:
            log.append(record[0], record[1])
            log.sync()
        except PowerCut:
            torn += 1
        else:
            wanted.append(record)
        nor.cut_at = None
        if len(records_of(nor, 64)) > len(wanted):  # all but the padding was programmed
            wanted.append(record)
    assert torn > 20
    assert len(wanted) > 10


def damaged_places(unit):
    """A chip whose six records were synced one by one, and where each frame lies."""
    nor = Nor(unit, 2, 2048)
    log = make_log(nor, 64)
    log.open(lambda *_: None)
    places = []
    for n, (data, _) in enumerate(WORK):
        at = log._out_at or (HEADER + unit - 1) // unit * unit
        places.append((at, at + len(data) + OVERHEAD))
        log.append(n + 1, data)
        log.sync()
    return nor, places


def test_damage_before_a_later_record_is_refused_with_its_place():
    for unit in (1, 4, 16, 256):
        nor, places = damaged_places(unit)
        for start, end in places[:-1]:
            for at in range(start, end):
                for change in (0x01, 0x80, 0xFF):
                    bad = nor.copy()
                    bad.cells[0][at] ^= change
                    error = str(raises(LogError, records_of, bad, 64))
                    assert error == f"segment 0: damaged at offset {start}", (unit, at)


def test_damage_in_a_header_is_refused():
    for unit in (1, 16, 256):
        nor, _ = damaged_places(unit)
        for at in range(HEADER):
            bad = nor.copy()
            bad.cells[0][at] ^= 0x10
            assert "segment 0: damaged header" in str(raises(LogError, records_of, bad))


def test_damage_in_the_last_record_is_never_a_wrong_record():
    nor, places = damaged_places(4)
    for at in range(places[-1][0], places[-1][1]):
        bad = nor.copy()
        bad.cells[0][at] ^= 0x20
        assert records_of(bad, 64) == appended()[:-1]


def test_damage_in_padding_costs_nothing():
    nor, places = damaged_places(16)
    for n in range(len(places) - 1):
        for at in range(places[n][1], places[n + 1][0]):
            bad = nor.copy()
            bad.cells[0][at] = 0
            log, found = check_prefix(bad, appended(), len(WORK))
            assert len(found) == len(WORK)
            log.append(7, b"on")
            log.sync()
            check_prefix(bad, appended((7, b"on")), len(WORK) + 1)


def forged(seq):
    """A frame that is right in all but the seed of its CRC, which nobody outside knows."""
    frame = b"\x00\x03\x02" + bytes([seq >> 8, seq & 255]) + b"bad"
    return frame + crc32(frame).to_bytes(4, "big")


def test_a_payload_that_looks_like_a_frame_is_no_record():
    for unit in (1, 4):
        for cut in range(1, 70):
            nor = Nor(unit, 2, 1024)
            log = make_log(nor, 64)
            log.open(lambda *_: None)
            log.append(1, b"first")
            log.sync()
            nor.cut_at = cut
            try:
                log.append(1, forged(2) + forged(3) + forged(2) + forged(3))
                log.sync()
            except PowerCut:
                pass
            nor.cut_at = None
            found = records_of(nor, 64)
            assert (2, b"bad") not in found
            assert found[0] == (1, b"first")
            assert len(found) == (1 if cut < 57 else 2), cut


def test_a_torn_batch_keeps_its_whole_records():
    nor = Nor(1, 2, 1024)
    log = make_log(nor, 64)
    log.open(lambda *_: None)
    for n in range(5):
        log.append(1, b"%d" % n * 10)
    nor.cut_at = 3 * (10 + OVERHEAD) + 4
    raises(PowerCut, log.sync)
    nor.cut_at = None
    assert records_of(nor, 64) == [(1, b"%d" % n * 10) for n in range(3)]
