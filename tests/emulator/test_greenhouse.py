"""The greenhouse around a board: what pins do to it, and what its sensors show."""

import pytest
from mote_device.world import AMBIENT, DRYING, FAN_COOLS, LAMP_HEATS, PUMPING
from mote_emulator.greenhouse import FAN, LAMP, PUMP, SENSOR, SOIL, Greenhouse


class _Pin:
    value = 0


class _Panel:
    """As much of a panel as there must be."""

    def __init__(self):
        self.pins = [_Pin() for _ in range(8)]
        self.adc = {}
        self.sensor = {}

    def add_device(self, address, registers=b""):
        assert address == SENSOR
        return self

    def __setitem__(self, registers, value):
        assert (registers.start, registers.stop) == (0, 2)
        self.raw = int.from_bytes(value, "big")

    def shown(self):
        """Degrees, as an LM75's driver reads them."""
        eighths = self.raw >> 5
        return (eighths - 2048 if eighths & 1024 else eighths) / 8


@pytest.fixture
def panel():
    return _Panel()


def test_the_sensors_show_the_house(panel):
    house = Greenhouse(panel, moisture=50)
    assert panel.adc[SOIL] == 32768
    assert panel.shown() == AMBIENT
    house.temperature = -25.0
    house.advance(0)
    assert panel.shown() == -25.0


def test_the_pump_wets_and_time_dries(panel):
    house = Greenhouse(panel, moisture=50)
    house.advance(10)
    assert house.moisture == pytest.approx(50 - 10 * DRYING)
    panel.pins[PUMP].value = 1
    house.advance(4)
    assert house.moisture == pytest.approx(50 - 14 * DRYING + 4 * PUMPING)
    house.advance(1000)
    assert house.moisture == 100
    panel.pins[PUMP].value = 0
    house.advance(1e6)
    assert house.moisture == 0
    assert panel.adc[SOIL] == 0


def test_lamp_and_fan_move_the_temperature(panel):
    house = Greenhouse(panel)
    panel.pins[LAMP].value = 1
    house.advance(1e4)
    assert house.temperature == pytest.approx(AMBIENT + LAMP_HEATS)
    panel.pins[FAN].value = 1
    house.advance(60)
    between = house.temperature
    house.advance(1e4)
    assert pytest.approx(house.temperature) == AMBIENT + LAMP_HEATS - FAN_COOLS
    assert house.temperature < between < AMBIENT + LAMP_HEATS
