"""What a board drives and senses, seen from the other side."""

import asyncio

import pytest
from mote_emulator.console import BoardTraceback
from mote_emulator.panel import (
    HARD_RESET,
    IN,
    JOURNAL,
    OPEN_DRAIN,
    OUT,
    PINS,
    POWER_ON,
    PULL_DOWN,
    PULL_UP,
    SOFT_RESET,
    Panel,
)

PIN_4 = "from machine import Pin\np = Pin(4, Pin.OUT)\n"
BUS = "from machine import I2C\ni2c = I2C(0)\n"


async def test_a_pin_that_the_firmware_drives_is_seen_and_noted(board, panel, pins):
    machine = await board()
    await machine.execute(PIN_4 + "p.on(); p.off(); p.value(1); p(0); p.toggle()")
    assert pins[4].mode == OUT
    assert pins[4].value == 1
    assert (pins[4].rises, pins[4].falls) == (3, 2)
    changes = panel.journal()
    assert [(c.number, c.pin, c.level) for c in changes] == [
        (n, 4, level) for n, level in enumerate((1, 0, 1, 0, 1))
    ]
    assert [c.us for c in changes] == sorted(c.us for c in changes)
    assert changes[-1].us == pins[4].changed_us


async def test_all_pins_are_different(board, pins):
    machine = await board()
    for n in (0, 1, 13, PINS - 1):
        await machine.execute(f"from machine import Pin\nPin({n}, Pin.OUT, value=1)")
    assert [n for n in range(PINS) if pins[n].value] == [0, 1, 13, PINS - 1]
    said = await machine.execute("print(Pin(3) is Pin(3), Pin(3) is Pin(2), Pin(Pin(3)), Pin(3))")
    assert said == "True False Pin(3) Pin(3)\n"


async def test_what_stays_as_it_was_is_no_change(board, panel):
    machine = await board()
    await machine.execute(PIN_4 + "p.off(); p.off(); Pin(4, Pin.OUT); Pin(4)")
    assert panel.changes == 0
    await machine.execute(PIN_4 + "p.on(); p.on(); Pin(4, Pin.OUT); Pin(4)")
    assert panel.changes == 1


async def test_the_first_value_comes_with_the_mode(board, panel, pins):
    machine = await board()
    await machine.execute("from machine import Pin\nPin(4, Pin.OUT, value=1)")
    await machine.execute("Pin(4, Pin.IN)\nPin(4).init(Pin.OUT, value=0)")
    assert [c.level for c in panel.journal()] == [1, 0]
    assert pins[4].value == 0


async def test_a_pin_reads_what_is_connected_to_it_else_its_pull(board, pins):
    machine = await board()
    read = "print(Pin(7).value(), end=' ')\n"
    await machine.execute("from machine import Pin\nPin(7, Pin.IN)")
    said = await machine.execute(
        f"{read}Pin(7, Pin.IN, Pin.PULL_UP)\n{read}Pin(7, Pin.IN, Pin.PULL_DOWN)\n{read}"
        f"Pin(7).pull(Pin.PULL_UP)\n{read}Pin(7, Pin.IN, None)\n{read}"
    )
    assert said == "0 1 0 1 0 "
    pins[7].drive(1)
    assert await machine.execute(read) == "1 "
    pins[7].drive(0)
    await machine.execute("Pin(7, Pin.IN, Pin.PULL_UP)")
    assert pins[7].pull == PULL_UP
    assert await machine.execute(read) == "0 "
    pins[7].release()
    assert await machine.execute(read) == "1 "
    await machine.execute("Pin(7).init(pull=Pin.PULL_DOWN)")
    assert pins[7].pull == PULL_DOWN
    assert await machine.execute("print(Pin(7).mode(), Pin(7).pull())") == f"{IN} {PULL_DOWN}\n"


async def test_an_open_drain_pulls_down_or_lets_go(board, pins):
    machine = await board()
    await machine.execute("from machine import Pin\np = Pin(9, Pin.OPEN_DRAIN, value=0)")
    pins[9].drive(1)
    assert pins[9].mode == OPEN_DRAIN
    assert await machine.execute("print(p())") == "0\n"
    assert await machine.execute("p.on(); print(p())") == "1\n"
    pins[9].drive(0)
    assert await machine.execute("print(p())") == "0\n"
    assert pins[9].value == 1


async def test_a_signal_can_stand_before_a_pin(board, pins):
    machine = await board()
    await machine.execute(
        "from machine import Pin, Signal\ns = Signal(Pin(3, Pin.OUT), invert=True)\ns.off()"
    )
    assert pins[3].value == 1
    assert await machine.execute("s.on(); print(s.value(), Pin(3).value())") == "1 0\n"


@pytest.mark.parametrize(
    "code",
    [
        "Pin(32)",
        "Pin(-1)",
        "Pin(1, 3)",
        "Pin(1, Pin.IN, 3)",
        "machine.ADC(8)",
        "machine.ADC(-1)",
        "machine.I2C(1)",
    ],
)
async def test_what_is_not_there_is_refused(board, panel, code):
    machine = await board()
    with pytest.raises(BoardTraceback, match="ValueError"):
        await machine.execute(f"import machine\nfrom machine import Pin\n{code}")
    assert panel.changes == 0


async def test_analog_inputs_read_what_was_set(board, panel):
    machine = await board()
    for channel in range(len(panel.adc)):
        panel.adc[channel] = 60000 - channel
    said = await machine.execute(
        "from machine import ADC\nprint([ADC(n).read_u16() for n in range(8)])"
    )
    assert said == f"{[60000 - n for n in range(8)]}\n"
    panel.adc[0] = 0xFFFF
    assert await machine.execute("print(ADC(0).read_u16())") == "65535\n"


async def test_registers_of_a_device_on_the_bus(board, panel):
    sensor = panel.add_device(0x40, bytes(range(16)))
    display = panel.add_device(0x3C)
    machine = await board()
    assert await machine.execute(BUS + "print(i2c.scan())") == f"{[0x3C, 0x40]}\n"
    assert await machine.execute("print(i2c.readfrom_mem(0x40, 5, 3))") == "b'\\x05\\x06\\x07'\n"
    assert await machine.execute("print(i2c.readfrom(0x40, 2))") == "b'\\x08\\t'\n"
    await machine.execute("b = bytearray(2)\ni2c.readfrom_mem_into(0x40, 1, b)")
    assert await machine.execute("print(b)") == "bytearray(b'\\x01\\x02')\n"
    assert (sensor.reads, sensor.writes) == (3, 0)
    await machine.execute("i2c.writeto_mem(0x3c, 0x10, b'abc')")
    assert await machine.execute("print(i2c.writeto(0x3c, b'\\x20xy'))") == "3\n"
    assert (display[0x10:0x13], display[0x20:0x22], display[0x22]) == (b"abc", b"xy", b"\0")
    assert (display.reads, display.writes) == (0, 2)
    sensor[5] = 0x99
    sensor[0xFE:] = b"\x01\x02"
    await machine.execute("i2c.writeto(0x40, b'\\x05')\ni2c.readfrom_into(0x40, b)")
    assert await machine.execute("print(b, i2c.readfrom_mem(0x40, 254, 3))") == (
        "bytearray(b'\\x99\\x06') b'\\x01\\x02\\x00'\n"
    )


async def test_nothing_answers_at_an_address_where_nothing_is(board, panel):
    sensor = panel.add_device(0x40)
    machine = await board()
    sensor.remove()
    for call in ("readfrom_mem(0x40, 0, 1)", "writeto(0x40, b'')", "readfrom(0x41, 1)"):
        with pytest.raises(BoardTraceback, match=r"OSError.*ENODEV"):
            await machine.execute(f"{BUS}i2c.{call}")
    assert await machine.execute("print(i2c.scan())") == "[]\n"


async def test_a_reset_lets_go_of_all_pins_and_says_why(board, panel, pins):
    machine = await board()
    on = PIN_4 + "p.on()"
    cause = "import machine; print(machine.reset_cause())"
    assert (panel.boots, panel.reset_cause) == (1, POWER_ON)
    await machine.execute(on)
    await machine.reset()
    await machine.wait_for(">>> ")
    assert (panel.boots, panel.reset_cause) == (2, HARD_RESET)
    assert await machine.execute(cause) == f"{HARD_RESET}\n"
    assert (pins[4].mode, pins[4].value, pins[4].falls) == (IN, 0, 1)
    await machine.execute(on)
    await machine.console.submit("import machine; machine.reset()")
    await machine.wait_for(">>> ")
    assert await machine.execute(cause) == f"{SOFT_RESET}\n"
    assert [(c.pin, c.level) for c in panel.journal()] == [(4, 1), (4, 0), (4, 1), (4, 0)]


async def test_a_reset_that_nobody_announced_is_a_hard_one(board, panel):
    machine = await board()
    await machine.qmp.execute("system_reset")
    await machine.wait_for(">>> ")
    assert panel.reset_cause == HARD_RESET
    await machine.execute("from machine import WDT; WDT(timeout=60000)")
    await machine.reset()
    await machine.wait_for(">>> ")
    assert (panel.boots, panel.reset_cause) == (3, HARD_RESET)


async def test_a_power_cut_leaves_the_world_as_it_is(board, panel, pins, power_cut):
    panel.adc[2] = 777
    sensor = panel.add_device(0x40, b"x")
    pins[8].drive(1)
    machine = await board()
    await machine.execute(PIN_4 + "p.on()")
    await machine.kill()
    assert (pins[4].value, pins[4].rises) == (1, 1)
    await power_cut()
    assert (panel.boots, panel.reset_cause, pins[4].falls) == (2, POWER_ON, 1)
    said = await machine.execute(
        BUS + "from machine import ADC, Pin\n"
        "print(ADC(2).read_u16(), Pin(8, Pin.IN)(), i2c.readfrom_mem(0x40, 0, 1))"
    )
    assert said == "777 1 b'x'\n"
    assert sensor.reads == 1


async def test_the_journal_keeps_the_last_changes(board, panel):
    machine = await board()
    await machine.execute(PIN_4 + "for n in range(2 * 128 + 1): p.toggle()")
    assert panel.changes == 2 * JOURNAL + 1
    assert [c.number for c in panel.journal()] == list(range(JOURNAL + 1, 2 * JOURNAL + 1))
    assert [c.level for c in panel.journal(2 * JOURNAL - 1)] == [0, 1]
    assert panel.journal(2 * JOURNAL + 1) == []


async def test_the_id_is_the_panels(board):
    panel = Panel(uid=b"\x01\x02mote")
    try:
        machine = await board(panel=panel)
        said = await machine.execute("import machine; print(machine.unique_id())")
        await machine.kill()
    finally:
        panel.close()
    assert said == "b'\\x01\\x02mote\\x00\\x00'\n"


def test_a_bus_has_room_for_four_devices(panel):
    devices = [panel.add_device(0x40 + n) for n in range(4)]
    with pytest.raises(ValueError, match="4 devices"):
        panel.add_device(0x50)
    devices[1].remove()
    again = panel.add_device(0x51, b"new")
    assert again[0:4] == b"new\0"


def test_registers_take_as_many_bytes_as_they_are(panel):
    device = panel.add_device(0x40)
    with pytest.raises(ValueError, match="2 registers"):
        device[0:2] = b"abc"
    with pytest.raises(ValueError, match="one after the other"):
        device[0:4:2] = b"ab"


def test_only_levels_and_channels_that_are_there(panel):
    with pytest.raises(ValueError, match="0 or 1"):
        panel.pins[0].drive(2)
    with pytest.raises(IndexError):
        panel.adc[8] = 1


def test_changes_that_are_being_overwritten_are_left_out(panel):
    panel._page.set(0x7F8, 5)  # as if five had been noted, of which only the first is in its place
    assert [c.number for c in panel.journal()] == [0]


async def test_all_who_ask_for_the_heap_are_told(board, panel):
    await board()
    found = await asyncio.gather(*(panel.heap() for _ in range(3)))
    assert all(heap.used > 0 < heap.free for heap in found)
