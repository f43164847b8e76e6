"""The file medium on a disk that loses power, fails, and has caches."""

# not on boards: their log has a flash to itself

import disk as d
from disk import Disk
from helpers import PowerCut, Random, raises
from mote.log import LogError
from mote_ports.files import FileMedium, make_folders

SEGMENTS = 3
SIZE = 2048


def _medium(disk):
    return FileMedium("log", SEGMENTS, SIZE, 1, disk)


def _read(medium, segment, n=SIZE):
    buf = memoryview(bytearray(n))
    medium.read(segment, 0, buf)
    return bytes(buf)


def _erased(data):
    return data + b"\xff" * (SIZE - len(data))


def _survives(disk, segment, data):
    """After every kind of crash the segment holds just that."""
    random = Random(3)
    for kind in [None] * 20 + list(d.KINDS):
        assert _read(_medium(disk.crash(kind, random)), segment) == _erased(data), kind


def _in_danger(disk, segment, data):
    """Some crash leaves something else there."""
    random = Random(3)
    kinds = list(d.KINDS)
    assert {_read(_medium(disk.crash(kind, random)), segment) for kind in kinds} != {_erased(data)}


def test_a_sync_makes_durable_what_was_erased_and_programmed():
    disk = Disk()
    medium = _medium(disk)
    for n in range(3):
        data = b"%d" % n * (300 * n + 5)
        medium.erase(1)
        medium.program(1, 0, data)
        _in_danger(disk, 1, data)
        medium.sync()
        _survives(disk, 1, data)
        medium.program(1, len(data), b"more")
        _in_danger(disk, 1, data + b"more")
        medium.sync()
        _survives(disk, 1, data + b"more")


def test_what_was_emptied_alone_waits_for_what_comes_into_it():
    disk = Disk()
    medium = _medium(disk)
    medium.program(1, 0, b"old")
    medium.sync()
    medium.erase(1)
    medium.sync()
    assert disk.flushes == 1, "a cut may bring the old content back: the log knows it as dropped"
    medium.program(1, 0, b"new")
    medium.sync()
    _survives(disk, 1, b"new")


def test_a_sync_does_no_more_than_is_due():
    disk = Disk()
    medium = _medium(disk)
    medium.program(0, 0, b"a")
    medium.sync()
    assert (disk.flushes, disk.folder_syncs) == (1, 1)
    medium.sync()
    assert (disk.flushes, disk.folder_syncs) == (1, 1)
    medium.program(0, 1, b"a")
    _read(medium, 1)
    medium.sync()
    medium.sync()
    assert (disk.flushes, disk.folder_syncs) == (2, 1)
    medium.program(0, 2, b"a")
    medium.erase(0)
    medium.program(0, 0, b"a")
    medium.sync()
    assert (disk.flushes, disk.folder_syncs) == (3, 1)


def test_reading_elsewhere_in_between_costs_no_sync():
    disk = Disk()
    medium = _medium(disk)
    medium.program(0, 0, b"old")
    medium.sync()
    for n in range(5):
        medium.program(1, n, b"n")
        _read(medium, 0)
        _read(medium, 2)
    assert disk.flushes == 1
    medium.sync()
    assert disk.flushes == 2
    _survives(disk, 1, b"nnnnn")


def test_a_sync_reaches_every_segment_that_was_changed():
    disk = Disk()
    medium = _medium(disk)
    for n in (0, 1, 2):
        medium.program(n, 0, b"%d" % n)
    medium.erase(1)
    medium.program(2, 1, b"x")
    medium.sync()
    for n, data in ((0, b"0"), (1, b""), (2, b"2x")):
        _survives(disk, n, data)


def test_a_sync_covers_what_a_killed_process_left_in_the_cache():
    disk = Disk()
    first = _medium(disk)
    first.program(0, 0, b"zero")
    first.program(1, 0, b"one")
    second = _medium(disk)
    assert _read(second, 0, 4) == b"zero"
    second.program(1, 3, b"+")
    _in_danger(disk, 0, b"zero")
    second.sync()
    _survives(disk, 0, b"zero")
    _survives(disk, 1, b"one+")


def test_the_system_may_move_less_than_it_is_given():
    disk = Disk()
    disk.piece = 7
    medium = _medium(disk)
    data = bytes(range(200))
    medium.program(0, 100, data)
    assert _read(medium, 0) == _erased(b"\xff" * 100 + data)
    disk.piece = 0
    assert str(raises(LogError, medium.program, 0, 300, b"x")) == "log/0000.log: no space left"


def test_a_failed_sync_is_never_taken_for_a_success():
    for operation in ("flush", "sync_folder"):
        disk = Disk()
        medium = _medium(disk)
        medium.program(0, 0, b"lost")
        disk.fail(operation, 5)
        for _ in range(3):  # the disk itself fails only once
            text = str(raises(LogError, medium.sync))
            assert text == "log/0000.log: not durable: input or output error"
        text = str(raises(LogError, medium.program, 0, 4, b"more"))
        assert text == "log/0000.log: it failed, erase it first"
        raises(LogError, medium.sync)
        medium.program(1, 0, b"lost")  # what failed is written again elsewhere
        medium.sync()
        _survives(disk, 1, b"lost")
        raises(LogError, medium.program, 0, 4, b"more")
        medium.erase(0)
        medium.program(0, 0, b"anew")
        medium.sync()
        _survives(disk, 0, b"anew")


def test_a_failure_behind_the_back_of_the_writer_is_told_by_the_next_sync():
    disk = Disk()
    medium = _medium(disk)
    medium.program(0, 0, b"lost")
    disk.fail("flush", 5)
    medium.program(1, 0, b"kept")  # the file of segment 0 is put away
    assert disk.flushes == 1
    for _ in range(2):
        assert "0000.log: not durable" in str(raises(LogError, medium.sync))
    medium.program(1, 4, b"lost")
    medium.sync()
    _survives(disk, 1, b"keptlost")


def test_a_second_failure_is_told_too():
    disk = Disk()
    medium = _medium(disk)
    medium.program(0, 0, b"lost")
    disk.fail("flush", 5)
    raises(LogError, medium.sync)
    disk.fail("write", 28)
    raises(LogError, medium.program, 1, 0, b"lost")
    assert disk.flushes == 1  # that of segment 0 is not tried again
    disk.fail("flush", 5)
    medium.program(2, 0, b"kept")
    assert "0001.log: not durable" in str(raises(LogError, medium.sync))
    medium.program(2, 4, b"lost")
    medium.sync()
    _survives(disk, 2, b"keptlost")


def test_an_erase_that_fails_leaves_a_segment_that_must_be_erased():
    disk = Disk()
    medium = _medium(disk)
    disk.fail("open", 28)
    assert str(raises(LogError, medium.erase, 0)) == "log/0000.log: no space left"
    raises(LogError, medium.program, 0, 0, b"x")
    medium.sync()
    medium.erase(0)
    medium.program(0, 0, b"x")
    medium.sync()
    _survives(disk, 0, b"x")


def test_a_program_that_fails_can_go_on_behind_what_it_wrote():
    disk = Disk()
    medium = _medium(disk)
    medium.program(0, 0, b"a")
    disk.fail("write", 28)
    assert str(raises(LogError, medium.program, 0, 1, b"b" * 30)) == "log/0000.log: no space left"
    medium.program(0, 64, b"c")
    medium.sync()
    found = _read(medium, 0)
    assert found[:1] == b"a"
    assert found[1:64].rstrip(b"\xff") == b"b" * len(found[1:64].rstrip(b"\xff"))
    assert found[64:] == b"c" + b"\xff" * (SIZE - 65)
    _survives(disk, 0, found.rstrip(b"\xff"))


def test_errors_of_reading_are_no_erased_bytes():
    disk = Disk()
    medium = _medium(disk)
    medium.program(0, 0, b"a")
    for operation, errno in (("read", 5), ("open", 13), ("open", 24)):
        medium.close()
        disk.fail(operation, errno)
        raises(LogError, _read, medium, 0)
    assert _read(medium, 0, 2) == b"a\xff"


def test_folders_are_durable_when_they_are_made():
    for root in ("", "/"):
        disk = Disk()
        make_folders(root + "a/b/c", disk)
        assert (disk.folder_syncs, disk.sizes) == (3, [1] * 6)
        assert disk.crash(d.OLD).exists(root + "a/b/c")
        make_folders(root + "a/b/d", disk)
        assert disk.folder_syncs == 4
        assert disk.crash(d.OLD).exists(root + "a/b/d")
    disk.fail("mkdir", 28)
    assert raises(OSError, make_folders, "e", disk).args[0] == 28


class _Life:
    """Random work on a medium, and what must be there whenever the power goes."""

    def __init__(self, disk, seed):
        self.medium = _medium(disk)
        self.random = Random(seed)
        self.safe = [b""] * SEGMENTS  # what the last sync made durable,
        self.now = [b""] * SEGMENTS  # and what stands there
        self.loose = [False] * SEGMENTS  # erased since then: anything may stand there

    def step(self):
        random, n = self.random, self.random.below(SEGMENTS)
        what = random.below(6)
        if what == 0:
            self.loose[n] = True
            self.now[n] = b""
            self.medium.erase(n)
        elif what < 4 and len(self.now[n]) < SIZE - 800:
            data = random.bytes(1 + random.below(700))
            hole = random.below(2) * random.below(90)
            at = len(self.now[n]) + hole
            self.now[n] += b"\xff" * hole + data
            self.medium.program(n, at, data)
        elif what == 4:
            self.medium.sync()
            self.safe, self.loose = list(self.now), [False] * SEGMENTS
        else:
            assert _read(self.medium, n) == _erased(self.now[n])

    def check(self, disk):
        """A new life on the disk finds what was synced."""
        medium = _medium(disk)
        for n in range(SEGMENTS):
            if not self.loose[n]:
                assert _read(medium, n, len(self.safe[n])) == self.safe[n]


def _live(life):
    for _ in range(40):
        life.step()
    life.medium.sync()


def test_what_was_synced_survives_a_cut_at_any_operation():
    for seed in range(3):
        whole = Disk(seed)
        _live(_Life(whole, seed))
        random = Random(seed)
        for operation, size in enumerate(whole.sizes):
            disk = Disk(seed)
            life = _Life(disk, seed)
            disk.cut_at(operation, random.below(size + 1))
            raises(PowerCut, _live, life)
            for kind in d.KINDS:
                life.check(disk.crash(kind, random))


def test_what_was_synced_survives_although_any_operation_failed_before():
    for seed in range(3):
        whole = Disk(seed)
        _live(_Life(whole, seed))
        random = Random(seed)
        for operation in range(len(whole.sizes)):
            disk = Disk(seed)
            life = _Life(disk, seed)
            disk.fail(operation, 5)
            raises(LogError, _live, life)
            for kind in d.KINDS:
                life.check(disk.crash(kind, random))
