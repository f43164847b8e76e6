"""Benchmarks: `python -m tests.bench [NAME...]`. Each has a file, and a line in `__main__`."""
