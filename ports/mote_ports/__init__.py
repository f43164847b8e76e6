"""What a platform gives the core: the driver, log media, streams, clock and randomness.

`driver`, `files`, `streams` and `lock` are written once for both runtimes; `system` has what
differs, from `cpython` or `micropython`.
"""
