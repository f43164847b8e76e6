"""Media that count: what was programmed and what was erased, block by block."""

from littlefs import LFSConfig, LittleFS, UserContext

BLOCK = 4096  # bytes of an erase block


class Wear:
    """Bytes programmed, and erases of each block."""

    def __init__(self, blocks: int) -> None:
        self.programmed = 0
        self.erases = [0] * blocks

    def copy(self) -> "Wear":
        """The counts as they are now."""
        other = Wear(len(self.erases))
        other.programmed = self.programmed
        other.erases = list(self.erases)
        return other

    def since(self, before: "Wear") -> tuple[int, int]:
        """(bytes programmed, blocks erased) since `before` was copied."""
        return self.programmed - before.programmed, sum(self.erases) - sum(before.erases)

    def spread(self) -> int:
        """Erases of the block with the most, less those of the block with the fewest."""
        return max(self.erases) - min(self.erases)


class CountedChip:
    """A log medium in memory; a segment is a whole number of blocks."""

    def __init__(self, unit: int, segments: int, segment_bytes: int) -> None:
        self.unit = unit
        self.segments = segments
        self.segment_bytes = segment_bytes
        self.begun = 0  # segments whose header was programmed
        self._blocks = segment_bytes // BLOCK
        self._cells = [bytearray(b"\xff" * segment_bytes) for _ in range(segments)]
        self.wear = Wear(segments * self._blocks)

    def read(self, segment: int, offset: int, buf: memoryview) -> None:
        """Fill `buf` from there."""
        buf[:] = self._cells[segment][offset : offset + len(buf)]

    def program(self, segment: int, offset: int, data: memoryview) -> None:
        """Program whole units."""
        assert offset % self.unit == len(data) % self.unit == 0
        self._cells[segment][offset : offset + len(data)] = data
        self.wear.programmed += len(data)
        self.begun += offset == 0

    def erase(self, segment: int) -> None:
        """Erase all blocks of the segment."""
        self._cells[segment] = bytearray(b"\xff" * self.segment_bytes)
        for block in range(segment * self._blocks, (segment + 1) * self._blocks):
            self.wear.erases[block] += 1

    def sync(self) -> None:
        """All is there already."""


class CountedFlash(UserContext):
    """littlefs's block device in memory."""

    def __init__(self, blocks: int) -> None:
        super().__init__(blocks * BLOCK)
        self.wear = Wear(blocks)

    def prog(self, cfg: LFSConfig, block: int, off: int, data: bytes) -> int:
        """Program, and count."""
        self.wear.programmed += len(data)
        return super().prog(cfg, block, off, data)

    def erase(self, cfg: LFSConfig, block: int) -> int:
        """Erase, and count."""
        self.wear.erases[block] += 1
        return super().erase(cfg, block)


LITTLEFS = "littlefs as MicroPython sets it up: program and read unit 32, cache 128, 2 MiB"


def littlefs() -> tuple[LittleFS, Wear]:
    """A new file system of 512 blocks, with the parameters that MicroPython gives it."""
    flash = CountedFlash(512)
    fs = LittleFS(
        context=flash,
        block_size=BLOCK,
        block_count=512,
        read_size=32,
        prog_size=32,
        cache_size=128,
        lookahead_size=32,
        block_cycles=100,
    )
    return fs, flash.wear
