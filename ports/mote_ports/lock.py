"""One process owns a state folder.

CPython locks the file `lock` with the kernel's help, which the kernel gives back when the process
ends, however it ends. MicroPython can't, so that both runtimes also own the folder `owner`, which
holds one empty file whose name says who owns it: process id and start time (proc(5),
/proc/pid/stat) and the boot they belong to. An owner that is gone, or whose id another process
has now, does not count. Without /proc (a board: one process) there is nobody to lock against.

Why two processes can't both take it. A process makes a folder of its own with its name in it and
renames it to `owner`, which is one step and succeeds only where `owner` is absent or empty. A
dead owner goes by removing the file with *its* name, never the folder: if somebody was faster,
that name is not there any more, and nobody else's can be removed by mistake. What is left open:
processes that do not see one another in /proc (containers) are kept apart by the kernel's lock
only, hence not if one of them runs on MicroPython.
"""

import os

from .system import lock_file, unlock_file

_GONE = (2, 3)  # ENOENT, ESRCH
_TAKEN = (17, 39)  # EEXIST, ENOTEMPTY
_TRIES = 16  # each is lost to a process that took the folder in between, and has ended


class Locked(Exception):
    """Another process owns the folder; the text names it."""


def _text(path):
    """What the kernel's file holds, or None if there is none. Raises OSError."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except ValueError:  # MP: no file has such a name
        return None
    except OSError as e:
        if e.errno in _GONE:
            return None
        raise


def _process(name):
    """(id, start time) of a living process, or None."""
    stat = _text("/proc/%s/stat" % name)
    if not stat:
        return None
    # the program's name, in parentheses, may hold anything
    fields = stat[stat.rfind(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):  # ended, and nobody asked how
        return None
    return str(stat.split()[0], "utf-8"), str(fields[19], "utf-8")


def _boot():
    """A short name of this boot, "" if the system does not tell."""
    return str((_text("/proc/sys/kernel/random/boot_id") or b"")[:8], "utf-8")


def _lives(name, boot):
    """True if the owner of that name does."""
    number, _, rest = name.partition("-")
    start, _, booted = rest.partition("-")
    # a sandbox may hide the boot from one of the two
    return (not boot or not booted or boot == booted) and _process(number) == (number, start)


def _names(folder):
    """What is in the folder; nothing if it is absent."""
    try:
        return os.listdir(folder)
    except OSError as e:
        if e.errno in _GONE:
            return []
        raise


def _drop(act, path):
    """Remove with `act`, whatever comes of it."""
    try:
        act(path)
    except OSError:
        pass


class Lock:
    """Owns `folder` from `take` to `release`."""

    def __init__(self, folder):
        self._path = folder + "/lock"
        self._owner = folder + "/owner"
        self._handle = None  # what system.lock_file gave
        self._name = None  # ours, in the folder `owner`

    def take(self):
        """Raises Locked if another living process has it.

        A process that began anew in place (exec) may take it again.
        """
        handle = lock_file(self._path)
        if handle is None:
            raise self._locked()
        try:
            self._own()
        except Exception:
            unlock_file(handle)
            raise
        self._handle = handle

    def release(self):
        """Give it back, if it is ours."""
        if self._handle is None:
            return
        if self._name:
            _drop(os.remove, "%s/%s" % (self._owner, self._name))
            _drop(os.rmdir, self._owner)
        unlock_file(self._handle)
        self._handle = self._name = None

    def _own(self):
        """Become the owner, unless there is no /proc. Raises Locked."""
        process = _process("self")
        if process is None:
            return
        boot = _boot()
        name = "%s-%s-%s" % (process[0], process[1], boot)
        if name not in _names(self._owner):
            draft = "%s.%s" % (self._owner, name)
            try:
                os.mkdir(draft)
                open("%s/%s" % (draft, name), "wb").close()
                self._move(draft, boot)
            except Exception:
                _drop(os.remove, "%s/%s" % (draft, name))
                _drop(os.rmdir, draft)
                raise
        self._name = name

    def _move(self, draft, boot):
        """Put our folder in the place of nothing, or of dead owners."""
        for _ in range(_TRIES):
            for name in _names(self._owner):
                if _lives(name, boot):
                    raise self._locked()
                self._bury(name)
            try:
                os.rename(draft, self._owner)
                return
            except OSError as e:
                if e.errno not in _TAKEN:
                    raise
        raise self._locked()

    def _bury(self, name):
        try:
            os.remove("%s/%s" % (self._owner, name))
        except OSError as e:
            if e.errno not in _GONE:
                raise

    def _locked(self):
        """The exception that names the owner; it may not have put its name there yet."""
        boot = _boot()
        for name in _names(self._owner):
            if _lives(name, boot):
                return Locked("process %s owns %s" % (name.partition("-")[0], self._path))
        return Locked("another process owns %s" % self._path)
