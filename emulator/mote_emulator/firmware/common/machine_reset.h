// Included by extmod/modmachine.c: reset, its cause, and idling.
#include "common/board.h"
#include "common/panel.h"

static void mp_machine_idle(void) {
    board_idle(1);
}

static void mp_machine_reset(void) {
    panel_note_reset(PANEL_RESET_SOFT);
    board_reset();
}

static mp_int_t mp_machine_reset_cause(void) {
    return panel_reset_cause();
}
