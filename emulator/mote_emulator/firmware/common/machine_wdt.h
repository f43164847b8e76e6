// Included at the end of a board's watchdog.c: machine.WDT(id=0, timeout=5000).feed() over
//   static bool watchdog_start(uint32_t ms);   reset the machine `ms` after the last feed; again
//                                              with another time. False if there is no watchdog.
//   static void watchdog_feed(void);
//   WATCHDOG_LONGEST_MS
#include "common/panel.h"
#include "py/mperrno.h"
#include "py/runtime.h"

extern const mp_obj_type_t board_wdt_type;

static mp_obj_t wdt_make_new(const mp_obj_type_t *type, size_t n, size_t n_kw, const mp_obj_t *a) {
    enum { ID, TIMEOUT };
    static const mp_arg_t allowed[] = {
        { MP_QSTR_id, MP_ARG_INT, { .u_int = 0 } },
        { MP_QSTR_timeout, MP_ARG_INT, { .u_int = 5000 } },
    };
    mp_arg_val_t args[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all_kw_array(n, n_kw, a, MP_ARRAY_SIZE(allowed), allowed, args);
    mp_int_t ms = args[TIMEOUT].u_int;
    if (args[ID].u_int != 0 || ms < 1 || ms > WATCHDOG_LONGEST_MS) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such watchdog or timeout"));
    }
    if (!watchdog_start((uint32_t)ms)) {
        mp_raise_OSError(MP_ENODEV);
    }
    PANEL->watchdog_ms = (uint32_t)ms;
    panel_note_reset(PANEL_RESET_WATCHDOG);
    static const mp_obj_base_t wdt = { &board_wdt_type };
    return MP_OBJ_FROM_PTR(&wdt);
}

static mp_obj_t wdt_feed(mp_obj_t self) {
    (void)self;
    watchdog_feed();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(wdt_feed_obj, wdt_feed);

static const mp_rom_map_elem_t wdt_locals[] = {
    { MP_ROM_QSTR(MP_QSTR_feed), MP_ROM_PTR(&wdt_feed_obj) },
};
static MP_DEFINE_CONST_DICT(wdt_locals_dict, wdt_locals);

MP_DEFINE_CONST_OBJ_TYPE(board_wdt_type, MP_QSTR_WDT, MP_TYPE_FLAG_NONE, make_new, wdt_make_new,
    locals_dict, &wdt_locals_dict);
