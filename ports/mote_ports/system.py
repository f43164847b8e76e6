"""The platform's own part: clock, durable files, locks, TLS, signals."""

import sys

if sys.implementation.name == "micropython":
    from .micropython.system import (
        certificate_of,
        exit_signals,
        flush,
        lock_file,
        now_ms,
        sync_folder,
        tls_context,
        unlock_file,
    )
else:
    from .cpython.system import (
        certificate_of,
        exit_signals,
        flush,
        lock_file,
        now_ms,
        sync_folder,
        tls_context,
        unlock_file,
    )

__all__ = (
    "certificate_of",
    "exit_signals",
    "flush",
    "lock_file",
    "now_ms",
    "sync_folder",
    "tls_context",
    "unlock_file",
)
