"""The watchdog of each board: what hangs is reset, what feeds it is not."""

import pytest
from mote_emulator.console import BoardTraceback
from mote_emulator.panel import POWER_ON, WATCHDOG_RESET

START = "from machine import WDT\nwdt = WDT(timeout=%d)\n"
FEED_FOR_MS = """
import time
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < %d:
    wdt.feed()
    time.sleep_ms(20)
"""


async def test_a_program_that_hangs_is_reset(board, panel):
    machine = await board()
    await machine.console.submit(START % 200 + "while True: pass")
    await machine.wait_for(">>> ")
    assert (panel.boots, panel.reset_cause) == (2, WATCHDOG_RESET)
    said = await machine.execute("import machine; print(machine.reset_cause())")
    assert said == f"{WATCHDOG_RESET}\n"
    await machine.qmp.wait_for("WATCHDOG")


async def test_a_sleep_that_is_too_long_is_a_hang(board, panel):
    machine = await board()
    await machine.console.submit(START % 200 + "import time; time.sleep(3600)")
    await machine.wait_for(">>> ")
    assert panel.reset_cause == WATCHDOG_RESET


async def test_it_runs_on_after_the_program(board, panel):
    machine = await board()
    await machine.execute(START % 300)
    assert panel.watchdog_ms == 300
    await machine.wait_for("boot: ")
    await machine.wait_for(">>> ")
    assert panel.reset_cause == WATCHDOG_RESET


async def test_a_watchdog_that_is_fed_stays_quiet(board, panel):
    machine = await board()
    await machine.execute(START % 300 + FEED_FOR_MS % 900)
    assert panel.boots == 1


async def test_after_the_reset_it_is_off(board, panel):
    machine = await board()
    await machine.console.submit(START % 100 + "while True: pass")
    await machine.wait_for(">>> ")
    assert panel.watchdog_ms == 0
    await machine.execute("import time; time.sleep_ms(500)")
    assert panel.boots == 2


async def test_a_power_cut_is_one_even_while_it_is_armed(board, panel, power_cut):
    machine = await board()
    await machine.execute(START % 60000)
    await power_cut()
    assert (panel.reset_cause, panel.watchdog_ms) == (POWER_ON, 0)


async def test_another_time_counts_from_now(board, panel):
    machine = await board()
    await machine.execute(START % 100000)
    await machine.console.submit(START % 200 + "while True: pass")
    await machine.wait_for(">>> ")
    assert panel.boots == 2


@pytest.mark.parametrize("ms", [0, -1, 2000001])
async def test_times_that_it_can_not_do_are_refused(board, panel, ms):
    machine = await board()
    with pytest.raises(BoardTraceback, match="ValueError"):
        await machine.execute(START % ms)
    assert panel.watchdog_ms == 0
