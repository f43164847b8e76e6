// From reset to Python: the heap of the size that the panel asks for, the frozen module `_boot`,
// then, if that returns, the REPL on the console.
#include "py/cstack.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/runtime/pyexec.h"

#if MICROPY_PY_NETWORK
#include "extmod/modnetwork.h"
#endif

#include "common/board.h"
#include "common/panel.h"

#define STACK_BYTES (48 * 1024) // of the 64 KiB that the linker scripts reserve
#define HEAP_STEP 1024
#define HEAP_LEAST 4096 // with less not even the REPL comes up
#define PAUSE_US 10000000

size_t board_heap_bytes;

// What the panel says, within what there is.
static size_t heap_bytes(void) {
    size_t most = _heap_end - _heap_start;
    size_t wanted = panel_present() && PANEL->heap_bytes ? PANEL->heap_bytes : HEAP_DEFAULT;
    wanted -= wanted % HEAP_STEP;
    return MAX(MIN(wanted, most), HEAP_LEAST);
}

static void repl(void) {
    for (;;) {
        int ended = pyexec_mode_kind == PYEXEC_MODE_RAW_REPL
            ? pyexec_raw_repl() : pyexec_friendly_repl();
        if (ended) {
            return;
        }
    }
}

// What exit() means here (-Wl,--wrap=exit): somebody has said what is the matter, and can't go on.
// The pause is for whoever reads that, and for a board that comes here at every start.
void __wrap_exit(int status) {
    (void)status;
    mp_printf(&mp_plat_print, "\nboard: this can't go on; resetting in %d s\n", PAUSE_US / 1000000);
    for (uint64_t end = board_now_us() + PAUSE_US; board_now_us() < end;) {
    }
    panel_note_reset(PANEL_RESET_HARD);
    board_reset();
}

bool __real_mp_obj_equal(mp_obj_t a, mp_obj_t b);

// MicroPython goes down into nested lists without a look at how deep its stack is (-Wl,--wrap).
bool __wrap_mp_obj_equal(mp_obj_t a, mp_obj_t b) {
    mp_cstack_check();
    return __real_mp_obj_equal(a, b);
}

// MicroPython's port for QEMU has a main() of its own, which knows no boot module; the linker
// puts this one in its place (-Wl,--wrap=main).
int __wrap_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    board_init();
    wall_init();
    panel_init();
    board_heap_bytes = heap_bytes();
    for (;;) {
        mp_cstack_init_with_sp_here(STACK_BYTES);
        gc_init(_heap_start, _heap_start + board_heap_bytes);
        mp_init();
        #if MICROPY_PY_NETWORK
        mod_network_init();
        #endif
        if (!(pyexec_frozen_module("_boot.py", true) & PYEXEC_FORCED_EXIT)) {
            repl();
        }
        mp_printf(&mp_plat_print, "soft reset\n");
        gc_sweep_all();
        mp_deinit();
    }
}
