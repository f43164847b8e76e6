// The firmware's side of the panel; see panel.h.
#include <string.h>
#include "common/board.h"
#include "common/panel.h"

bool panel_present(void) {
    return PANEL->magic == PANEL_MAGIC && PANEL->version == PANEL_VERSION;
}

void panel_init(void) {
    if (!panel_present() && PANEL->next_cause == 0) {
        memset((void *)PANEL, 0, sizeof(panel_t));
    }
    PANEL->reset_cause = PANEL->next_cause ? PANEL->next_cause : PANEL_RESET_POWER;
    PANEL->watchdog_ms = 0;
    PANEL->boots += 1;
    panel_note_reset(PANEL_RESET_HARD); // the one that nobody announces
    for (unsigned i = 0; i < PANEL_PINS; i++) {
        PANEL->pins[i].pull = PANEL_NO_PULL;
        panel_drive(i, PANEL_IN, PANEL_LOW);
    }
}

uint32_t panel_reset_cause(void) {
    return PANEL->reset_cause;
}

void panel_note_reset(uint32_t cause) {
    PANEL->next_cause = cause;
}

// An open drain that lets go counts as high: what it switches has a resistor to the supply. A pin
// that is an input drives nothing: what it switched goes off.
static uint8_t driven(uint8_t mode, uint8_t out) {
    return mode == PANEL_IN ? PANEL_LOW : out;
}

static void note(unsigned pin, uint8_t level, uint32_t us) {
    uint32_t number = PANEL->journal_count;
    volatile panel_change_t *change = &PANEL->journal[number % PANEL_JOURNAL];
    change->number = number;
    change->us = us;
    change->pin = (uint8_t)pin;
    change->level = level;
    __sync_synchronize(); // for the host's processors, too
    PANEL->journal_count = number + 1; // last: what is counted is whole
}

void panel_drive(unsigned pin, uint8_t mode, uint8_t out) {
    volatile panel_pin_t *p = &PANEL->pins[pin];
    uint8_t before = driven(p->mode, p->out), after = driven(mode, out);
    p->mode = mode;
    p->out = out;
    if (before == after) {
        return;
    }
    p->changed_us = (uint32_t)board_now_us();
    if (after) {
        p->rises += 1;
    } else {
        p->falls += 1;
    }
    note(pin, after, p->changed_us);
}

int panel_level(unsigned pin) {
    const volatile panel_pin_t *p = &PANEL->pins[pin];
    if (p->mode == PANEL_OUT || (p->mode == PANEL_OPEN_DRAIN && p->out == PANEL_LOW)) {
        return p->out;
    }
    return p->in == PANEL_FLOATING ? p->pull == PANEL_PULL_UP : p->in == PANEL_HIGH;
}
