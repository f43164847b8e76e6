"""The greenhouse around a board: soil and air that follow its pins, and sensors that show them.

The physics are those of mote_device.world; here the pump, the lamp and the fan are pins of a
panel, the soil is an analog input, and the thermometer an LM75 on the I2C bus.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Protocol

from mote_device import world

LAMP, FAN, PUMP = 2, 3, 4  # pins of mote_device.greenhouse_pins
SOIL = 0  # analog input: 0..65535 for 0..100 %
SENSOR = 0x48
_STEP_S = 0.05


class PinLike(Protocol):
    """What a panel's pin has."""

    @property
    def value(self) -> int:
        """What the firmware drives."""


class ChannelsLike(Protocol):
    """A panel's analog inputs."""

    def __setitem__(self, channel: int, value: int, /) -> None: ...


class SensorLike(Protocol):
    """A device on a panel's I2C bus."""

    def __setitem__(self, registers: slice, value: bytes, /) -> None: ...


class PanelLike(Protocol):
    """As much of mote_emulator.panel.Panel as the greenhouse needs."""

    @property
    def pins(self) -> Sequence[PinLike]: ...

    @property
    def adc(self) -> ChannelsLike: ...

    def add_device(self, address: int, registers: bytes = b"") -> SensorLike: ...


class Greenhouse:
    """`moisture` in % and `temperature` in degrees C; make one for each panel."""

    def __init__(self, panel: PanelLike, moisture: float = 38.0) -> None:
        self.moisture = moisture
        self.temperature = world.AMBIENT
        self._panel = panel
        self._sensor = panel.add_device(SENSOR)
        self._show()

    def advance(self, seconds: float) -> None:
        """Let time pass with the pins as they are now."""
        wetting = world.PUMPING if self._is_on(PUMP) else 0.0
        moisture = self.moisture + (wetting - world.DRYING) * seconds
        self.moisture = min(max(moisture, 0.0), 100.0)
        target = world.AMBIENT
        target += world.LAMP_HEATS if self._is_on(LAMP) else 0.0
        target -= world.FAN_COOLS if self._is_on(FAN) else 0.0
        gap = self.temperature - target
        self.temperature = target + gap * math.exp(-seconds / world.TIME_CONSTANT_S)
        self._show()

    async def run(self, time_scale: float = 1.0) -> None:
        """Let it live, `time_scale` simulated seconds in one second, until cancelled."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(_STEP_S)
            now = time.monotonic()
            self.advance((now - last) * time_scale)
            last = now

    def _is_on(self, pin: int) -> bool:
        return self._panel.pins[pin].value == 1

    def _show(self) -> None:
        self._panel.adc[SOIL] = round(self.moisture * 65535 / 100)
        # LM75B data sheet, 7.4.3: 11 bits in two's complement, 1/8 degree, left-aligned
        self._sensor[0:2] = ((round(self.temperature * 8) & 0x7FF) << 5).to_bytes(2, "big")
