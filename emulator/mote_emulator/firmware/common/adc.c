// machine.ADC on the panel: ADC(channel).read_u16(), channel from 0 to 7.
#include "common/panel.h"
#include "py/runtime.h"

extern const mp_obj_type_t board_adc_type;

static mp_obj_base_t channels[PANEL_CHANNELS];

static mp_obj_t adc_make_new(const mp_obj_type_t *type, size_t n, size_t n_kw, const mp_obj_t *a) {
    mp_arg_check_num(n, n_kw, 1, 1, false);
    mp_int_t channel = mp_obj_get_int(a[0]);
    if (channel < 0 || channel >= PANEL_CHANNELS) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such channel"));
    }
    channels[channel].type = type;
    return MP_OBJ_FROM_PTR(&channels[channel]);
}

static mp_obj_t adc_read_u16(mp_obj_t self) {
    return MP_OBJ_NEW_SMALL_INT(PANEL->adc[(mp_obj_base_t *)MP_OBJ_TO_PTR(self) - channels]);
}
static MP_DEFINE_CONST_FUN_OBJ_1(adc_read_u16_obj, adc_read_u16);

static const mp_rom_map_elem_t adc_locals[] = {
    { MP_ROM_QSTR(MP_QSTR_read_u16), MP_ROM_PTR(&adc_read_u16_obj) },
};
static MP_DEFINE_CONST_DICT(adc_locals_dict, adc_locals);

MP_DEFINE_CONST_OBJ_TYPE(board_adc_type, MP_QSTR_ADC, MP_TYPE_FLAG_NONE, make_new, adc_make_new,
    locals_dict, &adc_locals_dict);
