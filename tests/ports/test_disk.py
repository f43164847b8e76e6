"""The simulated disk: it keeps what was synced, and loses the rest in every way it claims."""

import disk as d
from disk import Disk
from helpers import PowerCut, Random, raises

OLD, NEW = b"o" * 1500, b"n" * 1300


def _put(disk, path, data, mode="wb"):
    file = disk.open(path, mode)
    file.write(data)
    return file


def _content(disk, path):
    """What a file holds, None if there is none."""
    if not disk.exists(path):
        return None
    file = disk.open(path, "rb")
    buf = bytearray(4096)
    return bytes(buf[: file.readinto(buf)])


def _durable(data=OLD):
    """A disk with one file whose content is durable."""
    disk = Disk(1)
    disk.flush(_put(disk, "log/a", data))
    disk.sync_folder("log")
    return disk


def _crashes(disk, kind=None, times=60):
    """The contents that so many crashes leave."""
    random = Random(7)
    return [_content(disk.crash(kind, random), "log/a") for _ in range(times)]


def test_what_is_written_is_read_before_it_is_durable():
    disk = Disk()
    file = _put(disk, "log/a", b"abc", "w+b")
    assert file.seek(1) == 1
    file.write(b"xyz")
    assert file.seek(-1, 2) == 3
    file.write(b"!")
    file.seek(0)
    buf = bytearray(9)
    assert file.readinto(buf) == 4
    assert buf[:4] == b"axy!"
    file.seek(6)
    assert file.write(b"hole") == 4
    assert _content(disk, "log/a") == b"axy!\x00\x00hole"
    assert (disk.writes, disk.bytes_written) == (4, 11)


def test_a_piece_bounds_what_one_call_moves():
    disk = Disk()
    disk.piece = 2
    file = disk.open("log/a", "w+b")
    assert file.write(b"abc") == 2
    file.seek(0)
    assert file.readinto(bytearray(3)) == 2


def test_what_is_absent_is_not_opened():
    disk = Disk()
    for path, mode in (("log/a", "rb"), ("log/a", "r+b"), ("log", "rb"), ("no/a", "wb")):
        assert raises(OSError, disk.open, path, mode).args[0] == 2
    _put(disk, "log/a", b"").close()
    raises(OSError, disk.open("log/a", "rb").write, b"x")


def test_what_was_synced_survives_every_crash():
    disk = _durable()
    assert (disk.flushes, disk.folder_syncs) == (1, 1)
    for kind in [None] + list(d.KINDS):
        assert set(_crashes(disk, kind, 5)) == {OLD}


def test_a_crash_leaves_the_disk_itself_as_it_is():
    disk = _durable()
    _put(disk, "log/a", NEW)
    _crashes(disk)
    assert _content(disk, "log/a") == NEW
    after = disk.crash(d.NEW)
    assert set(_crashes(after)) == {NEW}


def test_a_file_written_anew_may_be_anything_that_is_claimed():
    disk = _durable()
    _put(disk, "log/a", NEW)
    assert set(_crashes(disk, d.OLD)) == {OLD}
    assert set(_crashes(disk, d.EMPTY)) == {b""}
    assert set(_crashes(disk, d.NEW)) == {NEW}
    prefixes = _crashes(disk, d.PREFIX)
    assert all(c == NEW[: len(c)] for c in prefixes)
    assert min(len(c) for c in prefixes) < 200
    assert max(len(c) for c in prefixes) > 1100
    sectored = _crashes(disk, d.SECTORS, 200)
    sectors = [[c[at : at + 512] for at in (0, 512, 1024)] for c in sectored]
    assert {s[0][:1] for s in sectors} == {b"n", b"o", b"\x00"}
    assert all(len(set(part)) == 1 for s in sectors for part in s)
    assert len({(s[0][:1], s[1][:1]) for s in sectors}) == 9
    ranges = _crashes(disk, d.RANGES)
    assert {x for c in ranges for x in c} == set(b"no\x00")
    assert max(len(c) for c in ranges) > len(NEW)
    reordered = set(_crashes(disk, d.REORDERED))
    assert reordered == {OLD, b"", NEW, NEW + OLD[len(NEW) :]}
    everything = set(_crashes(disk, None, 200))
    assert everything >= {OLD, b"", NEW}


def test_of_a_file_that_grew_only_the_new_bytes_are_in_danger():
    disk = _durable()
    file = disk.open("log/a", "r+b")
    file.seek(0, 2)
    file.write(NEW)
    file.write(b"later")
    whole = OLD + NEW + b"later"
    for kind in d.KINDS:
        for content in _crashes(disk, kind):
            assert content[: len(OLD)] == OLD
            assert len(content) <= len(whole)
    assert OLD + bytes(len(NEW)) + b"later" in _crashes(disk, d.REORDERED)
    disk.flush(file)
    assert set(_crashes(disk)) == {whole}


def test_an_entry_needs_a_sync_of_its_folder():
    disk = Disk()
    disk.flush(_put(disk, "log/a", OLD))
    assert set(_crashes(disk)) == {OLD, None}
    disk.sync_folder("log")
    assert set(_crashes(disk)) == {OLD}
    disk.remove("log/a")
    assert set(_crashes(disk)) == {OLD, None}
    disk.sync_folder("log")
    assert set(_crashes(disk)) == {None}


def test_a_folder_that_is_lost_takes_its_files_with_it():
    disk = Disk(1, "other")
    disk.mkdir("log")
    disk.flush(_put(disk, "log/a", OLD))
    disk.sync_folder("log")
    assert set(_crashes(disk)) == {OLD, None}
    assert disk.crash(d.OLD).exists("other")
    for root in ("", "/", "."):
        disk.sync_folder(root)
        assert set(_crashes(disk)) == {OLD}
    assert raises(OSError, disk.mkdir, "log").args[0] == 17


def _story(disk):
    """6 operations."""
    file = _put(disk, "log/a", b"abc")
    file.write(b"def")
    disk.flush(file)
    disk.sync_folder("log")
    disk.mkdir("log/b")


def test_the_power_goes_at_any_byte_of_any_operation():
    whole = Disk()
    _story(whole)
    assert whole.sizes == [1, 3, 3, 1, 1, 1]
    seen = [None, b"", b"", b"a", b"ab", b"abc", b"abc", b"abcd", b"abcde", b"abcdef"]
    seen += [b"abcdef"] * 6
    found = []
    for operation, size in enumerate(whole.sizes):
        for byte in range(size + 1):
            disk = Disk()
            disk.cut_at(operation, byte)
            raises(PowerCut, _story, disk)
            raises(PowerCut, disk.sync_folder, "log")
            found.append(_content(disk.crash(d.NEW), "log/a"))
            durable = (operation, byte) >= (4, 1)
            assert (_content(disk.crash(d.OLD), "log/a") == b"abcdef") == durable
            assert disk.crash(d.NEW).exists("log/b") == ((operation, byte) == (5, 1))
    assert found == seen


def test_operations_fail_as_told_and_work_again():
    disk = Disk()
    disk.fail("write", 28)
    file = disk.open("log/a", "wb")
    assert raises(OSError, file.write, OLD).args[0] == 28
    assert 0 < len(_content(disk, "log/a")) < len(OLD)
    file.write(b"x")
    disk.fail("flush", 5, times=-1, drop=False)
    for _ in range(3):
        assert raises(OSError, disk.flush, file).args[0] == 5
    disk.heal()
    disk.flush(file)
    disk.fail(len(disk.sizes), 30)
    assert raises(OSError, disk.sync_folder, "log").args[0] == 30
    disk.sync_folder("log")
    for name in ("open", "read"):
        disk.fail(name, 5, times=1)
        assert raises(OSError, _content, disk, "log/a").args[0] == 5
    assert set(_crashes(disk)) == {_content(disk, "log/a")}


def test_a_flush_that_fails_drops_what_was_due_for_good():
    disk = _durable(b"old")
    file = disk.open("log/a", "r+b")
    file.seek(3)
    file.write(b"lost")
    disk.fail("flush")
    raises(OSError, disk.flush, file)
    disk.flush(file)
    assert _content(disk, "log/a") == b"oldlost"
    assert set(_crashes(disk)) == {b"old"}
    file.write(b"kept")
    disk.flush(file)
    assert set(_crashes(disk)) == {b"old\x00\x00\x00\x00kept"}
