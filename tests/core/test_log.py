"""The log: what is appended comes back, whatever the medium's unit, and nothing else does."""

from helpers import DEVICE, HEADER, KEY, OVERHEAD, Nor, Random, make_log, raises, records_of
from mote import wire
from mote.log import HEAD, Log, LogError, LogFull, chain, genesis

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


def opened(nor, record_bytes=256):
    log = make_log(nor, record_bytes)
    found = []
    log.open(lambda seq, h, kind, data: found.append((seq, bytes(h), kind, bytes(data))))
    return log, found


def frame_of(seq, kind, data):
    return len(data).to_bytes(2, "big") + bytes([kind, seq >> 8 & 0xFF, seq & 0xFF]) + data


def test_an_empty_medium_is_an_empty_log():
    for unit in UNITS:
        log, found = opened(Nor(unit, 2, 1024))
        assert found == []
        assert (log.seq, log.synced, log.head) == (0, 0, genesis(DEVICE))
        assert log.oldest() == 1
        assert log.hash_at(0) == genesis(DEVICE)
        raises(LogError, log.frame, 1)


def test_what_is_appended_comes_back_in_the_next_life():
    for unit in UNITS:
        nor = Nor(unit, 4, 4096)
        h = genesis(DEVICE)
        log, _ = opened(nor)
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
        again, found = opened(nor)
        assert found == wanted
        assert (again.seq, again.synced, again.head) == (30, 30, h)


def test_many_lives_are_one_log():
    for unit in UNITS:
        nor = Nor(unit, 8, 4096)
        wanted = []
        for life in range(12):
            log, found = opened(nor)
            assert [(kind, data) for _, _, kind, data in found] == wanted
            for n in range(life % 4):
                log.append(3, payload(life * 10 + n))
                wanted.append((3, payload(life * 10 + n)))
            log.sync()
        assert records_of(nor) == wanted


def test_the_chain_is_over_the_frames_from_the_device_on():
    assert genesis("a") != genesis("b")
    nor = Nor(4, 2, 1024)
    log, _ = opened(nor)
    fill(log, 10)
    h = genesis(DEVICE)
    for seq in range(1, 11):
        assert log.hash_at(seq - 1) == h
        h = chain(h, log.frame(seq))
    assert h == log.head


def test_any_frame_at_random():
    for unit in UNITS:
        nor = Nor(unit, 40, 1024)
        log, _ = opened(nor)
        fill(log, 150)
        random = Random(unit)
        for turn in range(2):
            for _ in range(200):
                seq = 1 + random.below(150)
                wanted = frame_of(seq, 1 + (seq - 1) % 12, payload(seq - 1))
                assert bytes(log.frame(seq)) == wanted, (unit, turn, seq)
            log, _ = opened(nor)
        raises(LogError, log.frame, 0)
        raises(LogError, log.frame, 151)


def test_a_frame_that_is_asked_for_is_safe_first():
    nor = Nor(16, 2, 1024)
    log, _ = opened(nor)
    log.append(1, b"a")
    assert log.synced == 0
    assert bytes(log.frame(1)) == frame_of(1, 1, b"a")
    assert log.synced == 1
    assert records_of(nor) == [(1, b"a")]


def test_numbers_above_16_bits_go_on():
    nor = Nor(1, 200, 8192)
    log, _ = opened(nor, 64)
    for _ in range(66000):
        log.append(1, b"")
    log.sync()
    log = make_log(nor, 64)
    late = []  # not all of them: MicroPython's heap is small
    log.open(lambda seq, h, kind, data: late.append(seq) if 65534 < seq < 65539 else None)
    assert log.seq == 66000
    assert late == [65535, 65536, 65537, 65538]
    assert bytes(log.frame(65537)) == frame_of(1, 1, b"")
    assert bytes(log.frame(65535)) == frame_of(65535, 1, b"")


def test_records_never_cross_segments():
    for unit in UNITS:
        nor = Nor(unit, 30, 1024)
        log, _ = opened(nor)
        for n in range(60):
            log.append(1, payload(n, 100))
        log.sync()
        used = [bytes(cells[:4]) == b"mote" for cells in nor.cells]
        assert 7 <= used.count(True) < 30
        assert records_of(nor) == [(1, payload(n, 100)) for n in range(60)]


def test_a_full_log_appends_nothing():
    for unit in UNITS:
        nor = Nor(unit, 3, 1024)
        log, _ = opened(nor)
        count = 0
        while True:
            before = (log.seq, log.head)
            try:
                log.append(1, payload(count, 90))
            except LogFull:
                break
            count += 1
        assert (log.seq, log.head) == before == (count, log.hash_at(count))
        raises(LogFull, log.append, 1, payload(0, 90))
        assert records_of(nor) == [(1, payload(n, 90)) for n in range(count)]
        assert log.room() < 90 + OVERHEAD


def test_what_still_fits_is_still_taken():
    nor = Nor(1, 1, 256)
    log, _ = opened(nor)
    log.append(1, bytes(256 - HEADER - 2 * OVERHEAD - 10))
    raises(LogFull, log.append, 2, bytes(11))
    log.append(2, bytes(10))
    log.sync()
    assert log.room() == 0
    assert [kind for kind, _ in records_of(nor)] == [1, 2]


def test_a_record_over_the_limit_is_refused():
    log, _ = opened(Nor(1, 2, 1024), 64)
    log.append(1, bytes(64))
    raises(LogError, log.append, 1, bytes(65))
    assert log.seq == 1


def test_room_goes_down_with_what_is_appended():
    log, _ = opened(Nor(1, 3, 1024), 64)
    waste = 64 + OVERHEAD  # the end of a segment that the next record does not fit
    assert log.room() == 3 * (1024 - HEADER - waste)
    log.append(1, bytes(40))
    assert log.room() == 3 * (1024 - HEADER - waste) - 40 - OVERHEAD


def test_a_sync_without_news_programs_nothing():
    nor = Nor(16, 2, 1024)
    log, _ = opened(nor)
    log.append(1, b"x")
    log.sync()
    before = (nor.programmed, nor.syncs)
    log.sync()
    assert (nor.programmed, nor.syncs) == before


def test_payloads_of_erased_bytes_are_records_too():
    for unit in UNITS:
        nor = Nor(unit, 4, 2048)
        log, _ = opened(nor)
        for n in range(5):
            log.append(0x7F, b"\xff" * (n * 50))
            log.sync()
        assert records_of(nor) == [(0x7F, b"\xff" * (n * 50)) for n in range(5)]


def test_another_devices_segment_is_refused():
    nor = Nor(4, 2, 1024)
    log, _ = opened(nor)
    fill(log, 3)
    other = Log(nor, genesis(DEVICE), wire.subkey(bytes(32), "log").sign, 256)
    assert "not this device's" in str(raises(LogError, other.open, print))
    other = Log(nor, genesis("other"), wire.subkey(KEY, "log").sign, 256)
    assert "does not follow" in str(raises(LogError, other.open, print))


def with_header_byte(nor, at, value):
    """The chip with one byte of segment 0's header changed, its CRC made right."""
    from binascii import crc32

    cells = nor.cells[0]
    cells[at] = value
    cells[60:64] = crc32(bytes(cells[:60])).to_bytes(4, "big")
    return nor


def test_another_version_or_unit_is_refused_by_name():
    nor = Nor(4, 2, 1024)
    fill(opened(nor)[0], 3)
    error = raises(LogError, opened, with_header_byte(nor.copy(), 4, 2))
    assert "version 2" in str(error)
    error = raises(LogError, opened, with_header_byte(nor.copy(), 5, 15))
    assert "unit 16" in str(error)
    error = raises(LogError, opened, with_header_byte(nor.copy(), 11, 2))
    assert "not this device's" in str(error)


def test_a_segment_that_is_gone_is_noticed():
    nor = Nor(4, 6, 512)
    fill(opened(nor)[0], 60)
    assert bytes(nor.cells[3][:4]) == b"mote"
    for segment in range(3):
        bad = nor.copy()
        bad.erase(segment)
        assert "does not follow" in str(raises(LogError, opened, bad))


def test_an_older_life_of_a_segment_is_not_read():
    nor = Nor(1, 2, 1024)
    log, _ = opened(nor)
    fill(log, 8)
    old = bytes(nor.cells[0])
    nor.erase(0)
    log = Log(nor, genesis(DEVICE), lambda head: b"\x01" * 16, 256)
    log.open(print)
    log.append(1, payload(0))
    log.sync()
    end = HEADER + OVERHEAD + len(payload(0))
    nor.cells[0][end:] = old[end:]
    found = []
    log = Log(nor, genesis(DEVICE), lambda head: b"\x01" * 16, 256)
    log.open(lambda seq, h, kind, data: found.append(bytes(data)))
    assert found == [payload(0)]


def test_appending_does_not_hold_on_to_memory():
    import gc

    if not hasattr(gc, "mem_alloc"):  # CPython does not tell
        return
    log, _ = opened(Nor(1, 40, 4096))
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


def test_the_frame_is_laid_out_as_stated():
    nor = Nor(1, 1, 1024)
    log, _ = opened(nor)
    log.append(0x81, b"hello")
    log.sync()
    frame = bytes(nor.cells[0][HEADER : HEADER + HEAD + 5])
    assert frame == b"\x00\x05\x81\x00\x01hello"
    assert bytes(nor.cells[0][HEADER + HEAD + 9 :]) == b"\xff" * (1024 - HEADER - HEAD - 9)


def test_a_failed_program_ends_the_log_until_it_is_opened_again():
    nor = Nor(1, 2, 4096)
    log, _ = opened(nor)
    log.append(1, b"one")
    log.sync()
    log.append(1, b"two")
    program = nor.program

    def fail(*_):
        raise LogError("no space")

    nor.program = fail
    raises(LogError, log.sync)
    nor.program = program
    raises(LogError, log.append, 1, b"three")
    raises(LogError, log.sync)
    assert log.synced == 1
    assert len(records_of(nor)) == 1


def test_nothing_passes_for_safe_that_the_medium_was_not_told_to_sync():
    nor = Nor(4, 4, 256)
    log = make_log(nor, 64)
    unsafe = [False]
    program, sync = nor.program, nor.sync

    def note_program(segment, offset, data):
        if offset == 0:
            assert not unsafe[0], "a segment began before the one before was synced"
        program(segment, offset, data)
        unsafe[0] = True

    def note_sync():
        sync()
        unsafe[0] = False

    nor.program, nor.sync = note_program, note_sync
    log.open(lambda *_: None)
    for n in range(12):
        begun = len(log._first)
        log.append(1, payload(n, 40))
        if len(log._first) > begun:
            assert not unsafe[0], "a header was not synced before its first frame"
        if n % 3 == 0:
            log.sync()
            assert not unsafe[0]
            assert log.synced == log.seq
