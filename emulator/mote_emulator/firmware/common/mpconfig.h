// MicroPython's configuration: that of its port for QEMU, and what an agent needs beside it.
#pragma once
#include "ports/qemu/mpconfigport.h"

#undef MICROPY_PY_ASYNCIO
#undef MICROPY_PY_SELECT
#undef MICROPY_PY_SYS_PLATFORM
#undef MICROPY_PY_TIME
#undef MICROPY_VFS_ROM
#undef MICROPY_WARNINGS

#define MICROPY_ENABLE_SCHEDULER (1)
#define MICROPY_EPOCH_IS_1970 (1)
#define MICROPY_PY_ASYNCIO (1)
#define MICROPY_PY_CRYPTOLIB (0)
#define MICROPY_PY_HASHLIB_SHA256 (1)
#define MICROPY_PY_MACHINE_BARE_METAL_FUNCS (0)
#define MICROPY_PY_OS_URANDOM (1)
#define MICROPY_PY_OS_INCLUDEFILE "common/os_urandom.h"
#define MICROPY_PY_SELECT (1)
#define MICROPY_PY_SYS_PLATFORM "mote-qemu"
#define MICROPY_PY_TIME (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_INCLUDEFILE "common/time_wall.h"
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_STREAMS_NON_BLOCK (1)
#define MICROPY_VFS_ROM (0)
#define MICROPY_WARNINGS (0)

// machine: the port's own part only ends QEMU.
#undef MICROPY_PY_MACHINE_INCLUDEFILE
#define MICROPY_PY_MACHINE_INCLUDEFILE "common/machine_reset.h"
#define MICROPY_PY_MACHINE_ADC (0)
#define MICROPY_PY_MACHINE_I2C (1)
#define MICROPY_PY_MACHINE_SOFTI2C (0)
#define MICROPY_PY_MACHINE_EXTRA_GLOBALS \
    { MP_ROM_QSTR(MP_QSTR_Pin), MP_ROM_PTR(&board_pin_type) }, \
    { MP_ROM_QSTR(MP_QSTR_ADC), MP_ROM_PTR(&board_adc_type) }, \
    { MP_ROM_QSTR(MP_QSTR_WDT), MP_ROM_PTR(&board_wdt_type) }, \
    { MP_ROM_QSTR(MP_QSTR_unique_id), MP_ROM_PTR(&board_unique_id_obj) }, \
    { MP_ROM_QSTR(MP_QSTR_PWRON_RESET), MP_ROM_INT(1) }, \
    { MP_ROM_QSTR(MP_QSTR_HARD_RESET), MP_ROM_INT(2) }, \
    { MP_ROM_QSTR(MP_QSTR_WDT_RESET), MP_ROM_INT(3) }, \
    { MP_ROM_QSTR(MP_QSTR_SOFT_RESET), MP_ROM_INT(4) }, \
    MOTE_MACHINE_UART

void board_idle(int timeout_ms);
void board_poll(void);
void heap_poll(void);
#define MICROPY_INTERNAL_WFE(TIMEOUT_MS) (heap_poll(), board_idle((int)(TIMEOUT_MS)))
#define MICROPY_INTERNAL_EVENT_HOOK board_poll()

// A program that never waits has a network and hears of Ctrl-C, too: they are polled now and then.
#define MICROPY_VM_HOOK_COUNT (1024)
#define MICROPY_VM_HOOK_INIT static unsigned int vm_hook_left = MICROPY_VM_HOOK_COUNT;
#define MICROPY_VM_HOOK_LOOP \
    if (--vm_hook_left == 0) { \
        vm_hook_left = MICROPY_VM_HOOK_COUNT; \
        board_poll(); \
    }

#if MOTE_UART
#define MOTE_MACHINE_UART { MP_ROM_QSTR(MP_QSTR_UART), MP_ROM_PTR(&board_uart_type) },
#else
#define MOTE_MACHINE_UART
#endif

#if MOTE_NET
#define MICROPY_PY_NETWORK (1)
#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT "mote"
#define MICROPY_PORT_NETWORK_INTERFACES { MP_ROM_QSTR(MP_QSTR_LAN), MP_ROM_PTR(&board_lan_type) },
#endif

#if MOTE_TLS
#define MICROPY_TRACKED_ALLOC (1) // how mbedTLS takes memory from the heap
#endif

struct _mp_obj_type_t;
struct _mp_obj_fun_builtin_fixed_t;
extern const struct _mp_obj_type_t board_adc_type, board_lan_type, board_pin_type,
    board_uart_type, board_wdt_type;
extern const struct _mp_obj_fun_builtin_fixed_t board_unique_id_obj;
