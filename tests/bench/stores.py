"""Where `log` stores turns: mote's log, SQLite and a JSON file, on files, with counted costs.

Bytes are what the process handed to write calls, as the kernel counts them. Syncs are calls of
`os.fsync`, and for SQLite of its file's sync method; that it also syncs its folder a few times is
not counted.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import apsw
from mote_host.errors import MoteError
from mote_ports.files import FileMedium

from tests.bench import rig
from tests.bench.workload import WINDOW_TURNS, Commit, Device, Message, Stored

_IN_MEMORY = ("tmpfs", "ramfs", "rootfs")


@dataclass(slots=True)
class Cost:
    """What storing took, added up."""

    fsyncs: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Syncs:
    """Counts syncs, of whichever kind."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def of_this_process(self) -> Iterator[None]:
        """Count `os.fsync` too."""
        fsync = os.fsync

        def counted(fd: int) -> None:
            self.count += 1
            fsync(fd)

        with patch.object(os, "fsync", counted):
            yield


class Meter:
    """Adds what happens inside of `measured` to a cost."""

    def __init__(self, syncs: Syncs) -> None:
        self._syncs = syncs

    @contextmanager
    def measured(self, cost: Cost) -> Iterator[None]:
        """Only one at a time."""
        fsyncs, written = self._syncs.count, _written()
        began = time.perf_counter()
        yield
        cost.seconds += time.perf_counter() - began
        cost.fsyncs += self._syncs.count - fsyncs
        cost.bytes += _written() - written


def _written() -> int:
    """Bytes that this process has handed to write calls."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise MoteError("the kernel does not count what a process writes")


def file_system(folder: Path) -> str:
    """The type of the file system there. Raises MoteError if it is one in memory."""
    found = ("", "")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if folder.resolve().is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, kind)
    if found[1] in _IN_MEMORY:
        raise MoteError(f"{folder} is in memory ({found[1]}): nothing can be learnt about fsync")
    return found[1]


class MoteStore:
    """The rig with its log in `folder`. It says what the others have to store."""

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        folder.mkdir()
        self._medium = FileMedium(str(folder), rig.SEGMENTS, segment_bytes)
        self._device = Device.on(self._medium)

    def turn(self) -> Stored:
        """Run and store the next turn."""
        return self._device.turn()

    @property
    def log_seconds(self) -> float:
        """Time in the log's own methods so far."""
        return self._device.log.seconds

    def close(self) -> None:
        """Close its file."""
        self._medium.close()


class _CountingFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], syncs: Syncs):
        super().__init__("", name, flags)
        self._syncs = syncs

    def xSync(self, flags: int) -> None:
        self._syncs.count += 1
        super().xSync(flags)


class _CountingVfs(apsw.VFS):
    """SQLite's own file access, with syncs counted."""

    def __init__(self, syncs: Syncs) -> None:
        super().__init__("counting", "")
        self._syncs = syncs

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _CountingFile(name, flags, self._syncs)


class SqliteStore:
    """A table of records; WAL, synchronous=FULL; one transaction a commit."""

    def __init__(self, path: Path, syncs: Syncs) -> None:
        self._vfs = _CountingVfs(syncs)
        self._db = sqlite(path, "counting")
        self._db.execute("create table log (seq integer primary key, kind integer, frame blob)")

    def commit(self, commit: Commit) -> None:
        """One transaction."""
        rows = [(record.seq, record.kind, record.payload) for record in commit.records]
        self._db.execute("begin immediate")
        self._db.executemany("insert into log values (?, ?, ?)", rows)
        self._db.execute("commit")

    def close(self) -> None:
        """Close; SQLite makes a checkpoint."""
        self._db.close()


def sqlite(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection as all subjects have it."""
    db = apsw.Connection(str(path), vfs=vfs)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "full")
    return db


class JsonStore:
    """The messages of a window of turns, and the newest record, in a file written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns: list[list[Message]] = []

    def begin(self) -> None:
        """Begin a turn."""
        self._turns = [*self._turns, []][-WINDOW_TURNS:]

    def commit(self, commit: Commit) -> None:
        """Another file, synced, takes the place of the last; then its folder is synced."""
        self._turns[-1].extend(commit.messages)
        last = commit.records[-1]
        history = [message for messages in self._turns for message in messages]
        content = {"record": last.seq, "kind": last.kind, "messages": history}
        scratch = self._path.with_suffix(".new")
        with scratch.open("wb", buffering=0) as file:
            file.write(json.dumps(content).encode())
            os.fsync(file.fileno())
        scratch.rename(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
