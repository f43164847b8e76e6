// QEMU virt: time from the CLINT (10 MHz), the date from the Goldfish RTC, sleep until one of the
// PLIC's interrupts. Interrupts stay off (mstatus.MIE = 0): `wfi` ends when one is pending, and
// the devices are polled then, so no code ever runs between two instructions of another.
// RISC-V Privileged Architecture 1.12, 3.3.3 (wfi); QEMU hw/riscv/virt.c (addresses).
#include "py/mphal.h"
#include "py/runtime.h"

#include "common/board.h"

#define CLINT_MTIMECMP 0x02004000
#define CLINT_MTIME 0x0200bff8
#define PLIC_PRIORITY(irq) (0x0c000000 + 4 * (irq))
#define PLIC_ENABLE 0x0c002000
#define PLIC_THRESHOLD 0x0c200000
#define PLIC_CLAIM 0x0c200004
#define RTC 0x00101000
#define FINISHER 0x00100000
#define UART_IER 0x10000001

#define TICKS_A_US 10
#define IRQ_VIRTIO 1 // eight of them
#define IRQ_UART 10
#define LONGEST_MS 1000

static uint64_t mtime(void) {
    uint32_t high, low;
    do {
        high = REG32(CLINT_MTIME + 4);
        low = REG32(CLINT_MTIME);
    } while (high != REG32(CLINT_MTIME + 4));
    return (uint64_t)high << 32 | low;
}

static uint64_t reset_at;

uint64_t clock_us(void) {
    return (mtime() - reset_at) / TICKS_A_US;
}

uint64_t clock_host_us(void) {
    uint32_t low = REG32(RTC); // reading it latches the other half
    return ((uint64_t)REG32(RTC + 4) << 32 | low) / 1000;
}

static void enable(int irq) {
    REG32(PLIC_PRIORITY(irq)) = 1;
    REG32(PLIC_ENABLE + irq / 32 * 4) |= 1u << irq % 32;
}

void board_init(void) {
    reset_at = mtime();
    for (int i = 0; i < 8; i++) {
        enable(IRQ_VIRTIO + i);
    }
    enable(IRQ_UART);
    REG32(PLIC_THRESHOLD) = 0;
    REG8(UART_IER) = 1; // received data
    __asm volatile ("csrc mstatus, 8"); // MIE
    __asm volatile ("csrw mie, %0" : : "r" (1 << 7 | 1 << 11)); // MTIE, MEIE
}

static void wake_at(uint64_t time) {
    REG32(CLINT_MTIMECMP + 4) = 0xffffffff; // never less than meant, in between
    REG32(CLINT_MTIMECMP) = (uint32_t)time;
    REG32(CLINT_MTIMECMP + 4) = time >> 32;
}

void board_idle(int timeout_ms) {
    if (timeout_ms < 0 || timeout_ms > LONGEST_MS) {
        timeout_ms = LONGEST_MS;
    }
    #if MOTE_NET
    timeout_ms = board_net_sleep_ms(timeout_ms);
    #endif
    if (timeout_ms == 0) {
        return;
    }
    wake_at(mtime() + (uint64_t)timeout_ms * 1000 * TICKS_A_US);
    __asm volatile ("wfi");
    for (uint32_t irq; (irq = REG32(PLIC_CLAIM));) {
        REG32(PLIC_CLAIM) = irq;
    }
}

void board_reset(void) {
    for (;;) {
        REG32(FINISHER) = 0x7777;
    }
}
