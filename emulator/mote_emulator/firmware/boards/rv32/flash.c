// The second flash of QEMU's virt board: two 16-bit CFI chips side by side (pflash_cfi01), so each
// command and status stands twice in a word. Its sectors are 256 KiB; Python's blocks are 4 KiB,
// erased by programming ones, which this chip can do (module.c forbids it elsewhere).
// JEDEC JESD68 (CFI query); Intel Application Note 646 (extended command set).
#include <string.h>

#include "py/mperrno.h"
#include "py/misc.h"

#include "common/board.h"

#define BASE 0x22000000
#define SIZE (32 * 1024 * 1024)
#define BOTH(byte) ((byte) | (byte) << 16)
#define READ_ARRAY BOTH(0xff)
#define QUERY BOTH(0x98)
#define WRITE_BUFFER BOTH(0xe8)
#define CONFIRM BOTH(0xd0)
#define BUFFER 2048 // bytes that one command programs, at most; checked in flash_open
#define ERASED 0xffffffff

static bool present;

int flash_open(void) {
    if (!present) {
        REG32(BASE + 0x55 * 4) = QUERY;
        bool answers = (REG32(BASE + 0x10 * 4) & 0xff) == 'Q';
        bool buffers = 2u << (REG32(BASE + 0x2a * 4) & 0xff) >= BUFFER;
        REG32(BASE) = READ_ARRAY;
        present = answers && buffers;
    }
    return present ? 0 : MP_ENODEV;
}

uint32_t flash_size(void) {
    return SIZE;
}

int flash_read(uint32_t offset, uint8_t *buf, uint32_t n) {
    memcpy(buf, (const void *)(BASE + offset), n);
    return 0;
}

// Program words from `data`, or ones if it is NULL; a command must not cross a border of BUFFER.
static void program(uint32_t at, const uint8_t *data, uint32_t n) {
    while (n) {
        uint32_t step = MIN(n, BUFFER - at % BUFFER);
        REG32(at) = WRITE_BUFFER;
        REG32(at) = BOTH(step / 4 - 1);
        for (uint32_t i = 0; i < step; i += 4) {
            uint32_t word = ERASED;
            if (data) {
                memcpy(&word, data + i, 4);
            }
            REG32(at + i) = word;
        }
        REG32(at) = CONFIRM;
        data = data ? data + step : NULL;
        at += step;
        n -= step;
    }
    REG32(BASE) = READ_ARRAY;
}

int flash_program(uint32_t offset, const uint8_t *data, uint32_t n) {
    program(BASE + offset, data, n);
    return memcmp((const void *)(BASE + offset), data, n) ? MP_EIO : 0;
}

int flash_erase(uint32_t offset, uint32_t n) {
    program(BASE + offset, NULL, n);
    return 0;
}
