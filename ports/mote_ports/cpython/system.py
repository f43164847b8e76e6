"""Clock, durable files, locks, TLS and signals on CPython."""

import asyncio
import fcntl
import os
import signal
import ssl
import time

from ..certificates import named, read_pair, read_pem

_LOOK_S = 5


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


def tls_context(ca_file, client_cert, client_key):
    """A client context that verifies the server, by `ca_file` or the system's trust store.

    `client_cert` and `client_key` are ours, or both empty. Raises ValueError; its text begins with
    the key of [broker] that is wrong.
    """
    if ca_file:
        named("ca_file", read_pem, ca_file, "CERTIFICATE")
    context = ssl.create_default_context(cafile=ca_file or None)
    if client_cert:
        read_pair(client_cert, client_key)
        try:
            context.load_cert_chain(client_cert, client_key)
        except ssl.SSLError as e:
            raise ValueError("client_key: %s: %s" % (client_key, e.reason or e)) from None
    return context


async def certificate_of(host, port):
    """The certificate (DER) that a server shows, trusted or not, or None.

    It was refused already, on another connection; this one asks for it, so that people can be
    told what is wrong with it, and sends nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        opening = asyncio.open_connection(host, port, ssl=context)
        _, writer = await asyncio.wait_for(opening, _LOOK_S)
    except OSError:
        return None
    try:
        return writer.get_extra_info("ssl_object").getpeercert(True)
    finally:
        writer.transport.abort()


def exit_signals(stop):
    """Call `stop()` on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
