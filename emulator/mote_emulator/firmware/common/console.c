// The console: waiting for input sleeps, and select() sees whether there is some.
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "ports/qemu/uart.h"
#include "shared/runtime/interrupt_char.h"

#define RING 256 // bytes that wait for Python; a person or a test types no faster

static uint8_t ring[RING];
static uint32_t head, tail;

// Take what the UART has. Ctrl-C interrupts a program, even one that reads no input: what was typed
// before it is dropped if there is no room. Where nothing interrupts, all else waits in the UART.
void console_poll(void) {
    while (head - tail < RING || mp_interrupt_char >= 0) {
        int c = uart_rx_chr();
        if (c < 0) {
            return;
        }
        if (c == mp_interrupt_char) {
            mp_sched_keyboard_interrupt();
        } else if (head - tail < RING) {
            ring[head++ % RING] = c;
        }
    }
}

int __wrap_mp_hal_stdin_rx_chr(void) {
    for (;;) {
        console_poll();
        if (head != tail) {
            return ring[tail++ % RING];
        }
        mp_event_wait_indefinite();
    }
}

uintptr_t __wrap_mp_hal_stdio_poll(uintptr_t flags) {
    console_poll();
    uintptr_t ready = flags & MP_STREAM_POLL_WR;
    return head != tail ? ready | (flags & MP_STREAM_POLL_RD) : ready;
}
