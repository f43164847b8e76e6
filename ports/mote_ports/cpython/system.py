"""Clock, durable files, locks, TLS and signals on CPython."""

import asyncio
import fcntl
import os
import signal
import ssl
import time


def now_ms():
    """Milliseconds of a clock that never goes back."""
    return time.monotonic_ns() // 1000000


def flush(file):
    """Make an unbuffered file's bytes durable."""
    os.fsync(file.fileno())


def sync_folder(path):
    """Make a folder's entries durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock_file(path):
    """Lock a file, created if need be, for as long as this process lives.

    Returns a handle for `unlock_file`, or None if another handle has the lock. Never remove the
    file: somebody may be about to lock it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        if isinstance(e, BlockingIOError):
            return None
        raise
    return fd


def unlock_file(handle):
    """Give back what `lock_file` took."""
    os.close(handle)


def tls_context(ca_file):
    """A client context that verifies the server, by `ca_file` or the system's trust store."""
    return ssl.create_default_context(cafile=ca_file or None)


def exit_signals(stop):
    """Call `stop()` on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
