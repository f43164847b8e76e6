"""The greenhouse on a board's pins: the same tools as the simulated one, on hardware.

A capacitive moisture sensor at ADC 0 (0..65535 is 0..100 %), an LM75 on I2C 0, relays at pins 2
(lamp), 3 (fan) and 4 (pump), active high.
"""

import asyncio

from machine import ADC, I2C, Pin

from .greenhouse_tools import tools_of

_SENSOR = 0x48  # address of an LM75 with its address pins at ground (LM75B data sheet, 7.3)
_TEMPERATURE = 0  # its register: 11 bits, two's complement, in 1/8 degree, left-aligned in 16
_OUTPUTS = (("pump", 4), ("lamp", 2), ("fan", 3))


class Greenhouse:
    """A board has `tools` and `reset_outputs()`, which names the outputs that it switched off."""

    def __init__(self):
        self._soil = ADC(0)
        self._bus = I2C(0)
        self._pins = None  # {name: Pin}, once they are outputs
        self.tools = tools_of(self)

    def reset_outputs(self):
        """Switch all outputs off. Of what a reset left on the chip keeps no trace: all are named.

        Later on, without a reset in between, those that were on.
        """
        first = self._pins is None
        if first:
            self._pins = {name: Pin(number, Pin.OUT, value=0) for name, number in _OUTPUTS}
        was_on = []
        for name, _ in _OUTPUTS:
            if first or self._pins[name].value():
                was_on.append(name)
            self._pins[name].value(0)
        return was_on

    def moisture(self):
        """Of the soil, in %."""
        return self._soil.read_u16() * 100 / 65535

    def temperature(self):
        """Of the air, in degrees C. Raises OSError if the sensor does not answer."""
        raw = int.from_bytes(self._bus.readfrom_mem(_SENSOR, _TEMPERATURE, 2), "big") >> 5
        return (raw - 2048 if raw & 1024 else raw) / 8

    async def run_pump(self, seconds):
        """Run it, and wait until it has stopped; whatever ends this stops it."""
        pump = self._pins["pump"]
        pump.value(1)
        try:
            await asyncio.sleep_ms(int(seconds * 1000))
        finally:
            pump.value(0)

    def set_lamp(self, on):
        """Switch the lamp."""
        self._pins["lamp"].value(on)

    def set_fan(self, on):
        """Switch the fan."""
        self._pins["fan"].value(on)
