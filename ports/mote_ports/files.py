"""The file medium: a segment of the log is a file, which grows as the segment is programmed.

What a file does not hold yet reads as erased. Files are only ever appended to, emptied and
written anew, because that is what copy-on-write file systems (littlefs) do cheaply and what can
tear nothing but the newest bytes. Errors of the file system become LogError.
"""

import os

from mote.log import LogError

from .system import flush, sync_folder

_ERASED = b"\xff" * 64


def make_folders(path):
    """Create a folder and those above it. Raises OSError."""
    parts = path.split("/")
    for i in range(1, len(parts) + 1):
        folder = "/".join(parts[:i])
        if folder and not exists(folder):
            os.mkdir(folder)


def exists(path):
    """True if something is at `path`."""
    try:
        os.stat(path)
    except OSError:
        return False
    return True


class FileMedium:
    """A log medium in `folder`: `segments` files of at most `segment_bytes`."""

    def __init__(self, folder, segments, segment_bytes, unit=1):
        self.segments = segments
        self.segment_bytes = segment_bytes
        self.unit = unit
        self._folder = folder
        self._number = -1
        self._file = None  # of segment `_number`
        self._dirty = -1  # the segment that was programmed last
        self._read_only = False

    def read_only(self):
        """Never create or change a file. Returns self."""
        self._read_only = True
        return self

    def _path(self, segment):
        return "%s/%04d.log" % (self._folder, segment)

    def _open(self, segment):
        """The segment's file, or None if there is none."""
        if segment != self._number:
            self.close()
            path = self._path(segment)
            if not exists(path):
                return None
            self._file = open(path, "rb" if self._read_only else "r+b", buffering=0)  # noqa: SIM115
            self._number = segment
        return self._file

    def close(self):
        """Give back the file handle."""
        if self._file:
            self._file.close()
        self._file, self._number = None, -1

    def read(self, segment, offset, buf):
        """Fill `buf`; what was never programmed reads as 0xFF."""
        n = 0
        try:
            file = self._open(segment)
            if file:
                file.seek(offset)
                n = file.readinto(buf) or 0
        except OSError as e:
            raise LogError("%s: %s" % (self._path(segment), e))
        while n < len(buf):
            step = min(len(_ERASED), len(buf) - n)
            buf[n : n + step] = _ERASED[:step]
            n += step

    def program(self, segment, offset, data):
        """Write `data` behind what the segment holds."""
        try:
            file = self._open(segment)
            if file is None or self._read_only:
                raise LogError("%s can't be written" % self._path(segment))
            end = file.seek(0, 2)
            while end < offset:  # a sealed tail: its hole is erased bytes
                end += file.write(_ERASED[: min(len(_ERASED), offset - end)])
            file.seek(offset)
            self._dirty = segment
            done = 0
            while done < len(data):
                done += file.write(data[done:])
        except OSError as e:
            raise LogError("%s: %s" % (self._path(segment), e))

    def erase(self, segment):
        """Empty the segment."""
        try:
            self.close()
            open(self._path(segment), "wb").close()
            sync_folder(self._folder)
        except OSError as e:
            raise LogError("%s: %s" % (self._path(segment), e))

    def sync(self):
        """Make durable what was programmed, and what is open: another life may have left it."""
        if self._read_only:
            return
        try:
            if self._file:
                flush(self._file)
            if self._dirty not in (-1, self._number):
                flush(self._open(self._dirty))
        except OSError as e:
            raise LogError("%s: %s" % (self._path(self._number), e))
