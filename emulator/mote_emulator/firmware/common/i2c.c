// machine.I2C on the panel: I2C(0), a bus with up to four devices of 256 registers each. The first
// byte of a write selects a register, those behind it go there and on; a read goes on from the
// register that is selected. An address that nothing answers at is OSError(ENODEV).
#include "common/panel.h"
#include "extmod/modmachine.h"
#include "py/mperrno.h"
#include "py/runtime.h"

#define LONGEST 65536 // bytes of a transfer; a negative length comes here as one of 4 GiB

static uint8_t selected[PANEL_DEVICES];

static int find(uint16_t address) {
    for (int i = 0; i < PANEL_DEVICES; i++) {
        if (PANEL->devices[i].present && PANEL->devices[i].address == address) {
            return i;
        }
    }
    return -1;
}

static void read(int i, uint8_t *buf, size_t n) {
    while (n--) {
        *buf++ = PANEL->devices[i].regs[selected[i]++];
    }
}

// The buffers of one transfer, one after the other. Returns how many bytes of a write the device
// acknowledged, or a negative error number.
static int transfer(mp_obj_base_t *self, uint16_t address, size_t n, mp_machine_i2c_buf_t *bufs,
    unsigned int flags) {
    (void)self;
    int i = find(address);
    if (i < 0) {
        return -MP_ENODEV;
    }
    volatile panel_device_t *device = &PANEL->devices[i];
    int written = 0;
    for (; n--; bufs++) {
        if (bufs->len > LONGEST) {
            return -MP_EINVAL;
        }
        if (flags & MP_MACHINE_I2C_FLAG_READ) {
            read(i, bufs->buf, bufs->len);
            device->reads += 1;
            continue;
        }
        for (size_t at = 0; at < bufs->len; at++, written++) {
            if (written == 0) {
                selected[i] = bufs->buf[at];
            } else {
                device->regs[selected[i]++] = bufs->buf[at];
            }
        }
    }
    device->writes += written > 1;
    return written;
}

static mp_obj_t i2c_make_new(const mp_obj_type_t *type, size_t n, size_t n_kw, const mp_obj_t *a) {
    // scl, sda and freq are taken and mean nothing here.
    mp_arg_check_num(n, n_kw, 0, 1, true);
    if (n > 0 && mp_obj_get_int(a[0]) != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such bus"));
    }
    static const mp_obj_base_t bus = { &machine_i2c_type };
    (void)type;
    return MP_OBJ_FROM_PTR(&bus);
}

static void i2c_init(mp_obj_base_t *self, size_t n, const mp_obj_t *a, mp_map_t *named) {
    (void)self, (void)n, (void)a, (void)named;
}
static const mp_machine_i2c_p_t protocol = { .init = i2c_init, .transfer = transfer };

MP_DEFINE_CONST_OBJ_TYPE(machine_i2c_type, MP_QSTR_I2C, MP_TYPE_FLAG_NONE, make_new, i2c_make_new,
    protocol, &protocol, locals_dict, &mp_machine_i2c_locals_dict);
