"""One process owns a state folder. The lock is a file that names its owner.

MP: neither flock nor a process id can be had, so the owner is what /proc says of "self" (process
id and start time), the same on both runtimes. An owner that is gone, or whose id another process
has now, does not count. Without /proc (a board: one process) there is nothing to lock against.
"""

import os

from .files import exists


class Locked(Exception):
    """Another process owns the folder; the text names it."""


def _process(name):
    """(id, start time) of a process as text (proc(5), /proc/pid/stat), or None."""
    try:
        with open("/proc/%s/stat" % name) as f:
            stat = f.read()
    except (OSError, ValueError):  # gone, or the lock's file holds no number
        return None
    fields = stat[stat.rfind(")") + 2 :].split()
    return stat.split()[0] + " " + fields[19]


class Lock:
    """Owns `folder` from `take` to `release`."""

    def __init__(self, folder):
        self._path = folder + "/lock"

    def take(self):
        """Raises Locked if another living process has it."""
        mine = _process("self")
        if mine is None:
            return
        owner = self._owner()
        if owner and owner != mine and _process(owner.split()[0]) == owner:
            raise Locked("process %s owns %s" % (owner.split()[0], self._path))
        draft = "%s.%s" % (self._path, mine.split()[0])
        with open(draft, "w") as f:
            f.write(mine)
        os.rename(draft, self._path)
        if self._owner() != mine:
            raise Locked("another process took %s at this moment" % self._path)

    def release(self):
        """Give it back, if it is ours."""
        if exists(self._path) and self._owner() == _process("self"):
            os.remove(self._path)

    def _owner(self):
        try:
            with open(self._path) as f:
                return f.read()
        except OSError:
            return None
