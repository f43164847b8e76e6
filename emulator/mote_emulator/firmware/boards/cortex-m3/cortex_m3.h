// What the files of this board share: QEMU mps2-an385, a Cortex-M3 at 25 MHz.
// Arm Application Note 385 (addresses, interrupts); Arm DDI0479 (the CMSDK's UART, timer and
// watchdog); Arm DDI0403 (the processor's own registers).
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLOCK_HZ 25000000
#define UART(n) (0x40004000 + 0x1000 * (n))
#define UART_DATA(n) REG32(UART(n))
#define UART_STATE(n) REG32(UART(n) + 0x04)
#define UART_CONTROL(n) REG32(UART(n) + 0x08)
#define UART_INTERRUPTS(n) REG32(UART(n) + 0x0c) // writing a one clears it
#define UART_BAUD_DIVISOR(n) REG32(UART(n) + 0x10)
#define UART_RX_IRQ(n) (2 * (n)) // of the first three
#define UART_TX_IRQ(n) (2 * (n) + 1)

// their state, their control, their interrupts
enum { UART_TX_FULL = 1, UART_RX_FULL = 2 };
enum { UART_TX_ON = 1, UART_RX_ON = 2, UART_TX_WAKES = 4, UART_RX_WAKES = 8 };
enum { UART_TX_DONE = 1, UART_RX_CAME = 2 };

#define NVIC_ENABLE REG32(0xe000e100)
#define FAULT_STATUS REG32(0xe000ed28)

// The host's handles, 0 before they are open; QEMU keeps them open over a reset. In RAM that a reset
// of the board does not clear, and that is all zero when QEMU starts.
typedef struct {
    int flash, entropy;
} carried_t;
extern carried_t carried;

// clock.c: something happened that whoever sleeps, or is about to, waits for.
void wake(void);

// What the vectors call.
void clock_ticked(void);
void uart_received(void);
void uart_sent(void);
void watchdog_barks(void);

// uart.c: whether more is likely to come soon.
bool uart_gathers(void);

// semihosting.c: files of the host. They return a handle, or 0 if there is none; 0 or EIO.
#define PATH_BYTES 512
int host_open(const char *path, bool writable);
int host_read(int file, uint8_t *buf, uint32_t n);
int host_read_at(int file, uint32_t offset, uint8_t *buf, uint32_t n);
int host_write_at(int file, uint32_t offset, const uint8_t *data, uint32_t n);
uint32_t host_length(int file);
uint32_t host_seconds(void);
// Copies VALUE of QEMU's -semihosting-config arg=NAME=VALUE; `name` is " NAME=".
bool host_argument(const char *name, char *value, size_t size);
