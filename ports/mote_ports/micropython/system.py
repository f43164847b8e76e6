"""Clock, durable files, locks, TLS and signals on MicroPython's unix port."""

import time

_NO_FILE = (2, 21, 22)  # ENOENT, EISDIR, EINVAL: what FAT and littlefs say of a folder

_clock = [time.ticks_ms(), 0]


def now_ms():
    """Milliseconds of a clock that never goes back and, unlike ticks_ms, never wraps.

    Call it at least once in half a period of ticks_ms (6 days where it has 30 bits).
    """
    ticks = time.ticks_ms()
    _clock[1] += time.ticks_diff(ticks, _clock[0])
    _clock[0] = ticks
    return _clock[1]


def flush(file):
    """Make an unbuffered file's bytes durable (on the unix port, flush is fsync)."""
    file.flush()


def sync_folder(path):
    """Make a folder's entries durable, where the system lets a folder be opened as a file.

    FAT and littlefs don't: there an entry is durable when its file is.
    """
    try:
        folder = open(path, "rb")  # noqa: SIM115
    except OSError as e:
        if e.errno in _NO_FILE:
            return
        raise
    try:
        folder.flush()
    finally:
        folder.close()


def lock_file(path):
    """MP: there is no flock; whoever asks gets a handle, and the folder's owner must do."""
    return path


def unlock_file(handle):
    """There is nothing to give back."""


def tls_context(ca_file, client_cert, client_key):
    """A client context that verifies the server by the certificates (PEM) in `ca_file`.

    `client_cert` (its first certificate is sent) and `client_key` are ours, or both empty. Raises
    ValueError; its text begins with the key of [broker] that is wrong.
    """
    import tls

    from ..certificates import named, read_pair, read_pem

    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    if not ca_file:
        raise ValueError("ca_file: needed: MicroPython has no trust store")
    # small builds of mbedTLS read DER only, one certificate at a time
    for cert in named("ca_file", read_pem, ca_file, "CERTIFICATE"):
        named("ca_file: " + ca_file, context.load_verify_locations, cert)
    context.verify_mode = tls.CERT_REQUIRED
    if client_cert:
        cert, key = read_pair(client_cert, client_key)
        named("client_key: " + client_key, context.load_cert_chain, cert, key)
    return context


async def certificate_of(host, port):
    """MP: mbedTLS drops what it refuses, and few builds could show it."""


def exit_signals(stop):
    """MP: the unix port has no signal handlers. SIGINT raises KeyboardInterrupt; SIGTERM ends
    the process at once, which the log survives like a power cut."""
