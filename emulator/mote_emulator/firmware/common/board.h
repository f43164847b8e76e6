// What a board's own files give to the common ones, and the common ones to MicroPython.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REG8(address) (*(volatile uint8_t *)(uintptr_t)(address))
#define REG16(address) (*(volatile uint16_t *)(uintptr_t)(address))
#define REG32(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define FLASH_BLOCK 4096 // what Python sees as one erase block
#define FLASH_UNIT 4 // bytes that are programmed at once: rv32's chip takes whole words
#define HEAP_DEFAULT (192 * 1024)

// clock.c: microseconds since reset, which never go back; the host's Unix time in microseconds.
uint64_t clock_us(void);
uint64_t clock_host_us(void);
// time.c: the same for everybody else; Unix time, which goes on over resets as with a battery.
uint64_t board_now_us(void);
uint64_t board_wall_us(void);
void wall_init(void);
// When that was last looked at. In RAM that is zero at power-on, and that a reset leaves as it is.
extern uint64_t carried_wall_us;
// Sleep until an interrupt or for `timeout_ms`; negative: for as long as is safe.
void board_idle(int timeout_ms);
// Enable the interrupts that end a sleep. Called once, before anything else.
void board_init(void);
// What devices want done between two steps of Python; must not call Python.
void board_poll(void);

// net.c: how long a sleep may be, at most `timeout_ms`, so that no timer of the network is late.
int board_net_sleep_ms(int timeout_ms);
// console.c: take what was typed.
void console_poll(void);

void board_reset(void) __attribute__((noreturn));
// True random bytes; returns how many of `n` were had.
size_t board_entropy(uint8_t *buf, size_t n);

// flash.c: `offset` and `n` are in range; both are multiples of FLASH_UNIT where something is
// programmed. They return 0 or an error number of MicroPython.
int flash_open(void);
uint32_t flash_size(void);
int flash_read(uint32_t offset, uint8_t *buf, uint32_t n);
int flash_program(uint32_t offset, const uint8_t *data, uint32_t n);
int flash_erase(uint32_t offset, uint32_t n);

// Bounds of the memory that MicroPython's heap may take, from the linker script.
extern uint8_t _heap_start[], _heap_end[];
