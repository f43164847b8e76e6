// The vector table (DDI0403, B1.5.3): startup.c has one, but only for the processor's exceptions,
// and after a fault it stops.
#include <stdlib.h>

#include "py/mpprint.h"

#include "common/board.h"
#include "cortex_m3.h"

extern uint32_t _estack;
extern void Reset_Handler(void);

// The console is read where Python waits for it (common/console.c).
static void on_console(void) {
    UART_INTERRUPTS(0) = UART_RX_CAME;
    wake();
}

// What the processor has put on the stack is r0 to r3, r12, lr, pc, xPSR (B1.5.6).
__attribute__((used)) static void tell_fault(const uint32_t *frame) {
    mp_printf(&mp_plat_print, "\nfault %08x at %08x, called from %08x, r0 %08x\n",
        (unsigned)FAULT_STATUS, (unsigned)frame[6], (unsigned)frame[5], (unsigned)frame[0]);
    exit(1);
}

__attribute__((naked)) static void on_fault(void) {
    __asm volatile ("mrs r0, msp\n b tell_fault");
}

typedef void (*vector_t)(void);

__attribute__((section(".vectors"), used))
static const vector_t vectors[16 + UART_TX_IRQ(1) + 1] = {
    [0] = (vector_t)&_estack,
    [1] = Reset_Handler,
    [2] = watchdog_barks, // NMI
    [3 ... 14] = on_fault, // calls of a supervisor, too: nobody makes any
    [15] = clock_ticked,
    [16 + UART_RX_IRQ(0)] = on_console,
    [16 + UART_RX_IRQ(1)] = uart_received,
    [16 + UART_TX_IRQ(1)] = uart_sent,
};
