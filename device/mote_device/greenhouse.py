"""The simulated greenhouse board: its tools, over the physics in `world`."""

import asyncio
import time

from mote.tools import IDEMPOTENT, ONCE, READ, boolean, number, tool

from .world import World


class Greenhouse:
    """A board has `tools` and `reset_outputs()`, which names the outputs that it switched off."""

    def __init__(self, world_file, time_scale):
        self._settings = (world_file, time.time, time_scale)
        self._world = None
        self.tools = _make_tools(self.world, time_scale)

    def world(self):
        """The world; its file is made when it is first needed, not when tools are listed."""
        if self._world is None:
            self._world = World(*self._settings)
        return self._world

    def reset_outputs(self):
        """What the reset of the chip does to its pins."""
        return self.world().reset_outputs()


def _make_tools(world, scale):
    @tool("Read the soil moisture.", READ, touches=("adc 0",))
    def read_soil_moisture():
        return "%.1f %%" % world().moisture()

    @tool("Read the air temperature.", READ, touches=("i2c 0",))
    def read_temperature():
        return "%.1f C" % world().temperature()

    @tool(
        "Run the water pump: dispenses water onto the soil.",
        ONCE,
        number("seconds", 0.1, 30, "s", "how long the pump runs"),
        timeout_s=60,
        touches=("pin 4",),
    )
    async def run_pump(seconds):
        world().start_pump(seconds)
        await asyncio.sleep(seconds / scale)
        return "the pump ran for %s s" % seconds

    @tool(
        "Switch the grow lamp on or off.",
        IDEMPOTENT,
        boolean("on", "whether the lamp is on"),
        touches=("pin 5",),
    )
    def set_lamp(on):
        world().set_lamp(on)
        return "the lamp is %s" % ("on" if on else "off")

    @tool(
        "Switch the fan on or off.",
        IDEMPOTENT,
        boolean("on", "whether the fan is on"),
        touches=("pin 6",),
    )
    def set_fan(on):
        world().set_fan(on)
        return "the fan is %s" % ("on" if on else "off")

    return [read_soil_moisture, read_temperature, run_pump, set_lamp, set_fan]
