"""A block device in memory, as MicroPython's ports offer their flash. Portable.

It has the extended protocol of `vfs.AbstractBlockDev`: with an offset, `readblocks` and
`writeblocks` take any part of a block and never erase; without one they take whole blocks, and a
write erases them first. It tells of a failure as told, because those of the ports do so in several
ways: they return a number or False, or raise OSError. A breach of the rules of NOR flash is an
AssertionError.
"""

INIT, DEINIT, SYNC, COUNT, SIZE, ERASE = 1, 2, 3, 4, 5, 6  # what `ioctl` is asked for


class BlockDevice:
    """`blocks` erase blocks of `block_bytes`, programmed in units of `unit` bytes.

    `cells` has all bytes. `calls` has what was called: ("read", block, offset, bytes), "write" in
    the same way, and (op, arg) of each `ioctl`. A call with an offset must stay in its block: the
    protocol does not say so, but file systems never cross, so nobody knows which devices can.
    """

    def __init__(self, block_bytes, blocks, unit):
        self.block_bytes = block_bytes
        self.blocks = blocks
        self.unit = unit
        self.cells = bytearray(b"\xff" * (block_bytes * blocks))
        self.calls = []
        self.done = None  # what calls return that succeed; a port may return 0 or True instead
        self._failures = {}  # [calls that succeed before, what comes then] by name

    def fail(self, what, result, after=0):
        """Let one call do nothing but return `result`, or raise it if it is an exception.

        `what`: "read", "write", or a number for `ioctl`. `after`: how many succeed before.
        """
        self._failures[what] = [after, result]

    def readblocks(self, block, buf, offset=None):
        """Fill `buf` from there."""
        failed, result = self._begin("read", ("read", block, offset, len(buf)))
        if failed:
            return result
        at = self._place(block, offset, len(buf))
        buf[:] = self.cells[at : at + len(buf)]
        return self.done

    def writeblocks(self, block, buf, offset=None):
        """Program `buf` there; whole blocks, given without an offset, are erased first."""
        n = len(buf)
        failed, result = self._begin("write", ("write", block, offset, n))
        if failed:
            return result
        at = self._place(block, offset, n)
        assert at % self.unit == n % self.unit == 0, "not aligned to the unit"
        erased = b"\xff" * n
        if offset is None:
            self.cells[at : at + n] = erased
        assert self.cells[at : at + n] == erased, "programmed twice"
        self.cells[at : at + n] = buf
        return self.done

    def ioctl(self, op, arg):
        """Answer a question, or erase a block. 0 is success; None, what it does not know."""
        failed, result = self._begin(op, (op, arg))
        if failed:
            return result
        if op == COUNT:
            return self.blocks
        if op == SIZE:
            return self.block_bytes
        if op == ERASE:
            at = self._place(arg, 0, self.block_bytes)
            self.cells[at : at + self.block_bytes] = b"\xff" * self.block_bytes
        return 0 if op in (INIT, DEINIT, SYNC, ERASE) else None

    def _begin(self, what, call):
        """Note a call; (True, result) if it is to fail. Raises what it is to raise."""
        self.calls.append(call)
        planned = self._failures.get(what)
        if planned is None:
            return False, None
        if planned[0]:
            planned[0] -= 1
            return False, None
        result = self._failures.pop(what)[1]
        if isinstance(result, Exception):
            raise result
        return True, result

    def _place(self, block, offset, n):
        """Where it begins in `cells`."""
        size = self.block_bytes
        if offset is None:
            assert n % size == 0, "not whole blocks"
            assert 0 <= block <= self.blocks - n // size, "no such block"
            return block * size
        assert 0 <= block < self.blocks, "no such block"
        assert 0 <= offset <= size - n, "over the end of the block"
        return block * size + offset
