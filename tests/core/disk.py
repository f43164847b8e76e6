"""A file system in memory that loses and mixes up, at a power cut, what was not synced.

It stands in for `mote_ports.files.FileSystem`. A file has a durable content, and the changes
since its last flush; a folder has durable entries. Operations (open that creates or empties,
write, flush, mkdir, remove, sync_folder) are counted from 0; `sizes` has how many bytes each
wrote, 1 for one that is no write. Closing a file makes nothing durable.
"""

from helpers import PowerCut, Random

# What a crash leaves of a file with changes that were not flushed.
OLD = 0  # none of them
EMPTY = 1  # only the emptying
NEW = 2  # all of them
PREFIX = 3  # the new content, cut short
SECTORS = 4  # the new content, in any 512 bytes of what was written zeros or what was there
RANGES = 5  # the same for ranges of any length, and of any size between the old and the new
REORDERED = 6  # any of them and not the others
KINDS = range(7)

_ENOENT, _EBADF, _EEXIST = 2, 9, 17


def _apply(data, change):
    """One change to a content: None empties it, (offset, bytes) writes."""
    if change is None:
        data[:] = b""
        return
    at, new = change
    if at > len(data):
        data.extend(bytes(at - len(data)))
    data[at : at + len(new)] = new


class _Node:
    """A file: what is durable of it, what everybody sees, and the changes in between."""

    def __init__(self, content=b""):
        self.durable = content
        self.seen = bytearray(content)
        self.forget()

    def forget(self):
        """Take the changes for durable."""
        self.changes = []
        self._dirty = bytearray(len(self.seen))  # 1: a crash may lose that byte

    def change(self, what):
        self.changes.append(what)
        _apply(self.seen, what)
        _apply(self._dirty, what and (what[0], b"\x01" * len(what[1])))

    def flush(self):
        self.durable = self.replayed()
        self.forget()

    def replayed(self, keep=None):
        """The durable content after the changes, or those of them for which keep() is true."""
        data = bytearray(self.durable)
        for what in self.changes:
            if keep is None or keep():
                _apply(data, what)
        return bytes(data)

    def torn(self, kind, random):
        """What a crash of that kind leaves of the content."""
        new, old = self.replayed(), self.durable
        emptied = None in self.changes
        kept = 0 if emptied else min(len(old), len(new))  # no crash cuts that off
        if kind in (OLD, EMPTY):
            return b"" if emptied and kind == EMPTY else old
        if kind == REORDERED:
            return self.replayed(lambda: random.below(2))
        if kind in (SECTORS, RANGES):
            new = self._holed(kind, new, random)
        if kind == RANGES and emptied and random.below(2):
            new += old[len(new) :]  # the new size did not get there
        if kind in (PREFIX, RANGES):
            new = new[: kept + random.below(len(new) - kept + 1)]
        return new

    def _holed(self, kind, new, random):
        out = bytearray(new)
        at = 0
        while at < len(new):
            end = min(len(new), at + (512 if kind == SECTORS else 1 + random.below(64)))
            before = (b"", self.durable)[random.below(2)]
            if random.below(2):
                for i in range(at, end):
                    if self._dirty[i : i + 1] == b"\x01":
                        out[i] = before[i] if i < len(before) else 0
            at = end
        return bytes(out)


class _File:
    """An open file."""

    def __init__(self, disk, node, writable):
        self.node = node
        self._disk = disk
        self._writable = writable
        self._at = 0

    def seek(self, offset, whence=0):
        self._at = offset + (0, self._at, len(self.node.seen))[whence]
        return self._at

    def readinto(self, buf):
        self._disk.check("read")
        n = max(0, min(len(buf), len(self.node.seen) - self._at, self._disk.piece))
        buf[:n] = self.node.seen[self._at : self._at + n]
        self._at += n
        return n

    def write(self, data):
        if not self._writable:
            raise OSError(_EBADF, "opened for reading")
        n = self._disk.write(self.node, self._at, bytes(data[: self._disk.piece]))
        self._at += n
        return n

    def close(self):
        self.node = None


class Disk:
    """A disk with the root and one durable folder. All it does follows from the seed."""

    def __init__(self, seed=1, folder="log"):
        self.piece = 1 << 20  # most bytes that one call of readinto or write moves
        self.writes = self.bytes_written = self.flushes = self.folder_syncs = 0
        self.sizes = []
        self._random = Random(seed)
        self._entries = {folder: None}  # what everybody sees: path -> _Node, None for a folder
        self._durable = {folder: None}
        self._cut = (-1, 0)
        self._off = False
        self._failures = []  # [operation, errno, drop, times]
        self._due = None  # the failure of the operation that runs

    def cut_at(self, operation, byte=0):
        """In that operation the power goes: it and all later ones raise PowerCut.

        `byte` bytes of a write happen; any other operation happens if it is not 0."""
        self._cut = (operation, byte)

    def fail(self, operation, errno=5, times=1, drop=True):
        """Let an operation raise OSError: the one of a number, or the next `times` of a name
        ("open", "read", "write", "flush", "mkdir", "remove", "sync_folder"; -1: all of them).

        A write that fails may do a part. A flush that fails drops what was due: everybody sees
        it until the crash, but no later flush makes it durable. With `drop=False` it stays due."""
        self._failures.append([operation, errno, drop, times])

    def heal(self):
        """No more failures."""
        self._failures = []

    def crash(self, kind=None, random=None):
        """Another Disk, with what a power cut now may leave; this one stays as it is.

        `kind`: one of KINDS for all files and entries, None: any for each."""
        random = random or self._random
        after = Disk(random.below(65536))
        after.piece = self.piece
        after._entries = {}
        for path in sorted(set(self._entries) | set(self._durable)):
            old, new = self._durable.get(path, 0), self._entries.get(path, 0)
            node = new if (random.below(2) if kind is None else kind != OLD) else old
            folder = path.rpartition("/")[0]
            if node == 0 or (folder and folder not in after._entries):
                continue
            if node:
                node = _Node(node.torn(random.below(7) if kind is None else kind, random))
            after._entries[path] = node
        after._durable = dict(after._entries)
        return after

    def _begin(self, name, size=1):
        """How much of the operation happens; then `_end` tells how it ended."""
        number = len(self.sizes)
        self.sizes.append(size)
        self._due = self._failure(name, number)
        if number == self._cut[0] and not self._off:
            self._off = True
            return min(size, self._cut[1])
        if self._off:
            return 0
        return self._random.below(max(1, size)) if self._due else size

    def _end(self):
        if self._off:
            raise PowerCut
        if self._due:
            raise OSError(self._due[1], "as told")

    def _failure(self, name, number):
        for failure in self._failures:
            if failure[0] in (name, number) and failure[3]:
                failure[3] -= 1
                return failure
        return None

    def check(self, name):
        """Raise what is due in an operation that changes nothing and is not counted."""
        self._due = self._failure(name, -1)
        self._end()

    def write(self, node, at, data):
        """What a file does: returns how much was written."""
        n = self._begin("write", len(data))
        if n:
            node.change((at, data[:n]))
        self.writes += 1
        self.bytes_written += n
        self._end()
        return n

    # -- what a FileSystem has, and remove

    def open(self, path, mode):
        node = self._entries.get(path, 0)
        folder = path.rpartition("/")[0]
        if (folder and folder not in self._entries) or (mode[0] == "r" and not node):
            raise OSError(_ENOENT, path)
        if mode[0] == "r":
            self.check("open")
        else:
            if self._begin("open"):
                node = self._entries[path] = node or _Node()
                node.change(None)
            self._end()
        return _File(self, node, mode != "rb")

    def exists(self, path):
        return path in self._entries

    def mkdir(self, path):
        if path in self._entries:
            raise OSError(_EEXIST, path)
        if self._begin("mkdir"):
            self._entries[path] = None
        self._end()

    def remove(self, path):
        if self._begin("remove"):
            del self._entries[path]
        self._end()

    def flush(self, file):
        self.flushes += 1
        if self._begin("flush"):
            file.node.flush()
        elif self._due and self._due[2]:
            file.node.forget()
        self._end()

    def sync_folder(self, path):
        path = "" if path in (".", "/") else path
        self.folder_syncs += 1
        if self._begin("sync_folder"):
            others = [e for e in self._durable.items() if e[0].rpartition("/")[0] != path]
            here = [e for e in self._entries.items() if e[0].rpartition("/")[0] == path]
            self._durable = dict(others + here)
        self._end()
