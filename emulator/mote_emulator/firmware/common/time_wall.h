// Included by extmod/modtime.c: time.time() and time.localtime() from the board's clock.
#include "py/mphal.h"
#include "shared/timeutils/timeutils.h"

static mp_obj_t mp_time_time_get(void) {
    return mp_obj_new_int_from_ull(mp_hal_time_ns() / 1000000000);
}

static mp_obj_t mp_time_localtime_get(void) {
    timeutils_struct_time_t tm;
    timeutils_seconds_since_epoch_to_struct_time(mp_hal_time_ns() / 1000000000, &tm);
    const mp_int_t parts[] = {tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour,
                              tm.tm_min, tm.tm_sec, tm.tm_wday, tm.tm_yday};
    mp_obj_t items[MP_ARRAY_SIZE(parts)];
    for (size_t i = 0; i < MP_ARRAY_SIZE(parts); i++) {
        items[i] = MP_OBJ_NEW_SMALL_INT(parts[i]);
    }
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
