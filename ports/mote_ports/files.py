"""The file medium: a segment of the log is a file, which grows as the segment is programmed.

What a file does not hold yet reads as erased. Files are only ever appended to, emptied and
written anew, because that is what copy-on-write file systems (littlefs) do cheaply and what can
tear nothing but the newest bytes. Errors of the file system become LogError.

Theory of operation. For each segment the medium knows what a power cut could still undo:

    UNKNOWN --read or programmed--> ENTRY     another life may have left it in a cache
    UNKNOWN, FAILED ------emptied-> ENTRY     content and the folder's entry are due
    SAFE -----------------emptied-> SAFE      a cut may bring back what was there: the log knows
    SAFE -------------programmed--> CONTENT   content is due
    ENTRY, CONTENT --------synced--> SAFE
    ENTRY, CONTENT ---sync failed--> FAILED   nobody knows what of it is durable
    any -------------erase failed--> FAILED

A system that failed to write back says so once and may then pass the lost bytes off as durable.
So a FAILED segment takes no byte until it is erased, and `sync` goes on failing until another
segment is erased or programmed: what failed has to be written again, elsewhere.

The file that is written stays open beside the one that is read, for a file that is closed before
it is synced may lose its error with its last handle.
"""

import os

from mote.const import const
from mote.log import LogError

from . import system
from .reasons import os_reason

_UNKNOWN = const(0)
_SAFE = const(1)
_CONTENT = const(2)
_ENTRY = const(3)
_FAILED = const(4)

_ABSENT = (2, 20)  # ENOENT, ENOTDIR
_FULL = const(28)  # ENOSPC
_ERASED = b"\xff" * 64


class FileSystem:
    """The real file system. What stands in for it has these methods; they raise OSError."""

    def open(self, path, mode):
        """An unbuffered binary file: `seek`, `readinto`, `write`, `close`."""
        return open(path, mode, buffering=0)

    def exists(self, path):
        """True if something is at `path`."""
        return exists(path)

    def mkdir(self, path):
        """Create a folder."""
        os.mkdir(path)

    def flush(self, file):
        """Make an open file's content durable."""
        system.flush(file)

    def sync_folder(self, path):
        """Make a folder's entries durable."""
        system.sync_folder(path)


def make_folders(path, fs=None):
    """Create a folder and those above it, durably. Raises OSError."""
    fs = fs or FileSystem()
    parts = path.split("/")
    parent = "." if parts[0] else "/"
    for i in range(1, len(parts) + 1):
        folder = "/".join(parts[:i])
        if not folder:
            continue
        try:
            fs.mkdir(folder)
        except OSError:
            if not fs.exists(folder):
                raise
        else:
            fs.sync_folder(parent)
        parent = folder


def exists(path):
    """True if something is at `path`. Raises OSError if that can't be told."""
    try:
        os.stat(path)
    except OSError as e:
        if e.errno in _ABSENT:
            return False
        raise
    return True


class FileMedium:
    """A log medium in `folder`: `segments` files of at most `segment_bytes`, on `fs`."""

    def __init__(self, folder, segments, segment_bytes, unit=1, fs=None):
        self.segments = segments
        self.segment_bytes = segment_bytes
        self.unit = unit
        self._folder = folder
        self._fs = fs or FileSystem()
        self._state = bytearray(segments)
        self._reader, self._reading = None, -1  # a file, and of which segment
        self._writer, self._writing = None, -1
        self._unsynced = False  # the writer has bytes that were not flushed
        self._lost = None  # why something that was programmed is not durable,
        self._told = False  # and whether a sync has said so
        self._read_only = False

    def read_only(self):
        """Never create or change a file. Returns self."""
        self._read_only = True
        return self

    def read(self, segment, offset, buf):
        """Fill `buf`; what was never programmed reads as 0xFF."""
        view = memoryview(buf)
        n = 0
        try:
            file = self._to_read(segment)
            if file:
                file.seek(offset)
                n = _read(file, view)
        except OSError as e:
            raise self._error(segment, e)
        while n < len(view):
            step = min(len(_ERASED), len(view) - n)
            view[n : n + step] = _ERASED[:step]
            n += step

    def program(self, segment, offset, data):
        """Write `data` behind what the segment holds; in between it stays erased."""
        self._may_change(segment)
        if self._state[segment] == _FAILED:
            raise LogError("%s: it failed, erase it first" % self._path(segment))
        try:
            file = self._to_write(segment)
            end = file.seek(0, 2)
            # before the first byte: one that fails may have written some
            self._state[segment] = max(self._state[segment], _CONTENT)
            self._unsynced = True
            while end < offset:  # a sealed tail; the system would fill its hole with zeros
                step = min(len(_ERASED), offset - end)
                _write(file, _ERASED[:step])
                end += step
            if offset < end:
                self._check_erased(file, segment, offset, min(end - offset, len(data)))
                file.seek(offset)
            _write(file, data)
        except OSError as e:
            raise self._error(segment, e)
        self._begun()

    def erase(self, segment):
        """Empty the segment."""
        self._may_change(segment)
        if segment == self._writing:
            self._unsynced = False
        try:
            self._create(segment)
        except OSError as e:
            self._state[segment] = _FAILED
            raise self._error(segment, e)
        self._begun()

    def sync(self):
        """Make durable what was erased and programmed, and what another life may have left."""
        if self._read_only:
            return
        for segment in range(self.segments):
            if self._state[segment] in (_CONTENT, _ENTRY):
                self._flush(segment)
        self._flush_entries()
        if self._lost:
            self._told = True
            raise LogError(self._lost)

    def close(self):
        """Give back the file handles. What can't be made durable makes the next sync fail."""
        self._close_reader()
        file, segment = self._writer, self._writing
        self._writer, self._writing = None, -1
        if file is None:
            return
        try:
            try:
                if self._unsynced:
                    self._flush_file(file, segment)
            finally:
                file.close()
        except OSError as e:
            self._lose(segment, e)
        self._unsynced = False

    # -- files

    def _path(self, segment):
        return "%s/%04d.log" % (self._folder, segment)

    def _error(self, segment, e):
        return LogError("%s: %s" % (self._path(segment), os_reason(e)))

    def _existing(self, segment, mode):
        """The segment's file, or None if there is none. Raises OSError."""
        try:
            file = self._fs.open(self._path(segment), mode)
        except OSError as e:
            if e.errno in _ABSENT:
                return None
            raise
        if self._state[segment] == _UNKNOWN:
            self._state[segment] = _ENTRY
        return file

    def _to_read(self, segment):
        """A file to read the segment from, or None."""
        if segment == self._writing:
            return self._writer
        if segment != self._reading:
            self._close_reader()
            self._reader = self._existing(segment, "rb")
            if self._reader:
                self._reading = segment
        return self._reader

    def _to_write(self, segment):
        """The segment's file, created if there is none."""
        if segment != self._writing:
            self.close()
            file = self._existing(segment, "r+b")
            if file is None:
                self._create(segment)
            else:
                self._writer, self._writing = file, segment
        return self._writer

    def _create(self, segment):
        self.close()
        # readable, and open from now on: on littlefs the emptying and the new content are one
        self._writer = self._fs.open(self._path(segment), "w+b")
        self._writing = segment
        if self._state[segment] not in (_SAFE, _CONTENT):
            self._state[segment] = _ENTRY

    def _close_reader(self):
        file = self._reader
        self._reader, self._reading = None, -1
        if file:
            file.close()

    def _may_change(self, segment):
        if self._read_only:
            raise LogError("%s: opened for reading only" % self._path(segment))

    def _check_erased(self, file, segment, offset, n):
        """A torn tail may end in erased bytes, which may be programmed like any others."""
        found = bytearray(n)
        file.seek(offset)
        _read(file, memoryview(found))
        if bytes(found).strip(b"\xff"):
            raise LogError("%s: programmed twice at offset %d" % (self._path(segment), offset))

    # -- what is durable

    def _flush(self, segment):
        try:
            file = self._to_read(segment)
            if file is None:
                raise OSError(_ABSENT[0], "removed by somebody")
            self._flush_file(file, segment)
        except OSError as e:
            self._lose(segment, e)

    def _flush_file(self, file, segment):
        if segment == self._writing:
            self._unsynced = False  # if this fails, no second try counts
        self._fs.flush(file)
        if self._state[segment] == _CONTENT:
            self._state[segment] = _SAFE

    def _flush_entries(self):
        entries = [n for n in range(self.segments) if self._state[n] == _ENTRY]
        try:
            if entries:
                self._fs.sync_folder(self._folder)
        except OSError as e:
            for segment in entries:
                self._lose(segment, e)
            return
        for segment in entries:
            self._state[segment] = _SAFE

    def _lose(self, segment, e):
        self._state[segment] = _FAILED
        self._lost = "%s: not durable: %s" % (self._path(segment), os_reason(e))
        self._told = False

    def _begun(self):
        """Something else than what failed was erased or programmed."""
        if self._told:
            self._lost, self._told = None, False


def _read(file, view):
    """Fill `view` as far as the file goes; returns how far."""
    done = 0
    while done < len(view):
        n = file.readinto(view[done:])
        if not n:
            break
        done += n
    return done


def _write(file, data):
    """Write all of `data`, which the system may take in pieces."""
    view = memoryview(data)
    done = 0
    while done < len(view):
        n = file.write(view[done:])
        if not n:
            raise OSError(_FULL, "nothing was written")
        done += n
