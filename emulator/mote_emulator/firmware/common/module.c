// The module `mote_board`: the flash, and what a program may want to know of the board.
#include "py/mperrno.h"
#include "py/runtime.h"

#include "common/board.h"
#include "common/panel.h"

extern size_t board_heap_bytes;

// mote_board.Flash(offset, size): a region of the flash as a block device with MicroPython's
// extended protocol (vfs.AbstractBlockDev), in blocks of 4 KiB. What a real NOR chip can't do,
// setting a bit that is clear, is refused with EIO and counted.
typedef struct {
    mp_obj_base_t base;
    uint32_t offset, size, violations;
} board_flash_t;

static mp_obj_t flash_make_new(const mp_obj_type_t *type, size_t n, size_t nk, const mp_obj_t *a) {
    mp_arg_check_num(n, nk, 2, 2, false);
    uint32_t offset = mp_obj_get_int(a[0]), size = mp_obj_get_int(a[1]);
    int error = flash_open();
    if (error) {
        mp_raise_OSError(error);
    }
    if ((offset | size) % FLASH_BLOCK || offset > flash_size() || size > flash_size() - offset) {
        mp_raise_ValueError(MP_ERROR_TEXT("region is not whole blocks of the flash"));
    }
    board_flash_t *self = mp_obj_malloc(board_flash_t, type);
    self->offset = offset;
    self->size = size;
    self->violations = 0;
    return MP_OBJ_FROM_PTR(self);
}

// Where (block, buffer, offset=0) lies in the chip; false if that is not in the region.
static bool flash_locate(size_t n, const mp_obj_t *a, uint32_t flags, mp_buffer_info_t *buf, uint32_t *at) {
    board_flash_t *self = MP_OBJ_TO_PTR(a[0]);
    uint32_t block = mp_obj_get_int(a[1]), offset = n > 3 ? mp_obj_get_int(a[3]) : 0;
    mp_get_buffer_raise(a[2], buf, flags);
    if (block >= self->size / FLASH_BLOCK || offset > self->size) {
        return false;
    }
    uint32_t start = block * FLASH_BLOCK + offset;
    *at = self->offset + start;
    return start <= self->size && buf->len <= self->size - start;
}

static mp_obj_t flash_readblocks(size_t n, const mp_obj_t *a) {
    mp_buffer_info_t buf;
    uint32_t at;
    bool inside = flash_locate(n, a, MP_BUFFER_WRITE, &buf, &at);
    return MP_OBJ_NEW_SMALL_INT(inside ? -flash_read(at, buf.buf, buf.len) : -MP_EINVAL);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(flash_readblocks_obj, 3, 4, flash_readblocks);

// QEMU's chip sets bits, too; this is where it becomes like a real one.
static bool only_clears_bits(uint32_t at, const uint8_t *data, uint32_t n) {
    uint8_t now[64];
    for (uint32_t done = 0; done < n;) {
        uint32_t step = MIN(n - done, sizeof(now));
        if (flash_read(at + done, now, step)) {
            return false;
        }
        for (uint32_t i = 0; i < step; i++) {
            if (data[done + i] & ~now[i]) {
                return false;
            }
        }
        done += step;
    }
    return true;
}

static mp_obj_t flash_writeblocks(size_t n, const mp_obj_t *a) {
    board_flash_t *self = MP_OBJ_TO_PTR(a[0]);
    mp_buffer_info_t buf;
    uint32_t at;
    if (!flash_locate(n, a, MP_BUFFER_READ, &buf, &at) || (at | buf.len) % FLASH_UNIT) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    if (n <= 3 && flash_erase(at, (buf.len + FLASH_BLOCK - 1) & ~(FLASH_BLOCK - 1))) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EIO); // the simple protocol: a write erases first
    }
    if (!only_clears_bits(at, buf.buf, buf.len)) {
        self->violations++;
        return MP_OBJ_NEW_SMALL_INT(-MP_EIO);
    }
    return MP_OBJ_NEW_SMALL_INT(-flash_program(at, buf.buf, buf.len));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(flash_writeblocks_obj, 3, 4, flash_writeblocks);

static mp_obj_t flash_ioctl(mp_obj_t self_in, mp_obj_t op, mp_obj_t arg) {
    board_flash_t *self = MP_OBJ_TO_PTR(self_in);
    uint32_t block;
    switch (mp_obj_get_int(op)) {
        case 4: // MP_BLOCKDEV_IOCTL_BLOCK_COUNT
            return MP_OBJ_NEW_SMALL_INT(self->size / FLASH_BLOCK);
        case 5: // MP_BLOCKDEV_IOCTL_BLOCK_SIZE
            return MP_OBJ_NEW_SMALL_INT(FLASH_BLOCK);
        case 6: // MP_BLOCKDEV_IOCTL_BLOCK_ERASE
            block = mp_obj_get_int(arg);
            if (block >= self->size / FLASH_BLOCK) {
                return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
            }
            return MP_OBJ_NEW_SMALL_INT(-flash_erase(self->offset + block * FLASH_BLOCK, FLASH_BLOCK));
        default: // init, deinit, sync: what was programmed is in the chip
            return MP_OBJ_NEW_SMALL_INT(0);
    }
}
static MP_DEFINE_CONST_FUN_OBJ_3(flash_ioctl_obj, flash_ioctl);

static void flash_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    board_flash_t *self = MP_OBJ_TO_PTR(self_in);
    if (attr == MP_QSTR_violations && dest[0] == MP_OBJ_NULL) {
        dest[0] = mp_obj_new_int_from_uint(self->violations);
    } else {
        dest[1] = MP_OBJ_SENTINEL; // go on with the methods
    }
}

static const mp_rom_map_elem_t flash_locals[] = {
    { MP_ROM_QSTR(MP_QSTR_readblocks), MP_ROM_PTR(&flash_readblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_writeblocks), MP_ROM_PTR(&flash_writeblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_ioctl), MP_ROM_PTR(&flash_ioctl_obj) },
};
static MP_DEFINE_CONST_DICT(flash_locals_dict, flash_locals);

static MP_DEFINE_CONST_OBJ_TYPE(
    board_flash_type, MP_QSTR_Flash, MP_TYPE_FLAG_NONE,
    make_new, flash_make_new, attr, flash_attr, locals_dict, &flash_locals_dict);

static mp_obj_t board_heap(void) {
    return mp_obj_new_int_from_uint(board_heap_bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_0(board_heap_obj, board_heap);

static const mp_rom_map_elem_t module_globals[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_mote_board) },
    { MP_ROM_QSTR(MP_QSTR_Flash), MP_ROM_PTR(&board_flash_type) },
    { MP_ROM_QSTR(MP_QSTR_heap), MP_ROM_PTR(&board_heap_obj) },
    { MP_ROM_QSTR(MP_QSTR_UNIT), MP_ROM_INT(FLASH_UNIT) },
};
static MP_DEFINE_CONST_DICT(module_globals_dict, module_globals);

const mp_obj_module_t mote_board_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&module_globals_dict,
};
MP_REGISTER_MODULE(MP_QSTR_mote_board, mote_board_module);

// machine.unique_id(): the panel's, as a chip has one burnt in.
static mp_obj_t board_unique_id(void) {
    static const uint8_t none[8];
    return mp_obj_new_bytes(panel_present() ? (const uint8_t *)PANEL->uid : none, sizeof(none));
}
MP_DEFINE_CONST_FUN_OBJ_0(board_unique_id_obj, board_unique_id);
