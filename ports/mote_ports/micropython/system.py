"""Durable files, locks, TLS and signals on MicroPython."""

from .clock import now_ms  # noqa: F401 (`system` hands it on)

_NO_FILE = (2, 21, 22)  # ENOENT, EISDIR, EINVAL: what FAT and littlefs say of a folder


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
    from ..certificates import named, read_pair, read_pem
    from .trust import trusting

    if not ca_file:
        raise ValueError("ca_file: needed: MicroPython has no trust store")
    trusted = named("ca_file", read_pem, ca_file, "CERTIFICATE")
    context = named("ca_file: " + ca_file, trusting, trusted)
    if client_cert:
        cert, key = read_pair(client_cert, client_key)
        named("client_key: " + client_key, context.load_cert_chain, cert, key)
    return context


async def certificate_of(host, port):
    """MP: mbedTLS drops what it refuses, and few builds could show it."""


def exit_signals(stop):
    """MP: the unix port has no signal handlers. SIGINT raises KeyboardInterrupt; SIGTERM ends
    the process at once, which the log survives like a power cut."""
