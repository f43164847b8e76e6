// Tells the panel how the heap is, when the host asks: what a program in Python could not measure
// without being measured itself. It is looked at between two steps of Python, where any allocation
// might collect, too.
#include "py/gc.h"

#include "common/panel.h"

void heap_poll(void) {
    if (!panel_present() || PANEL->heap_asked == PANEL->heap_told || gc_is_locked()) {
        return;
    }
    gc_info_t info;
    gc_collect();
    gc_info(&info);
    PANEL->heap_used = info.used;
    PANEL->heap_free = info.free;
    PANEL->heap_largest = info.max_free * MICROPY_BYTES_PER_GC_BLOCK;
    __sync_synchronize(); // for the host's processors, too
    PANEL->heap_told = PANEL->heap_asked; // last: now the figures are there
}
