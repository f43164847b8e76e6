// Time: a board's clock, the date that goes with it, and MicroPython's functions on both.
#include "py/mphal.h"
#include "py/runtime.h"

#include "common/board.h"
#include "common/panel.h"

static uint64_t wall_at_reset;

// The panel's time is that of power-on. A board's may be in seconds, and seem to go back.
void wall_init(void) {
    bool given = panel_present() && PANEL->flags & PANEL_TIME;
    wall_at_reset = MAX(given ? PANEL->time_us : clock_host_us(), carried_wall_us);
}

uint64_t board_now_us(void) {
    uint64_t now = clock_us();
    carried_wall_us = wall_at_reset + now;
    return now;
}

uint64_t board_wall_us(void) {
    return wall_at_reset + board_now_us();
}

mp_uint_t mp_hal_ticks_us(void) {
    return (mp_uint_t)board_now_us();
}

mp_uint_t mp_hal_ticks_ms(void) {
    return (mp_uint_t)(board_now_us() / 1000);
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return (mp_uint_t)board_now_us();
}

uint64_t mp_hal_time_ns(void) {
    return board_wall_us() * 1000;
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t end = board_now_us() + us;
    while (board_now_us() < end) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    uint64_t end = board_now_us() + (uint64_t)ms * 1000;
    for (uint64_t now; (now = board_now_us()) < end;) {
        mp_event_wait_ms((mp_uint_t)((end - now + 999) / 1000));
    }
}
