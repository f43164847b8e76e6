"""Power cuts on the file medium: what a system with caches may leave of what was not synced."""

import copy
import hashlib
from typing import Any

from cuts import bytes_done
from disk import KINDS, Disk
from helpers import Random
from life import script
from mote_ports.files import FileMedium
from outside import World

FOLDER = "log"
Cut = tuple[int | None, int | None, int]  # bytes of the write, kind of crash, seed
Geometry = tuple[int, int, int]  # unit, segments, segment bytes


class DiskPoint:
    """A moment of a life on a disk. `operation` is (name, path, offset, data)."""

    def __init__(self, world: Any, disk: Disk, operation: Any, geometry: Geometry) -> None:
        self.world = world.copy()
        self.operation = operation
        self._geometry = geometry
        self._kept = _copied(disk)

    def cuts(self, random: Any, sample: int | None, each: bool = False) -> list[Cut]:
        """Each kind of crash, before the operation and at bytes of a write (`cuts.bytes_done`)."""
        done: list[int | None] = [None]
        if self.operation and self.operation[0] == "write":
            n = len(self.operation[3])
            done += bytes_done(n, self._geometry[0], random, sample, each)
        kinds: list[int | None] = [None, *KINDS]
        return [(byte, kind, random.below(65536)) for byte in done for kind in kinds]

    def next_life(self, cut: Cut, world: Any, most: int) -> tuple[FileMedium, list[Any]]:
        """(the medium that such a cut leaves, the points of a life on it, `most` of them)."""
        left = self._after(cut)
        if not most:
            return _medium(left, self._geometry), []
        watched = WatchedDisk(world, self._geometry, most, left)
        return _medium(watched, self._geometry), watched.points

    def _after(self, cut: Cut) -> Disk:
        byte, kind, seed = cut
        before = _copied(self._kept)
        if byte is not None:
            _, path, at, data = self.operation
            before._entries[path].change((at, data[:byte]))
        return before.crash(kind, Random(seed))

    def fingerprint(self, cut: Cut) -> bytes:
        """A hash of the disk that such a cut leaves."""
        found = hashlib.sha256()
        for path, node in sorted(self._after(cut)._entries.items()):
            content = bytes(node.seen) if node else b""
            found.update(b"%s %d %d " % (path.encode(), node is None, len(content)) + content)
        return found.digest()

    def name(self, cut: Cut) -> str:
        """What a person needs to find it again."""
        return f"{self.operation and self.operation[:3]}, cut {cut}"


class WatchedDisk(Disk):  # type: ignore[misc]
    """A disk, of each operation on which, and of what `world` tells, a point is kept."""

    def __init__(self, world: Any, geometry: Geometry, most: int | None, left: Disk) -> None:
        super().__init__()
        self._entries, self._durable = left._entries, left._durable
        self.points: list[DiskPoint] = []
        self._world = world
        self._geometry = geometry
        self._most = most
        world.watch = self._keep

    def _keep(self, *operation: Any) -> None:
        if self._most is None or len(self.points) < self._most:
            self.points.append(DiskPoint(self._world, self, operation, self._geometry))

    def write(self, node: Any, at: int, data: bytes) -> int:
        """Write, as the disk does."""
        path = next(name for name, other in self._entries.items() if other is node)
        self._keep("write", path, at, data)
        return int(super().write(node, at, data))

    def open(self, path: str, mode: str) -> Any:
        """Open, as the disk does."""
        if mode[0] != "r":
            self._keep("open", path, 0, b"")
        return super().open(path, mode)

    def flush(self, file: Any) -> None:
        """Flush, as the disk does."""
        self._keep("flush", "", 0, b"")
        super().flush(file)

    def sync_folder(self, path: str) -> None:
        """Sync the folder, as the disk does."""
        self._keep("sync_folder", "", 0, b"")
        super().sync_folder(path)


def watched_script(geometry: Geometry, rounds: int) -> list[DiskPoint]:
    """The points of a whole script on a disk."""
    world = World()
    disk = WatchedDisk(world, geometry, None, Disk(folder=FOLDER))
    script(_medium(disk, geometry), world, rounds)
    return disk.points


def _medium(disk: Disk, geometry: Geometry) -> FileMedium:
    unit, segments, size = geometry
    return FileMedium(FOLDER, segments, size, unit, disk)


def _copied(disk: Disk) -> Disk:
    other = Disk()
    entries = copy.deepcopy((disk._entries, disk._durable))
    other._entries, other._durable = entries
    return other
