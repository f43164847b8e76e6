"""The platform's own part: `now_ms`, `flush`, `sync_folder`, `tls_context`, `exit_signals`."""

import sys

if sys.implementation.name == "micropython":
    from .micropython.system import exit_signals, flush, now_ms, sync_folder, tls_context
else:
    from .cpython.system import exit_signals, flush, now_ms, sync_folder, tls_context

__all__ = ("exit_signals", "flush", "now_ms", "sync_folder", "tls_context")
