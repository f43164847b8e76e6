// Calls to the host through QEMU: files, the time, QEMU's arguments.
// Arm, Semihosting for AArch32 and AArch64 (2.0): the breakpoint 0xab with the call's number in
// r0 and the address of its arguments in r1. Needs -semihosting-config enable=on,target=native.
#include <string.h>

#include "py/mperrno.h"

#include "common/board.h"
#include "cortex_m3.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_SEEK = 0x0a, SYS_FLEN = 0x0c,
       SYS_TIME = 0x11, SYS_GET_CMDLINE = 0x15 };
enum { MODE_RB = 1, MODE_R_PLUS_B = 3 };
#define LINE_BYTES (2 * PATH_BYTES + 32)

static uint32_t call(uint32_t number, const void *arguments) {
    register uint32_t r0 __asm("r0") = number;
    register const void *r1 __asm("r1") = arguments;
    __asm volatile ("bkpt 0xab" : "+r" (r0) : "r" (r1) : "memory");
    return r0;
}

int host_open(const char *path, bool writable) {
    const uint32_t arguments[] = {
        (uint32_t)path, writable ? MODE_R_PLUS_B : MODE_RB, strlen(path)};
    int file = (int)call(SYS_OPEN, arguments);
    return file > 0 ? file : 0; // QEMU counts from 1
}

// SYS_READ and SYS_WRITE return how many bytes are left.
static int transfer(uint32_t number, int file, const void *buf, uint32_t n) {
    const uint32_t arguments[] = {(uint32_t)file, (uint32_t)buf, n};
    return call(number, arguments) ? MP_EIO : 0;
}

static int seek(int file, uint32_t offset) {
    const uint32_t arguments[] = {(uint32_t)file, offset};
    return call(SYS_SEEK, arguments) ? MP_EIO : 0;
}

int host_read(int file, uint8_t *buf, uint32_t n) {
    return transfer(SYS_READ, file, buf, n);
}

int host_read_at(int file, uint32_t offset, uint8_t *buf, uint32_t n) {
    return seek(file, offset) ? MP_EIO : transfer(SYS_READ, file, buf, n);
}

int host_write_at(int file, uint32_t offset, const uint8_t *data, uint32_t n) {
    return seek(file, offset) ? MP_EIO : transfer(SYS_WRITE, file, data, n);
}

uint32_t host_length(int file) {
    const uint32_t arguments[] = {(uint32_t)file};
    return call(SYS_FLEN, arguments);
}

uint32_t host_seconds(void) {
    return call(SYS_TIME, NULL);
}

// QEMU joins its arguments with spaces, which paths may have, too: a value goes on until one of the
// names begins.
static const char *value_end(const char *value) {
    const char *flash = strstr(value, " flash="), *entropy = strstr(value, " entropy=");
    const char *first = !flash || (entropy && entropy < flash) ? entropy : flash;
    return first ? first : value + strlen(value);
}

bool host_argument(const char *name, char *value, size_t size) {
    char line[LINE_BYTES] = " "; // so that the first name stands behind a space, too
    uint32_t arguments[] = {(uint32_t)(line + 1), sizeof(line) - 1};
    if (call(SYS_GET_CMDLINE, arguments)) {
        return false;
    }
    const char *start = strstr(line, name);
    if (!start) {
        return false;
    }
    start += strlen(name);
    size_t n = value_end(start) - start;
    if (n >= size) {
        return false;
    }
    memcpy(value, start, n);
    value[n] = '\0';
    return true;
}
