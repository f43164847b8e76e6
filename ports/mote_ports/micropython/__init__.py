"""MicroPython: what its unix port gives; boards come beside it."""
