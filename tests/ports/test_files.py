"""The file medium: what is programmed is read back, everything else reads as erased."""

# not on boards: their log has a flash to itself

import os

from helpers import raises
from mote.log import LogError
from mote_ports.files import FileMedium, FileSystem, exists, make_folders
from mote_ports.reasons import os_reason

_count = [0]


def _folder():
    _count[0] += 1
    path = "%s/files%d" % (os.getenv("MOTE_TEST_TMP") or "/tmp/mote", _count[0])
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
    folder = _folder()
    medium = FileMedium(folder, 2, 1024)
    medium.erase(0)
    medium.program(0, 0, b"abc")
    medium.program(0, 3, memoryview(b"def"))
    medium.sync()
    assert _read(medium, 0, 1, 7) == b"bcdef\xff\xff"
    medium.close()
    assert _read(medium, 0, 1, 7) == b"bcdef\xff\xff"
    with open(folder + "/0000.log", "rb") as f:
        assert f.read() == b"abcdef"


def test_a_segment_without_a_file_is_erased_and_can_be_programmed():
    medium = FileMedium(_folder(), 2, 1024)
    medium.program(1, 0, b"abc")
    medium.sync()
    assert _read(medium, 1, 0, 4) == b"abc\xff"


def test_a_hole_reads_as_erased():
    folder = _folder()
    medium = FileMedium(folder, 2, 1024)
    medium.erase(1)
    medium.program(1, 0, b"a")
    medium.program(1, 300, b"b")
    medium.program(0, 64, b"c")
    assert _read(medium, 1, 0, 302) == b"a" + b"\xff" * 299 + b"b\xff"
    with open(folder + "/0000.log", "rb") as f:
        assert f.read() == b"\xff" * 64 + b"c"


def test_erased_bytes_within_a_file_can_be_programmed_others_not():
    medium = FileMedium(_folder(), 2, 1024)
    medium.program(0, 0, b"ab\xff\xff\xff")
    medium.program(0, 2, b"cd")
    medium.program(0, 4, b"efg")
    assert _read(medium, 0, 0, 8) == b"abcdefg\xff"
    for offset, data in ((0, b"x"), (6, b"xyz")):
        error = raises(LogError, medium.program, 0, offset, data)
        assert str(error).endswith("/0000.log: programmed twice at offset %d" % offset)
    assert _read(medium, 0, 0, 8) == b"abcdefg\xff"


def test_erase_empties():
    folder = _folder()
    medium = FileMedium(folder, 2, 1024)
    medium.erase(0)
    medium.program(0, 0, b"abc")
    medium.erase(0)
    assert _read(medium, 0, 0, 4) == b"\xff" * 4
    assert os.stat(folder + "/0000.log")[6] == 0


def test_segments_do_not_mix():
    medium = FileMedium(_folder(), 3, 1024)
    for n in (0, 1, 2):
        medium.erase(n)
        medium.program(n, 0, bytes([n] * 4))
    for n in (2, 0, 1):
        assert _read(medium, n, 0, 4) == bytes([n] * 4)
        medium.program(n, 4, b"%d" % n)
    for n in (0, 2, 1):
        assert _read(medium, n, 3, 3) == b"%c%d\xff" % (n, n)


def test_errors_of_the_file_system_are_log_errors_with_path_and_words():
    folder = _folder()
    medium = FileMedium(folder + "/absent", 2, 1024)
    for act in (lambda: medium.program(0, 0, b"a"), lambda: medium.erase(0)):
        text = str(raises(LogError, act))
        assert text == folder + "/absent/0000.log: no such file or folder"
    make_folders(folder + "/0001.log")  # a folder in the place of a file
    text = str(raises(LogError, FileMedium(folder, 2, 1024).erase, 1))
    assert text == folder + "/0001.log: is a folder"
    os.rmdir(folder + "/0001.log")


def test_a_full_disk_is_a_log_error():
    class Full(FileSystem):
        def open(self, path, mode):
            return FileSystem.open(self, "/dev/full", "r+b")

    medium = FileMedium("state", 2, 1024, 1, Full())
    text = str(raises(LogError, medium.program, 0, 0, b"abc"))
    assert text == "state/0000.log: no space left"


def test_reasons_are_words_or_numbers():
    assert os_reason(OSError(5, "EIO")) == "input or output error"
    assert os_reason(OSError(28)) == "no space left"
    assert os_reason(OSError(122, "")) == "quota exceeded"
    assert os_reason(OSError(99, "")) == "error 99"
    assert os_reason(OSError("words")) == "words"
    assert os_reason(OSError()) == "error 0"


def test_read_only_creates_and_changes_nothing():
    folder = _folder()
    FileMedium(folder, 2, 1024).program(1, 0, b"abc")
    medium = FileMedium(folder, 2, 1024).read_only()
    assert _read(medium, 0, 0, 1) == b"\xff"
    assert _read(medium, 1, 0, 3) == b"abc"
    for act in (
        lambda: medium.program(0, 0, b"a"),
        lambda: medium.program(1, 3, b"a"),
        lambda: medium.erase(0),
        lambda: medium.erase(1),
    ):
        assert "for reading only" in str(raises(LogError, act))
    medium.sync()
    assert not exists(folder + "/0000.log")
    assert _read(medium, 1, 0, 4) == b"abc\xff"


def test_exists_tells_absence_from_trouble():
    folder = _folder()
    assert exists(folder)
    assert not exists(folder + "/absent/file")
    open(folder + "/file", "wb").close()
    assert not exists(folder + "/file/below")
    raises(OSError, exists, folder + "/" + "n" * 300)


def test_folders_are_made_where_they_are_absent():
    folder = _folder()
    for _ in range(2):
        make_folders(folder + "/a/b/c")
        assert exists(folder + "/a/b/c")
    for part in ("/a/b/c", "/a/b", "/a"):
        os.rmdir(folder + part)
    open(folder + "/file", "wb").close()
    raises(OSError, make_folders, folder + "/file/below")
