// Included by extmod/modos.c: os.urandom() from the board's source of entropy.
#include "py/mperrno.h"

#include "common/board.h"

static mp_obj_t mp_os_urandom(mp_obj_t size) {
    mp_int_t n = mp_obj_get_int(size);
    if (n < 0) {
        mp_raise_ValueError(NULL);
    }
    vstr_t bytes;
    vstr_init_len(&bytes, n);
    if (board_entropy((uint8_t *)bytes.buf, n) != (size_t)n) {
        mp_raise_OSError(MP_ENODEV); // never bytes that only look random
    }
    return mp_obj_new_bytes_from_vstr(&bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mp_os_urandom_obj, mp_os_urandom);
