// The watchdog of the CMSDK. It counts down twice: at the first zero it raises the NMI, at the
// second it resets the board, with Python hung or interrupts off. DDI0479.
#include "common/board.h"
#include "cortex_m3.h"

#define LOAD REG32(0x40008000)
#define CONTROL REG32(0x40008008)
#define CLEAR REG32(0x4000800c)
#define CONTROL_ON 3 // NMI and reset; the counter runs while the NMI is enabled
#define TICKS_A_HALF_MS (CLOCK_HZ / 2000)
#define WATCHDOG_LONGEST_MS (0xffffffff / TICKS_A_HALF_MS)

static void watchdog_feed(void) {
    CLEAR = 1; // the count starts anew, and the NMI is forgotten
}

static bool watchdog_start(uint32_t ms) {
    LOAD = ms * TICKS_A_HALF_MS;
    CONTROL = CONTROL_ON;
    watchdog_feed();
    return true;
}

#include "common/machine_wdt.h"

// The NMI, half-way to the reset. A program that hangs does not look at the clock, which goes on
// after the reset from where it was seen last.
void watchdog_barks(void) {
    carried_wall_us = board_wall_us() + (uint64_t)PANEL->watchdog_ms * 1000 / 2;
}
