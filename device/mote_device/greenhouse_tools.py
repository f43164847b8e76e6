"""The greenhouse's tools, as people and models see them; what is behind them is another matter."""

from mote.tools import IDEMPOTENT, ONCE, READ, boolean, number, tool


def tools_of(house):
    """The tools of a greenhouse, simulated or not.

    It has moisture() in %, temperature() in degrees C, set_lamp(on), set_fan(on) and run_pump(s),
    which is a coroutine.
    """

    @tool("Read the soil moisture.", READ, touches=("adc 0",))
    def read_soil_moisture():
        return "%.1f %%" % house.moisture()

    @tool("Read the air temperature.", READ, touches=("i2c 0",))
    def read_temperature():
        return "%.1f C" % house.temperature()

    @tool(
        "Run the water pump: dispenses water onto the soil.",
        ONCE,
        number("seconds", 0.1, 30, "s", "how long the pump runs"),
        timeout_s=60,
        touches=("pin 4",),
    )
    async def run_pump(seconds):
        await house.run_pump(seconds)
        return "the pump ran for %s s" % seconds

    @tool(
        "Switch the grow lamp on or off.",
        IDEMPOTENT,
        boolean("on", "whether the lamp is on"),
        touches=("pin 2",),
    )
    def set_lamp(on):
        house.set_lamp(on)
        return "the lamp is %s" % ("on" if on else "off")

    @tool(
        "Switch the fan on or off.",
        IDEMPOTENT,
        boolean("on", "whether the fan is on"),
        touches=("pin 3",),
    )
    def set_fan(on):
        house.set_fan(on)
        return "the fan is %s" % ("on" if on else "off")

    return [read_soil_moisture, read_temperature, run_pump, set_lamp, set_fan]
