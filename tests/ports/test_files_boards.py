"""The file medium on the file systems of boards, littlefs and FAT, as far as the runtime has them.

What a power cut leaves is the block device at that moment. CPython has neither: there the same
holds for a folder of the host, with no power cut but a new life.
"""

# not on boards: their log has a flash to itself

import os

from helpers import raises
from mote.log import LogError
from mote_ports.files import FileMedium, make_folders

BLOCK = 512
LETTERS = b"abcdefgh"


class Ram:
    """A block device in memory, which calls `before` before each write or erasure."""

    def __init__(self, data):
        self.data = data
        self.before = None

    def readblocks(self, n, buf, offset=0):
        at = n * BLOCK + offset
        buf[:] = self.data[at : at + len(buf)]

    def writeblocks(self, n, buf, offset=0):
        self._tell()
        at = n * BLOCK + offset
        self.data[at : at + len(buf)] = buf

    def ioctl(self, op, arg):
        if op == 6:  # erase
            self._tell()
        return (0, 0, 0, 0, len(self.data) // BLOCK, BLOCK, 0)[op]

    def _tell(self):
        if self.before:
            self.before()


class Board:
    """A file system of that class at /board; None: a folder of the host."""

    def __init__(self, kind, data=None):
        self._kind = kind
        self.root = (os.getenv("MOTE_TEST_TMP") or "/tmp/mote") + "/board"
        if kind:
            self.ram = Ram(data or bytearray(b"\xff" * BLOCK * 120))
            if data is None:
                kind.mkfs(self.ram)
            self.root = "/board"
            os.mount(kind(self.ram), self.root)

    def medium(self):
        make_folders(self.root + "/state/log")
        return FileMedium(self.root + "/state/log", 3, 8192)

    def cut(self):
        """The board after a power cut now."""
        if self._kind:
            os.umount(self.root)
            return Board(self._kind, bytearray(self.ram.data))
        return self

    def end(self):
        """No board any more."""
        if self._kind:
            os.umount(self.root)


def _kinds():
    found = [getattr(os, name) for name in ("VfsLfs2", "VfsFat") if hasattr(os, name)]
    return found or [None]


def _read(medium, segment, n):
    buf = memoryview(bytearray(n))
    medium.read(segment, 0, buf)
    return bytes(buf)


def test_what_was_synced_is_there_after_a_power_cut():
    for kind in _kinds():
        board = Board(kind)
        medium = board.medium()
        for _ in range(2):
            medium.erase(0)
            medium.program(0, 0, b"a" * 700)
            medium.program(0, 1000, b"b")
            medium.program(1, 0, b"x" * 100)
            assert _read(medium, 0, 2) == b"aa"
            medium.erase(2)
            medium.sync()
            medium.close()
            board = board.cut()
            medium = board.medium()
            assert _read(medium, 0, 1002) == b"a" * 700 + b"\xff" * 300 + b"b\xff"
            assert _read(medium, 1, 101) == b"x" * 100 + b"\xff"
            assert _read(medium, 2, 1) == b"\xff"
            medium.erase(1)
        medium.close()
        board.end()


def _work(medium, safe):
    """Fill and empty two segments in turn; `safe` gets what was synced of each."""
    for n in range(8):
        segment, letter = n // 2 % 2, LETTERS[n : n + 1]
        if n % 2 == 0:
            safe[segment] = None  # anything may be there
            medium.erase(segment)
        for i in range(3):
            held = safe[segment] or b""
            medium.program(segment, len(held), letter * (50 + 400 * i))
            medium.sync()
            safe[segment] = held + letter * (50 + 400 * i)


def _cut(kind, number):
    """(block device, what was synced) before that write of `_work`; None if it has fewer."""
    board = Board(kind)
    medium = board.medium()
    medium.program(2, 0, b"other")
    medium.sync()
    safe, found, count = [b"", b"", b"other"], [], [0]

    def before():
        if count[0] == number:
            found.append((bytearray(board.ram.data), list(safe)))
        count[0] += 1

    board.ram.before = before
    _work(medium, safe)
    board.ram.before = None
    medium.close()
    board.end()
    return found[0] if found else None


def test_a_power_cut_before_any_write_loses_nothing_that_was_synced():
    for kind in _kinds():
        number = 0
        found = _cut(kind, number) if kind else None
        while found:
            board = Board(kind, found[0])
            medium = board.medium()
            for segment, data in enumerate(found[1]):
                if data is not None:
                    assert _read(medium, segment, len(data)) == data, (kind, number)
            medium.close()
            board.end()
            number += 1
            found = _cut(kind, number)
        assert kind is None or number > 50


def test_a_full_file_system_is_a_log_error():
    for kind in _kinds():
        board = Board(kind)
        medium = board.medium()
        medium.program(0, 0, b"kept")
        medium.sync()
        if kind:
            text = str(raises(LogError, medium.program, 1, 0, bytes(BLOCK * 120)))
            assert text == "/board/state/log/0001.log: no space left"
        medium.erase(1)
        medium.program(1, 0, b"anew")
        medium.sync()
        medium.close()
        board = board.cut()
        medium = board.medium()
        assert [_read(medium, n, 5) for n in (0, 1)] == [b"kept\xff", b"anew\xff"]
        medium.close()
        board.end()
