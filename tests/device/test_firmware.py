"""The agent as firmware, from power-on to whatever ends it."""

import asyncio
import sys

import board
import virtual
from board import Adc, Board, I2c, Lan, MoteBoard, Pin, Reset, Watchdog, firmware, machine, packed
from gateway import TEXT
from helpers import pack_reply, raises
from mote.records import BOOT
from mote_device import ConfigError
from mote_device.greenhouse_pins import Greenhouse
from mote_device.settings import MAX_BYTES, Settings

WATER = pack_reply([("read_soil_moisture", {}), ("run_pump", {"seconds": 3})])
LOOK = pack_reply([("read_temperature", {}), ("set_lamp", {"on": True})])
AGAIN = "make it again on a host, from moted.toml"


def test_an_ask_moves_pins_and_is_answered():
    house = Board([(WATER, 2, 10), (TEXT, 0, 10)], board="greenhouse")

    async def go():
        assert await house.asked("1") == ("done", "done " * 300)

    house.run(go())
    assert Pin.levels == {4: 0, 2: 0, 3: 0}
    assert Pin.highs == {4: 1}
    frames = b"".join([bytes(frame) for frame in house.gateway.frames])
    assert b"38.0 %" in frames and b"the pump ran for 3 s" in frames
    assert house.said[0] == "bench, epoch 1, 1 records, 0 open turns"
    assert house.said[1:3] == ["network: 10.0.2.15", "connected, MQTT 5"]
    assert house.said[-1] == "stopped; the watchdog resets in 300 s; machine.reset() starts again"
    assert not Watchdog.late


def test_the_log_is_on_the_flash_and_outlives_the_power():
    house = Board([(LOOK, 2, 10), (TEXT, 0, 10)], board="greenhouse")

    async def go():
        await house.asked("1")

    house.run(go())
    assert Pin.levels[2] == 1  # nobody took the power away from the lamp
    boots = []

    async def second():
        await house.until(lambda: len(house.gateway.frames) > before)
        boots.extend([bytes(frame) for frame in house.gateway.frames[before:]])

    before = len(house.gateway.frames)
    house.run(second())
    assert "bench, epoch 2" in " ".join(house.said)
    boots = [frame for frame in boots if frame[2] == BOOT]
    assert len(boots) == 1 and b"lamp" in boots[0]
    assert Pin.levels == {4: 0, 2: 0, 3: 0}


def test_a_network_that_is_absent_at_boot_is_tried_again():
    house = Board()
    Lan.patience = 400
    house.run(house.online())
    assert "broker: no network: is the cable plugged in, is there a DHCP server?" in house.said
    assert not Watchdog.late


def test_a_broker_that_is_absent_at_boot_is_tried_again():
    house = Board()
    house.broker.down = True

    async def go():
        await house.until(lambda: "broker: refused" in house.said)
        house.broker.down = False
        await house.online()

    house.run(go())


def test_a_serial_line_is_the_link_where_one_is_configured():
    device = firmware.Board(Settings(Board(link=["uart", 1, 9600]).path), print)
    assert "SerialPort" in str(device.dial)


# -- what is wrong is one line, and no reset


def _said_at_once(data):
    house = Board()
    house.configure(data)

    async def never():
        raise AssertionError("the agent runs")

    other = never()
    house.run(other)
    other.close()
    assert len(house.said) == 1, house.said
    return house.said[0].replace(house.path, "FILE")


def test_a_configuration_that_is_no_good_is_one_line():
    good = packed({})
    for data, said in (
        (None, "FILE is missing: " + AGAIN),
        (b"", "FILE is damaged (cut short or over 0 bytes, at byte 0): " + AGAIN),
        (packed({}, 9), "FILE is of version 9, this firmware reads 1: " + AGAIN),
        (good[:-1] + b"\0", "FILE is damaged (checksum): " + AGAIN),
        (bytes(MAX_BYTES + 1), "FILE is over 8192 bytes: " + AGAIN),
        (packed({"modules": ["nosuch"]}), None),
    ):
        found = _said_at_once(data)
        if said:
            assert found == said, found
        else:
            assert found.startswith("[tools] modules: nosuch can't be imported"), found


def test_whatever_is_in_the_file_is_a_configuration_error():
    house, good = Board(), packed({})
    for n in range(len(good)):
        for data in (good[:n], good[:n] + bytes([good[n] ^ 0x41]) + good[n + 1 :]):
            house.configure(data)
            raises(ConfigError, Settings, house.path)


# -- what ends it


def test_an_end_that_nobody_wanted_resets_the_board():
    house = Board(watchdog_ms=2000)

    def broken(*_):
        raise OSError(5, "EIO")

    MoteBoard.Flash(0x100000, board.SEGMENTS * board.SEGMENT_BYTES).ioctl = broken

    async def never():
        await house.until(lambda: False)

    raises(Reset, house.run, never())
    text = "log: block device, init(1): "
    assert house.said[0].startswith(text), house.said
    assert house.said[1] == "if that does not help: reset the board, or write it a new image"
    assert house.said[2] == "this should not end; resetting in 10 s, Ctrl-C for the console"
    assert not Watchdog.late


def test_a_reset_by_the_watchdog_is_told():
    house = Board()
    machine.cause = 3
    house.run(house.online())
    assert house.said[0].startswith("the watchdog has reset this board")


def test_there_may_be_no_watchdog():
    house = Board(watchdog_ms=0)
    house.run(house.online())
    assert Watchdog.timeout_ms == 0
    assert house.said[-1] == "stopped; machine.reset() starts again"


# -- the greenhouse's pins


def test_what_the_sensors_show_is_what_is_read():
    house = Greenhouse()
    for raw, shown in ((0, 0.0), (65535, 100.0), (32768, 50.0)):
        Adc.raw = raw
        assert abs(house.moisture() - shown) < 0.01
    for raw, shown in ((0x1580, 21.5), (0, 0.0), (0xFFE0, -0.125), (0xE700, -25.0)):
        I2c.raw = raw
        assert house.temperature() == shown, (raw, house.temperature())
    I2c.raw, Adc.raw = 0x1580, 24903


def test_a_start_names_all_outputs_and_later_ones_those_that_were_on():
    house = Greenhouse()
    assert house.reset_outputs() == ["pump", "lamp", "fan"]
    assert house.reset_outputs() == []
    house.set_fan(True)
    assert Pin.levels[3] == 1
    assert house.reset_outputs() == ["fan"]
    assert Pin.levels[3] == 0


def test_a_pump_that_is_stopped_is_off():
    house = Greenhouse()
    house.reset_outputs()

    async def cut_short():
        running = asyncio.create_task(house.run_pump(3))
        await asyncio.sleep(1)
        assert Pin.levels[4] == 1
        running.cancel()
        await asyncio.sleep(0.1)

    virtual.run(cut_short())
    assert Pin.levels[4] == 0


def test_a_sensor_that_does_not_answer_is_an_error_that_the_model_reads():
    house = Board([(LOOK, 2, 10), (TEXT, 0, 10)], board="greenhouse")
    I2c.raw = None

    async def go():
        await house.asked("1")

    house.run(go())
    I2c.raw = 0x1580
    assert any(b"OSError" in bytes(frame) for frame in house.gateway.frames)


def test_both_greenhouses_declare_the_same_tools():
    from mote.tools import Toolset
    from mote_device.greenhouse import Greenhouse as Simulated

    assert Toolset(Greenhouse().tools).hash == Toolset(Simulated("x", 1).tools).hash


# -- memory


def test_what_only_a_turn_needs_is_dropped_after_it():
    house = Board([(LOOK, 2, 10), (TEXT, 0, 10)], board="greenhouse")
    passing = ("mote.body", "mote.lookup", "mote_ports.answers", "mote_ports.inbox")

    async def go():
        await house.asked("1")
        await asyncio.sleep(3)
        there = [name for name in passing if name in sys.modules]
        assert not there, there
        await house.asked("2")

    house.gateway.script.extend([(LOOK, 2, 10), (TEXT, 0, 10)])
    house.run(go())
