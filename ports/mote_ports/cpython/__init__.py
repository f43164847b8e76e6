"""CPython: what Linux and the standard library give."""
