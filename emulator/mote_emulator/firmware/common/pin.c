// machine.Pin on the panel: Pin(n, mode=-1, pull=-1, *, value=None), n from 0 to 31.
#include "common/panel.h"
#include "extmod/virtpin.h"
#include "py/mphal.h"
#include "py/runtime.h"

extern const mp_obj_type_t board_pin_type;

// An object a pin, so that Pin(4) is Pin(4) and making one takes no heap; its place is its number.
static mp_obj_base_t pins[PANEL_PINS];

static unsigned number_of(mp_obj_t self) {
    return (unsigned)((mp_obj_base_t *)MP_OBJ_TO_PTR(self) - pins);
}

static void set(mp_obj_t self, bool high) {
    unsigned pin = number_of(self);
    panel_drive(pin, PANEL->pins[pin].mode, high);
}

static mp_obj_t configure(unsigned pin, size_t n, const mp_obj_t *given, mp_map_t *named) {
    enum { MODE, PULL, VALUE };
    static const mp_arg_t allowed[] = {
        { MP_QSTR_mode, MP_ARG_INT, { .u_int = -1 } },
        { MP_QSTR_pull, MP_ARG_OBJ, { .u_rom_obj = MP_ROM_INT(-1) } },
        { MP_QSTR_value, MP_ARG_KW_ONLY | MP_ARG_OBJ, { .u_rom_obj = MP_ROM_NONE } },
    };
    mp_arg_val_t args[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all(n, given, named, MP_ARRAY_SIZE(allowed), allowed, args);
    volatile panel_pin_t *p = &PANEL->pins[pin];
    mp_int_t mode = args[MODE].u_int == -1 ? p->mode : args[MODE].u_int;
    mp_obj_t pull = args[PULL].u_obj == mp_const_none ? MP_OBJ_NEW_SMALL_INT(PANEL_NO_PULL)
                                                      : args[PULL].u_obj;
    mp_int_t pulled = mp_obj_get_int(pull);
    if (mode < PANEL_IN || mode > PANEL_OPEN_DRAIN || pulled < -1 || pulled > PANEL_PULL_DOWN) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such mode or pull"));
    }
    if (pulled != -1) {
        p->pull = (uint8_t)pulled;
    }
    // Mode and value change as one, or the pin would show its old value for a moment.
    bool out = args[VALUE].u_obj == mp_const_none ? p->out : mp_obj_is_true(args[VALUE].u_obj);
    panel_drive(pin, (uint8_t)mode, out);
    return mp_const_none;
}

static mp_obj_t pin_make_new(const mp_obj_type_t *type, size_t n, size_t n_kw, const mp_obj_t *a) {
    mp_arg_check_num(n, n_kw, 1, 3, true);
    // Pin(Pin(4)) is Pin(4): drivers pass on whichever they were given.
    mp_int_t pin = mp_obj_is_type(a[0], type) ? (mp_int_t)number_of(a[0]) : mp_obj_get_int(a[0]);
    if (pin < 0 || pin >= PANEL_PINS) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such pin"));
    }
    pins[pin].type = type;
    mp_map_t named;
    mp_map_init_fixed_table(&named, n_kw, a + n);
    if (n > 1 || n_kw > 0) {
        configure((unsigned)pin, n - 1, a + 1, &named);
    }
    return MP_OBJ_FROM_PTR(&pins[pin]);
}

static mp_obj_t pin_init(size_t n, const mp_obj_t *a, mp_map_t *named) {
    return configure(number_of(a[0]), n - 1, a + 1, named);
}
static MP_DEFINE_CONST_FUN_OBJ_KW(pin_init_obj, 1, pin_init);

// pin() reads and pin(x) sets, as pin.value() does.
static mp_obj_t pin_call(mp_obj_t self, size_t n, size_t n_kw, const mp_obj_t *a) {
    mp_arg_check_num(n, n_kw, 0, 1, false);
    if (n == 0) {
        return MP_OBJ_NEW_SMALL_INT(panel_level(number_of(self)));
    }
    set(self, mp_obj_is_true(a[0]));
    return mp_const_none;
}

static mp_obj_t pin_value(size_t n, const mp_obj_t *a) {
    return pin_call(a[0], n - 1, 0, a + 1);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pin_value_obj, 1, 2, pin_value);

static mp_obj_t pin_on(mp_obj_t self) {
    set(self, true);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(pin_on_obj, pin_on);

static mp_obj_t pin_off(mp_obj_t self) {
    set(self, false);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(pin_off_obj, pin_off);

static mp_obj_t pin_toggle(mp_obj_t self) {
    set(self, !PANEL->pins[number_of(self)].out);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(pin_toggle_obj, pin_toggle);

static mp_obj_t pin_mode(size_t n, const mp_obj_t *a) {
    if (n == 1) {
        return MP_OBJ_NEW_SMALL_INT(PANEL->pins[number_of(a[0])].mode);
    }
    return configure(number_of(a[0]), 1, a + 1, (mp_map_t *)&mp_const_empty_map);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pin_mode_obj, 1, 2, pin_mode);

static mp_obj_t pin_pull(size_t n, const mp_obj_t *a) {
    if (n == 1) {
        return MP_OBJ_NEW_SMALL_INT(PANEL->pins[number_of(a[0])].pull);
    }
    mp_obj_t with_mode[] = { MP_OBJ_NEW_SMALL_INT(-1), a[1] };
    return configure(number_of(a[0]), 2, with_mode, (mp_map_t *)&mp_const_empty_map);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pin_pull_obj, 1, 2, pin_pull);

static void pin_print(const mp_print_t *print, mp_obj_t self, mp_print_kind_t kind) {
    (void)kind;
    mp_printf(print, "Pin(%u)", number_of(self));
}

// What machine.Signal calls.
static mp_uint_t pin_ioctl(mp_obj_t self, mp_uint_t request, uintptr_t arg, int *errcode) {
    (void)errcode;
    switch (request) {
        case MP_PIN_READ:
            return (mp_uint_t)panel_level(number_of(self));
        case MP_PIN_WRITE:
            set(self, arg != 0);
            return 0;
    }
    return (mp_uint_t)-1;
}
static const mp_pin_p_t pin_protocol = { .ioctl = pin_ioctl };

static const mp_rom_map_elem_t pin_locals[] = {
    { MP_ROM_QSTR(MP_QSTR_init), MP_ROM_PTR(&pin_init_obj) },
    { MP_ROM_QSTR(MP_QSTR_value), MP_ROM_PTR(&pin_value_obj) },
    { MP_ROM_QSTR(MP_QSTR_on), MP_ROM_PTR(&pin_on_obj) },
    { MP_ROM_QSTR(MP_QSTR_off), MP_ROM_PTR(&pin_off_obj) },
    { MP_ROM_QSTR(MP_QSTR_toggle), MP_ROM_PTR(&pin_toggle_obj) },
    { MP_ROM_QSTR(MP_QSTR_mode), MP_ROM_PTR(&pin_mode_obj) },
    { MP_ROM_QSTR(MP_QSTR_pull), MP_ROM_PTR(&pin_pull_obj) },
    { MP_ROM_QSTR(MP_QSTR_IN), MP_ROM_INT(PANEL_IN) },
    { MP_ROM_QSTR(MP_QSTR_OUT), MP_ROM_INT(PANEL_OUT) },
    { MP_ROM_QSTR(MP_QSTR_OPEN_DRAIN), MP_ROM_INT(PANEL_OPEN_DRAIN) },
    { MP_ROM_QSTR(MP_QSTR_PULL_UP), MP_ROM_INT(PANEL_PULL_UP) },
    { MP_ROM_QSTR(MP_QSTR_PULL_DOWN), MP_ROM_INT(PANEL_PULL_DOWN) },
};
static MP_DEFINE_CONST_DICT(pin_locals_dict, pin_locals);

MP_DEFINE_CONST_OBJ_TYPE(board_pin_type, MP_QSTR_Pin, MP_TYPE_FLAG_NONE, make_new, pin_make_new,
    print, pin_print, call, pin_call, protocol, &pin_protocol, locals_dict, &pin_locals_dict);
