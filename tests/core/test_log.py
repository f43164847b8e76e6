"""The log: what is appended comes back, whatever the medium's unit, and nothing else does."""

# slow on boards: test_numbers_above_16_bits_go_on
# slow on boards: test_a_failure_of_any_operation_loses_nothing

from binascii import crc32

from chip import PART, REFUSE, WRONG, Chip
from helpers import (
    DEVICE,
    HEADER,
    KEY,
    OVERHEAD,
    Random,
    chain_holds,
    kept,
    make_log,
    nothing,
    opened,
    raises,
    records_of,
)
from mote import wire
from mote.log import HEAD, Log, LogError, Lost, chain, genesis

UNITS = (1, 4, 16, 256)


def payload(n, size=None):
    return bytes([n & 0xFF, n >> 8]) + b"p" * (n * 7 % 40 if size is None else size)


def fill(log, count, sync_every=3):
    """Append `count` records, sync now and then and at the end."""
    for n in range(count):
        log.append(1 + n % 12, payload(n))
        if n % sync_every == 0:
            log.sync()
    log.sync()


def visited(chip, record_bytes=256):
    """The next life's log, and all that it visits."""
    found = []

    def visit(seq, h, kind, data):
        found.append((seq, bytes(h), kind, bytes(data)))

    return opened(chip, record_bytes, visit), found


def frame_of(seq, kind, data):
    return len(data).to_bytes(2, "big") + bytes([kind, seq >> 8 & 0xFF, seq & 0xFF]) + data


def begun(chip):
    """How many segments have a header."""
    return [bytes(cells[:4]) == b"mote" for cells in chip.cells].count(True)


def test_an_empty_medium_is_an_empty_log():
    for unit in UNITS:
        log, found = visited(Chip(unit, 2, 1024))
        assert found == []
        assert (log.seq, log.synced, log.head) == (0, 0, genesis(DEVICE))
        assert (log.oldest(), log.notes, log.owed) == (1, [], None)
        assert log.hash_at(0) == genesis(DEVICE)
        raises(Lost, log.frame, 1)
        raises(Lost, log.hash_at, 1)


def test_what_is_appended_comes_back_in_the_next_life():
    for unit in UNITS:
        chip = Chip(unit, 4, 4096)
        h = genesis(DEVICE)
        log = opened(chip)
        wanted = []
        for n in range(30):
            assert log.append(5, payload(n)) == n + 1
            h = chain(h, frame_of(n + 1, 5, payload(n)))
            wanted.append((n + 1, h, 5, payload(n)))
            assert log.head == h
            if n % 4 == 0:
                log.sync()
                assert log.synced == n + 1
        log.sync()
        again, found = visited(chip)
        # what the newest checkpoint stands for is not visited again, but it is there
        assert found == wanted[30 - len(found) :]
        assert len(found) >= 1
        assert kept(again) == [(kind, data) for _, _, kind, data in wanted]
        assert (again.seq, again.synced, again.head, again.notes) == (30, 30, h, [])


def test_many_lives_are_one_log():
    for unit in UNITS:
        chip = Chip(unit, 8, 4096)
        wanted = []
        for life in range(12):
            log = opened(chip)
            assert kept(log) == wanted
            for n in range(life % 4):
                log.append(3, payload(life * 10 + n))
                wanted.append((3, payload(life * 10 + n)))
            log.sync()
        assert records_of(chip) == wanted


def test_the_chain_is_over_the_frames_from_the_device_on():
    assert genesis("a") != genesis("b")
    log = opened(Chip(4, 3, 1024))
    fill(log, 20)
    h = genesis(DEVICE)
    for seq in range(1, 21):
        assert log.hash_at(seq - 1) == h
        h = chain(h, log.frame(seq))
    assert h == log.head
    assert chain_holds(log)


def test_any_frame_at_random():
    for unit in UNITS:
        chip = Chip(unit, 60, 1024)
        log = opened(chip)
        fill(log, 150)
        random = Random(unit)
        for turn in range(2):
            for _ in range(200):
                seq = 1 + random.below(150)
                wanted = frame_of(seq, 1 + (seq - 1) % 12, payload(seq - 1))
                assert bytes(log.frame(seq)) == wanted, (unit, turn, seq)
            log = opened(chip)
        raises(Lost, log.frame, 0)
        raises(Lost, log.frame, 151)


def test_a_frame_that_waits_for_a_sync_can_be_read():
    for unit in UNITS:
        chip = Chip(unit, 2, 2048)
        log = opened(chip)
        log.append(1, b"first")
        log.sync()
        before = chip.operations
        for n in range(4):
            log.append(2, b"waits %d" % n)
        for n in (3, 0, 2, 1):
            assert bytes(log.frame(n + 2)) == frame_of(n + 2, 2, b"waits %d" % n)
        assert chain_holds(log)
        assert (log.synced, chip.operations) == (1, before), "reading wrote something"
        log.sync()
        assert bytes(log.frame(3)) == frame_of(3, 2, b"waits 1")


def test_numbers_above_16_bits_go_on():
    chip = Chip(1, 24, 8192)
    log = opened(chip, 64)
    for _ in range(66000):
        log.append(1, b"")
    log.sync()
    log, found = visited(chip, 64)
    assert log.seq == 66000
    assert 0 < 66001 - log.oldest() < 0x8000
    assert [seq for seq, _, _, _ in found] == list(range(66001 - len(found), 66001))
    for seq in (65535, 65536, 65537, 65538):
        assert bytes(log.frame(seq)) == frame_of(seq & 0xFFFF, 1, b"")
    assert log.hash_at(65999) != log.hash_at(65536)


def test_records_never_cross_segments():
    for unit in UNITS:
        chip = Chip(unit, 30, 1024)
        log = opened(chip)
        for n in range(60):
            log.append(1, payload(n, 100))
        log.sync()
        assert 7 <= begun(chip) < 30
        assert records_of(chip) == [(1, payload(n, 100)) for n in range(60)]


def test_what_still_fits_is_still_taken():
    for spare in (0, 1):
        chip = Chip(1, 3, 512)
        log = opened(chip, 400)
        log.append(1, b"")
        log.sync()
        used = len(bytes(chip.cells[0]).rstrip(b"\xff"))
        log.append(2, b"2" * (512 - used - OVERHEAD + spare))
        log.sync()
        assert begun(chip) == 1 + spare
        assert [kind for kind, _ in records_of(chip, 400)] == [1, 2]


def test_a_record_over_the_limit_is_refused():
    log = opened(Chip(1, 2, 1024), 64)
    log.append(1, bytes(64))
    raises(LogError, log.append, 1, bytes(65))
    assert log.seq == 1


def test_a_sync_without_news_programs_nothing():
    chip = Chip(16, 2, 1024)
    log = opened(chip)
    log.append(1, b"x")
    log.sync()
    before = chip.operations
    log.sync()
    assert chip.operations == before


def test_payloads_of_erased_bytes_are_records_too():
    for unit in UNITS:
        chip = Chip(unit, 4, 2048)
        log = opened(chip)
        for n in range(5):
            log.append(0x7D, b"\xff" * (n * 50))
            log.sync()
        assert records_of(chip) == [(0x7D, b"\xff" * (n * 50)) for n in range(5)]


def test_the_log_of_another_name_is_refused():
    chip = Chip(4, 2, 1024)
    fill(opened(chip), 3)
    other = Log(chip, genesis("other"), wire.subkey(KEY, "log").sign, 256)
    assert "another name" in str(raises(LogError, other.open, nothing, nothing))


def signed(chip, segment, at, value):
    """A copy with one byte of a header changed, its MAC and CRC made right."""
    chip = chip.copy()
    cells = chip.cells[segment]
    cells[at] = value
    cells[44:60] = wire.subkey(KEY, "log").sign(bytes(cells[:44]))
    cells[60:64] = crc32(bytes(cells[:60])).to_bytes(4, "big")
    return chip


def test_a_log_of_another_program_unit_is_refused_by_name():
    for unit, other in ((4, 16), (16, 4), (1, 256)):
        chip = Chip(unit, 2, 1024)
        fill(opened(chip), 3)
        moved = Chip(other, 2, 1024)
        moved.cells = chip.cells
        error = str(raises(LogError, opened, moved))
        assert f"program unit of {unit} " in error, error


def test_a_segment_of_a_newer_version_is_left_alone():
    chip = Chip(4, 4, 1024)
    fill(opened(chip), 3)
    newer = signed(chip, 0, 4, 3)
    before = bytes(newer.cells[0])
    log = opened(newer)
    assert log.notes == ["segment 0: of version 3"]
    fill(log, 200)
    assert bytes(newer.cells[0]) == before


def test_a_segment_that_is_gone_costs_its_records_only():
    chip = Chip(4, 12, 512)
    fill(opened(chip), 60)
    whole = opened(chip.copy())
    for segment in range(begun(chip) - 1):
        bad = chip.copy()
        bad.erase(segment)
        log = opened(bad)
        assert (log.seq, log.head) == (whole.seq, whole.head)
        lost = 0
        for seq in range(1, 61):
            try:
                assert bytes(log.frame(seq)) == frame_of(seq, 1 + (seq - 1) % 12, payload(seq - 1))
            except Lost:
                lost += 1
        assert 0 < lost < 20


def test_an_older_life_of_a_segment_is_not_read():
    chip = Chip(1, 3, 1024)
    fill(opened(chip), 8)
    old = bytes(chip.cells[0])
    chip.erase(0)
    log = Log(chip, genesis(DEVICE), lambda head: b"\x01" * 16, 256)
    log.open(nothing, nothing)
    log.append(1, payload(0))
    log.sync()
    end = len(bytes(chip.cells[0]).rstrip(b"\xff"))
    chip.cells[0][end:] = old[end:]
    log = Log(chip, genesis(DEVICE), lambda head: b"\x01" * 16, 256)
    log.open(nothing, nothing)
    assert kept(log) == [(1, payload(0))]


def test_appending_does_not_hold_on_to_memory():
    import gc

    if not hasattr(gc, "mem_alloc"):  # CPython does not tell
        return
    log = opened(Chip(1, 40, 4096))
    for _ in range(50):
        log.append(1, b"x" * 100)
    log.sync()
    gc.collect()
    before = gc.mem_alloc()
    for _ in range(200):
        log.append(1, b"x" * 100)
    log.sync()
    gc.collect()
    # a segment that is begun is remembered, nothing else: 200 records take five or six
    assert gc.mem_alloc() - before < 1500


def test_header_and_frame_are_laid_out_as_stated():
    chip = Chip(16, 2, 1024)
    log = opened(chip)
    log.append(0x81, b"hello")
    log.sync()
    cells = bytes(chip.cells[0])
    assert cells[:12] == b"mote\x02\x0f\0\0\0\0\0\x01"
    assert cells[12:44] == genesis(DEVICE)
    assert cells[60:HEADER] == crc32(cells[:60]).to_bytes(4, "big")
    frame = b"\x00\x05\x81\x00\x01hello"
    at = cells.index(frame)
    assert at % 16 == 0, "the checkpoint ends with padding"
    seed = int.from_bytes(cells[60:HEADER], "big")
    end = at + HEAD + 5
    assert cells[end : end + 4] == crc32(frame, seed).to_bytes(4, "big")
    assert cells[end + 4 :] == b"\xff" * (1024 - end - 4)


def failing(kind, operation, forever=False):
    """A workload during which an operation fails; the chip, and whether the log stayed usable."""
    chip = Chip(4, 8, 512)
    if operation is not None:
        chip.fail(operation, kind, None, forever)
    log = make_log(chip, 64)
    try:
        log.open(nothing, nothing)
        fill(log, 30)
    except LogError:
        return chip, log, False
    return chip, log, True


def append_and_sync(log):
    log.append(1, b"")
    log.sync()


def test_a_failure_of_any_operation_loses_nothing():
    wanted = [(1 + n % 12, payload(n)) for n in range(30)]
    whole, _, _ = failing(REFUSE, None)
    assert begun(whole) > 2
    # the first operation is the sync of an empty medium
    for operation in range(1, whole.operations):
        for kind in (REFUSE, PART, WRONG):
            chip, log, usable = failing(kind, operation)
            assert usable, (operation, kind)
            assert log.seq == log.synced == 30
            for seen in (log, opened(chip, 64)):
                assert kept(seen) == wanted, (operation, kind)
                assert chain_holds(seen)
                assert seen.owed is None


def test_a_chip_that_fails_for_good_is_an_error_and_keeps_what_was_safe():
    whole, _, _ = failing(REFUSE, None)
    for operation in range(1, whole.operations):
        chip, log, usable = failing(REFUSE, operation, True)
        assert not usable
        safe = log.synced
        raises(LogError, append_and_sync, log)
        assert records_of(chip, 64)[:safe] == [(1 + n % 12, payload(n)) for n in range(safe)]


def test_nothing_passes_for_safe_that_the_medium_was_not_told_to_sync():
    chip = Chip(4, 4, 512, None, 1, True)
    log = opened(chip, 64)
    for n in range(60):
        before, heads = log.synced, len(begins(chip.ops))
        log.append(1, payload(n, 40))
        if n % 3 == 0:
            log.sync()
            assert log.synced == log.seq
        if log.synced > before:
            assert chip.ops[-1][0] != "program"
        if len(begins(chip.ops)) > heads:  # the header and what waited are two syncs
            assert [op[0] for op in chip.ops[begins(chip.ops)[-1] :]].count("sync") >= 1
    unsafe = False
    for kind, _, offset, _ in chip.ops:
        if kind == "erase" or (kind == "program" and offset == 0):
            assert not unsafe, "a segment began or went before what is elsewhere was synced"
        unsafe = kind == "program"
    assert len(begins(chip.ops)) > 4


def begins(ops):
    """Where in the operations a segment begins."""
    return [n for n in range(len(ops)) if ops[n][0] == "program" and ops[n][2] == 0]
