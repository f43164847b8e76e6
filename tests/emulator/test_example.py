"""An example for other projects: an agent with a tool of its own, tested on emulated boards.

The fixtures come with mote-agent[emulator]. `pytest --board rv32 --board cortex-m3` runs it on
both boards.
"""

import asyncio

import pytest
from mote_host.providers import Call, Reply

pytestmark = pytest.mark.emulator

VALVE = 7
LEVEL = 1  # analog input: what is left in the tank
DOSER = f"""
import asyncio
from machine import ADC, Pin
from mote.tools import ONCE, READ, integer, tool

valve = Pin({VALVE}, Pin.OUT, value=0)
tank = ADC({LEVEL})

@tool("Dose fertilizer.", ONCE, integer("ml", 1, 20, "ml", "how much"), touches=("pin {VALVE}",))
async def dose(ml):
    valve.on()
    await asyncio.sleep_ms(10 * ml)
    valve.off()
    return "dosed %d ml" % ml

@tool("Read how full the tank is.", READ, touches=("adc {LEVEL}",))
def read_tank():
    return "%d %%" % (tank.read_u16() * 100 // 65535)
"""


class Gardener:
    """A model that doses, looks at the tank, and reports what the tools said."""

    name = "gardener"

    def __init__(self, ml: int) -> None:
        self._calls = [Call("a", "dose", {"ml": ml}), Call("b", "read_tank", {})]

    async def complete(self, request):
        """The next call, or the report of all results."""
        results = [message.text for message in request.messages if message.role == "tool"]
        if len(results) < len(self._calls):
            return Reply("", (self._calls[len(results)],))
        return Reply(", ".join(results))

    async def aclose(self):
        """Nothing to give back."""


async def test_the_tool_opens_the_valve_for_as_long_as_it_should(agent, panel, pins):
    panel.adc[LEVEL] = 32768
    site = await agent({"doser": DOSER}, Gardener(ml=5))
    since = panel.changes
    answer = await site.ask("feed the plants")
    assert answer.text == "dosed 5 ml, 50 %"
    opened, closed = panel.journal(since)
    assert (opened.pin, opened.level, closed.level) == (VALVE, 1, 0)
    assert 49_000 <= closed.us - opened.us < 500_000


async def test_it_never_doses_twice(agent, pins, power_cut):
    site = await agent({"doser": DOSER}, Gardener(ml=20))
    asking = asyncio.create_task(site.ask("feed the plants"))
    while not pins[VALVE].value:
        await asyncio.sleep(0.001)
    await power_cut()
    answer = await asking
    assert "unknown" in answer.text
    assert pins[VALVE].rises == 1
    assert all(verdict.verified for verdict in site.verify())


async def test_a_dose_that_is_too_large_is_refused(agent, pins):
    site = await agent({"doser": DOSER}, Gardener(ml=21))
    answer = await site.ask("feed the plants a lot")
    assert "20" in answer.text
    assert pins[VALVE].rises == 0
