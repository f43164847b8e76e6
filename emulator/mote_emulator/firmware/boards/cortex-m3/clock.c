// Time, sleep and reset. Timer 0 counts 2^32 ticks of the processor's clock, 172 s; the FPGA counts
// seconds (Application Note 385). Together they lose nothing however rarely they are read. The
// FPGA has a counter of microseconds, too, but with instructions for a clock (QEMU -icount) its
// ticks lie a little differently between them each time; a timer begins where it is set.
#include "py/runtime.h"

#include "common/board.h"
#include "cortex_m3.h"

#define TIMER_CONTROL REG32(0x40000000)
#define TIMER_VALUE REG32(0x40000004) // counts down
#define TIMER_RELOAD REG32(0x40000008)
#define TIMER_FULL 0xffffffff
#define FPGA_SECONDS REG32(0x40028010)
#define SYSTICK_CONTROL REG32(0xe000e010)
#define SYSTICK_RELOAD REG32(0xe000e014)
#define SYSTICK_VALUE REG32(0xe000e018)
#define RESET_CONTROL REG32(0xe000ed0c) // AIRCR
#define RESET_REQUEST 0x05fa0004

#define SECOND_US 1000000
#define TICKS_A_US (CLOCK_HZ / SECOND_US)
#define SYSTICK_ON 3 // with its interrupt; its clock is the reference, 1 MHz
#define LONGEST_MS 1000
#define GATHER_US 100

static volatile bool woken, ticked;

uint64_t clock_us(void) {
    // The high word is the one that brings both counters together, within half its unit.
    uint64_t about = (uint64_t)FPGA_SECONDS * CLOCK_HZ;
    uint32_t low = TIMER_FULL - TIMER_VALUE;
    uint64_t ticks = ((about - low + (1u << 31)) & ~(uint64_t)TIMER_FULL) + low;
    return ticks / TICKS_A_US;
}

uint64_t clock_host_us(void) {
    return (uint64_t)host_seconds() * SECOND_US;
}

void board_poll(void) {
    console_poll();
}

void wake(void) {
    woken = true;
}

void clock_ticked(void) {
    ticked = true;
}

static void tick_in(uint32_t us) {
    ticked = false;
    SYSTICK_RELOAD = us - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = SYSTICK_ON;
}

// Until `*end`, or for `us`. With interrupts masked, `wfi` still ends when one is pending: none
// slips in between the look at the flags and the sleep.
static void sleep(uint32_t us, const volatile bool *end) {
    tick_in(us);
    while (!*end && !ticked) {
        __asm volatile ("cpsid i" : : : "memory");
        if (!*end && !ticked) {
            __asm volatile ("dsb\n wfi");
        }
        __asm volatile ("cpsie i\n isb" : : : "memory");
    }
    SYSTICK_CONTROL = 0;
}

void board_init(void) {
    TIMER_RELOAD = TIMER_FULL; // and the value
    TIMER_CONTROL = 1;
    FPGA_SECONDS = 0;
    UART_CONTROL(0) |= UART_RX_WAKES;
    NVIC_ENABLE = 1 << UART_RX_IRQ(0);
    __asm volatile ("cpsie i");
    // QEMU has seen that the console can't receive, and looks again when a timer is due. Without
    // one, a program that only calculates would not hear of Ctrl-C. No sleep: with -icount it would
    // take the host's time.
    tick_in(GATHER_US);
    while (!ticked) {
    }
    SYSTICK_CONTROL = 0;
}

// What woke since the last sleep ends this one at once: the caller may have looked before that. It
// looks again now, so what comes until the return is seen. A byte of the link is most often one of
// many: Python is woken for all of them.
void board_idle(int timeout_ms) {
    if (timeout_ms < 0 || timeout_ms > LONGEST_MS) {
        timeout_ms = LONGEST_MS;
    }
    if (timeout_ms == 0) {
        return;
    }
    sleep(timeout_ms * 1000, &woken);
    while (uart_gathers()) {
        sleep(GATHER_US, &ticked);
    }
    woken = false;
}

void board_reset(void) {
    for (;;) {
        RESET_CONTROL = RESET_REQUEST;
        __asm volatile ("dsb");
    }
}
