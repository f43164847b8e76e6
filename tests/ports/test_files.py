"""The file medium: what is programmed is read back, everything else reads as erased."""

import os

from mote.log import Log, LogError, genesis
from mote_ports import files
from mote_ports.files import FileMedium, exists, make_folders

_flush = files.flush

_count = [0]


def _folder():
    _count[0] += 1
    path = "%s/files%d" % (os.getenv("MOTE_TEST_TMP") or "/tmp", _count[0])
    make_folders(path)
    for name in os.listdir(path):
        os.remove(path + "/" + name)
    return path


def _read(medium, segment, offset, n):
    buf = memoryview(bytearray(n))
    medium.read(segment, offset, buf)
    return bytes(buf)


def test_a_segment_that_was_never_begun_reads_as_erased():
    assert _read(FileMedium(_folder(), 2, 1024), 1, 5, 200) == b"\xff" * 200


def test_programmed_bytes_are_read_back_and_the_rest_is_erased():
    medium = FileMedium(_folder(), 2, 1024)
    medium.erase(0)
    medium.program(0, 0, b"abc")
    medium.program(0, 3, memoryview(b"def"))
    medium.sync()
    assert _read(medium, 0, 1, 7) == b"bcdef\xff\xff"


def test_a_hole_reads_as_erased():
    medium = FileMedium(_folder(), 2, 1024)
    medium.erase(1)
    medium.program(1, 0, b"a")
    medium.program(1, 300, b"b")
    assert _read(medium, 1, 0, 302) == b"a" + b"\xff" * 299 + b"b\xff"


def test_erase_empties():
    medium = FileMedium(_folder(), 2, 1024)
    medium.erase(0)
    medium.program(0, 0, b"abc")
    medium.erase(0)
    assert _read(medium, 0, 0, 4) == b"\xff" * 4


def test_segments_do_not_mix():
    medium = FileMedium(_folder(), 3, 1024)
    for n in (0, 1, 2):
        medium.erase(n)
        medium.program(n, 0, bytes([n] * 4))
    for n in (2, 0, 1):
        assert _read(medium, n, 0, 4) == bytes([n] * 4)


def test_errors_of_the_file_system_are_log_errors():
    medium = FileMedium(_folder() + "/absent", 2, 1024)
    for act in (lambda: medium.erase(0), lambda: medium.program(0, 0, b"a")):
        try:
            act()
        except LogError as e:
            assert "absent/0000.log" in str(e)
        else:
            raise AssertionError("no LogError")


def test_read_only_creates_and_changes_nothing():
    folder = _folder()
    medium = FileMedium(folder, 2, 1024).read_only()
    assert _read(medium, 0, 0, 1) == b"\xff"
    try:
        medium.program(0, 0, b"a")
    except LogError:
        assert not exists(folder + "/0000.log")
    else:
        raise AssertionError("no LogError")


def test_a_log_on_files_survives_a_torn_tail_of_every_length():
    folder = _folder()
    log = Log(FileMedium(folder, 2, 4096), genesis("d"), lambda head: bytes(16), 64)
    log.open(lambda *record: None)
    for n in range(3):
        log.append(2, b"payload %d" % n)
    log.sync()
    with open(folder + "/0000.log", "rb") as f:
        whole = f.read()
    for cut in range(64, len(whole)):
        with open(folder + "/0000.log", "wb") as f:
            f.write(whole[:cut])
        seen = []
        again = Log(FileMedium(folder, 2, 4096), genesis("d"), lambda head: bytes(16), 64)
        again.open(lambda seq, h, kind, payload, seen=seen: seen.append(bytes(payload)))
        assert seen == [b"payload 0", b"payload 1", b"payload 2"][: (cut - 64) // 18]
        again.append(2, b"next")
        again.sync()
        third = Log(FileMedium(folder, 2, 4096), genesis("d"), lambda head: bytes(16), 64)
        third.open(lambda *record: None)
        assert third.head == again.head


def test_sync_reaches_the_segment_that_was_programmed_whatever_is_open():
    flushed = []
    files.flush = flushed.append
    try:
        medium = FileMedium(_folder(), 2, 1024)
        for n in (0, 1):
            medium.erase(n)
        medium.program(1, 0, b"new")
        written = medium._file
        _read(medium, 0, 0, 1)  # another segment is open now
        assert medium._file is not written
        medium.sync()
        assert len(flushed) == 2
        assert medium._number == 1
    finally:
        files.flush = _flush
