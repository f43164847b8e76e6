"""The flash chip of a simulated device: tests/core/chip.py, with accidents that need no plan."""

from collections.abc import Callable
from typing import Any

from chip import Chip


class Flash(Chip):  # type: ignore[misc]
    """A chip whose bits may flip anywhere; `died` is called when the power goes in it."""

    died: Callable[[], None] | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._wanted: int | None = None
        self._rotten: dict[tuple[int, int], int] = {}  # erased bytes that are not: their bits

    def cut_in(self, operation: int, byte: int | None, smear: Any) -> None:
        """As `cut`, with the byte taken modulo the operation's length."""
        self._wanted = byte
        self.cut(operation, None if byte is None else 0, smear)

    def rot(self, segment: int, bit: int) -> None:
        """Flip a bit at rest, erased ones too."""
        erased = self.cells[segment][bit >> 3] == 0xFF
        self.flip(segment, bit)
        if erased:
            self._rotten[segment, bit >> 3] = self.cells[segment][bit >> 3]

    def calm(self) -> None:
        """Forget what was planned."""
        self._cut = None
        self._failures.clear()

    def copy(self) -> "Flash":
        """An equal chip."""
        other = Flash(self.unit, self.segments, self.segment_bytes, self.block_bytes)
        other.cells = [bytearray(cells) for cells in self.cells]
        other._rotten = dict(self._rotten)
        return other

    def program(self, segment: int, offset: int, data: Any) -> None:
        """Program; a bit that flipped before is not raised by that."""
        hit = [key for key in self._rotten if key[0] == segment]
        hit = [key for key in hit if offset <= key[1] < offset + len(data)]
        for key in hit:
            self.cells[segment][key[1]] = 0xFF
        try:
            super().program(segment, offset, data)
        finally:
            for key in hit:
                self.cells[segment][key[1]] &= self._rotten.pop(key)

    def erase(self, segment: int) -> None:
        """Erase, and with it what was rotten."""
        for key in [key for key in self._rotten if key[0] == segment]:
            del self._rotten[key]
        super().erase(segment)

    def _begin(self, kind: str, segment: int, offset: int, n: int) -> Any:
        was_on = not self._off
        try:
            fault = super()._begin(kind, segment, offset, n)
        finally:
            if was_on and self._off and self.died:
                self.died()
        if fault and self._off:
            fault = (fault[0], (self._wanted or 0) % (n + 1), fault[2])
        return fault
