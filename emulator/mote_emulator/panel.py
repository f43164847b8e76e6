"""The world around an emulated board: what its pins drive, and what its sensors read.

The board's RAM is a file in memory that QEMU and this process share. Its last page is the panel
(firmware/common/panel.h), which each side reads and writes while the board runs. No path names the
file, so nothing is left behind however this process ends.
"""

import asyncio
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

RAM_BYTES = 16 * 1024 * 1024
PAGE_BYTES = 4096
PINS = 32
CHANNELS = 8
DEVICES = 4
JOURNAL = 128

# What machine.reset_cause() says.
POWER_ON, HARD_RESET, WATCHDOG_RESET, SOFT_RESET = 1, 2, 3, 4
IN, OUT, OPEN_DRAIN = 0, 1, 2
NO_PULL, PULL_UP, PULL_DOWN = 0, 1, 2

_MAGIC, _VERSION = 0x45544F4D, 1
_TIME_GIVEN = 1
_FLOATING = 2

_MAGIC_AT, _VERSION_AT, _HEAP_AT, _FLAGS_AT = 0x00, 0x04, 0x08, 0x0C
_TIME_AT, _UID_AT = 0x10, 0x18
_BOOTS_AT, _CAUSE_AT, _WATCHDOG_AT, _NEXT_CAUSE_AT = 0x20, 0x24, 0x28, 0x2C
_PINS_AT, _PIN_BYTES = 0x40, 16
_ADC_AT = 0x240
_ASKED_AT, _TOLD_AT, _USED_AT = 0x250, 0x254, 0x258  # then: free, largest free
_DEVICES_AT, _DEVICE_BYTES, _REGS_AT = 0x280, 272, 16
_COUNT_AT, _JOURNAL_AT, _CHANGE = 0x7F8, 0x800, struct.Struct("<IIBB6x")


class _Page:
    """Bytes, and 16- and 32-bit words, of the shared page."""

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        self._memory = memory
        self._at = at

    def at(self, offset: int) -> "_Page":
        return _Page(self._memory, self._at + offset)

    def read(self, offset: int, size: int) -> bytes:
        return self._memory[self._at + offset : self._at + offset + size]

    def write(self, offset: int, data: bytes) -> None:
        self._memory[self._at + offset : self._at + offset + len(data)] = data

    def number(self, offset: int, size: int = 4) -> int:
        return int.from_bytes(self.read(offset, size), "little")

    def set(self, offset: int, value: int, size: int = 4) -> None:
        self.write(offset, value.to_bytes(size, "little"))


class Pin:
    """One pin, seen from outside of the board."""

    def __init__(self, page: _Page) -> None:
        self._page = page

    @property
    def value(self) -> int:
        """What the firmware drives: 1 high (or an open drain let go), 0 low or an input."""
        return self._page.number(2, 1) if self.mode != IN else 0

    @property
    def mode(self) -> int:
        """IN, OUT or OPEN_DRAIN, as the firmware has set it up."""
        return self._page.number(0, 1)

    @property
    def pull(self) -> int:
        """NO_PULL, PULL_UP or PULL_DOWN, as the firmware has set it up."""
        return self._page.number(1, 1)

    @property
    def rises(self) -> int:
        """How often the firmware has driven it from 0 to 1 since the panel was made."""
        return self._page.number(4)

    @property
    def falls(self) -> int:
        """How often from 1 to 0; the reset that follows a power cut counts too."""
        return self._page.number(8)

    @property
    def changed_us(self) -> int:
        """When that last happened: microseconds since the board's reset, 32 bits of them."""
        return self._page.number(12)

    def drive(self, level: int) -> None:
        """Connect the pin to 0 or 1: what the firmware reads while it is an input."""
        if level not in (0, 1):
            raise ValueError("a pin is driven to 0 or 1")
        self._page.set(3, level, 1)

    def release(self) -> None:
        """Connect it to nothing: the firmware reads its pull, and 0 without one."""
        self._page.set(3, _FLOATING, 1)


class Channels:
    """The analog inputs: `adc[0] = 40000` is what machine.ADC(0).read_u16() returns."""

    def __init__(self, page: _Page) -> None:
        self._page = page

    def __getitem__(self, channel: int) -> int:
        return self._page.number(self._at(channel), 2)

    def __setitem__(self, channel: int, value: int) -> None:
        self._page.set(self._at(channel), value, 2)

    def __len__(self) -> int:
        return CHANNELS

    def _at(self, channel: int) -> int:
        if not 0 <= channel < CHANNELS:
            raise IndexError(f"channels are 0 to {CHANNELS - 1}")
        return 2 * channel


class Device:
    """A device on I2C bus 0 with 256 registers: `device[2] = 5`, `device[2:4] = b"ab"`."""

    def __init__(self, page: _Page, address: int) -> None:
        self.address = address
        self._page = page

    def __getitem__(self, registers: int | slice) -> bytes:
        where = _registers(registers)
        return self._page.read(_REGS_AT + where.start, len(where))

    def __setitem__(self, registers: int | slice, value: int | bytes) -> None:
        where = _registers(registers)
        data = bytes([value]) if isinstance(value, int) else value
        if len(data) != len(where):
            raise ValueError(f"{len(where)} registers can't take {len(data)} bytes")
        self._page.write(_REGS_AT + where.start, data)

    @property
    def reads(self) -> int:
        """Transfers in which the firmware read registers."""
        return self._page.number(4)

    @property
    def writes(self) -> int:
        """Transfers in which it wrote some."""
        return self._page.number(8)

    def remove(self) -> None:
        """Take it off the bus: the firmware gets OSError(ENODEV)."""
        self._page.set(0, 0, 1)


def _registers(wanted: int | slice) -> range:
    found = range(256)[wanted if isinstance(wanted, slice) else slice(wanted, wanted + 1)]
    if found.step != 1:
        raise ValueError("registers are taken one after the other")
    return found


@dataclass(frozen=True, slots=True)
class Heap:
    """The board's heap in bytes, after a collection; `largest` is the largest free block."""

    used: int
    free: int
    largest: int


@dataclass(frozen=True, slots=True)
class Change:
    """A pin that the firmware drove to another level, `us` microseconds after its reset."""

    number: int
    us: int
    pin: int
    level: int


class Panel:
    """A board's world; make one for each board, before its first power-on, and close it.

    Pins read as connected to nothing, analog inputs as 0, until they are set.
    """

    def __init__(self, uid: bytes = b"mote-emu") -> None:
        self._file = os.memfd_create("mote-board", os.MFD_CLOEXEC)
        os.ftruncate(self._file, RAM_BYTES)
        self._ram = mmap.mmap(self._file, RAM_BYTES)
        self._page = _Page(self._ram, RAM_BYTES - PAGE_BYTES)
        self.pins = tuple(Pin(self._page.at(_PINS_AT + _PIN_BYTES * n)) for n in range(PINS))
        self.adc = Channels(self._page.at(_ADC_AT))
        for pin in self.pins:
            pin.release()
        self._page.write(_UID_AT, uid[:8].ljust(8, b"\0"))
        self._page.set(_VERSION_AT, _VERSION)
        self._page.set(_MAGIC_AT, _MAGIC)

    @property
    def file(self) -> int:
        """The descriptor of the RAM, for QEMU to inherit."""
        return self._file

    @property
    def boots(self) -> int:
        """How often the firmware has started, for whatever cause."""
        return self._page.number(_BOOTS_AT)

    @property
    def reset_cause(self) -> int:
        """Why it started last: POWER_ON, HARD_RESET, WATCHDOG_RESET or SOFT_RESET."""
        return self._page.number(_CAUSE_AT)

    @property
    def watchdog_ms(self) -> int:
        """The time-out of its watchdog; 0 while that is not armed."""
        return self._page.number(_WATCHDOG_AT)

    def add_device(self, address: int, registers: bytes = b"") -> Device:
        """Put a device on the I2C bus; the rest of its registers are 0. At most 4 can be there."""
        for n in range(DEVICES):
            page = self._page.at(_DEVICES_AT + _DEVICE_BYTES * n)
            if not page.number(0, 1):
                page.write(0, bytes([0, address]) + bytes(14) + registers[:256].ljust(256, b"\0"))
                page.set(0, 1, 1)
                return Device(page, address)
        raise ValueError(f"the bus has {DEVICES} devices already")

    @property
    def changes(self) -> int:
        """How many changes the firmware has noted so far: the number of the next one."""
        return self._page.number(_COUNT_AT)

    def journal(self, since: int = 0) -> list[Change]:
        """The changes from number `since` on, oldest first; the last 128 are kept."""
        return list(self._journal(since))

    def _journal(self, since: int) -> Iterator[Change]:
        count = self.changes
        for number in range(max(since, count - JOURNAL), count):
            at = _JOURNAL_AT + _CHANGE.size * (number % JOURNAL)
            change = Change(*_CHANGE.unpack(self._page.read(at, _CHANGE.size)))
            if change.number == number:  # else the firmware has lapped us
                yield change

    async def heap(self, timeout_s: float = 5.0) -> Heap:
        """Have the firmware measure its heap when it next has nothing to do, in a second at most.

        Raises TimeoutError if it always has.
        """
        number = self._page.number(_ASKED_AT) + 1
        self._page.set(_ASKED_AT, number)
        async with asyncio.timeout(timeout_s):
            while self._page.number(_TOLD_AT) < number:  # noqa: ASYNC110 (memory tells nobody)
                await asyncio.sleep(0.005)
        return Heap(*(self._page.number(_USED_AT + 4 * n) for n in range(3)))

    def power_on(self, heap_bytes: int = 0, time_us: int | None = None) -> None:
        """Clear the RAM, as a board finds it, and set what it is to start with.

        A heap of 0 is the firmware's default; `time_us` is Unix time, None for the host's.
        """
        self._ram.madvise(mmap.MADV_REMOVE, 0, RAM_BYTES - PAGE_BYTES)
        self._page.set(_HEAP_AT, heap_bytes)
        self._page.set(_TIME_AT, time_us or 0, 8)
        self._page.set(_FLAGS_AT, 0 if time_us is None else _TIME_GIVEN)
        self._page.set(_NEXT_CAUSE_AT, 0)

    def announce_reset(self) -> None:
        """Somebody presses the reset button: that is the cause of the next start."""
        self._page.set(_NEXT_CAUSE_AT, HARD_RESET)

    def close(self) -> None:
        """Give the memory back; what is left of the board's RAM ends with it."""
        self._ram.close()
        os.close(self._file)
