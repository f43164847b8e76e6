"""Tools of a board in tests: a dispenser that counts what it gave out, each portion by its number.

The counter is a chip on the I2C bus, outside of the board: it keeps its content when the power
goes.
"""

import machine
from mote.tools import IDEMPOTENT, ONCE, READ, integer, tool

COUNTER = 0x40
_bus = machine.I2C(0)
_valve = machine.Pin(7, machine.Pin.OUT, value=0)


@tool("Dispense one portion.", ONCE, integer("portion", 0, 255))
def dispense(portion):
    """One pulse of the valve, which the counter sees."""
    _valve.on()
    given = _bus.readfrom_mem(COUNTER, portion, 1)[0]
    _bus.writeto_mem(COUNTER, portion, bytes([given + 1]))
    _valve.off()
    return "portion %d" % portion


@tool("Look at the counter.", READ)
def look():
    """Any reading."""
    return "0x%02x" % _bus.readfrom_mem(COUNTER, 0, 1)[0]


@tool("Hang the interpreter.", IDEMPOTENT)
def hang():
    """Only the watchdog gets out of here."""
    while True:
        pass
