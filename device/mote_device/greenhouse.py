"""The simulated greenhouse board of a process: its tools, over the physics in `world`."""

import asyncio
import time

from .greenhouse_tools import tools_of
from .world import World


class Greenhouse:
    """A board has `tools` and `reset_outputs()`, which names the outputs that it switched off."""

    def __init__(self, world_file, time_scale):
        self._settings = (world_file, time.time, time_scale)
        self._scale = time_scale
        self._world = None
        self.tools = tools_of(self)

    def world(self):
        """The world; its file is made when it is first needed, not when tools are listed."""
        if self._world is None:
            self._world = World(*self._settings)
        return self._world

    def reset_outputs(self):
        """What the reset of the chip does to its pins."""
        return self.world().reset_outputs()

    def moisture(self):
        """Of the soil, in %."""
        return self.world().moisture()

    def temperature(self):
        """Of the air, in degrees C."""
        return self.world().temperature()

    async def run_pump(self, seconds):
        """Run it, and wait until it has stopped."""
        self.world().start_pump(seconds)
        await asyncio.sleep(seconds / self._scale)

    def set_lamp(self, on):
        """Switch the lamp."""
        self.world().set_lamp(on)

    def set_fan(self, on):
        """Switch the fan."""
        self.world().set_fan(on)
