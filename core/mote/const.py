"""MicroPython's compile-time `const`, and what stands for it on CPython."""

try:
    from micropython import const
except ImportError:

    def const(value):
        """Return `value`; on MicroPython the compiler puts the number where the name stood."""
        return value
