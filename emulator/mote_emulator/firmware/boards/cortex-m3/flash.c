// The flash: a file of the host, which QEMU's argument `flash` names and whose size is the flash's.
// Each operation is a write(2) or a few: what is done is in the host's page cache when the call
// returns, so killing QEMU is a power cut between two operations. A call to the host takes 2 us.
#include <string.h>

#include "py/mperrno.h"
#include "py/runtime.h"

#include "common/board.h"
#include "cortex_m3.h"

static uint32_t size;

int flash_open(void) {
    char path[PATH_BYTES];
    if (!carried.flash && host_argument(" flash=", path, sizeof(path))) {
        carried.flash = host_open(path, true);
    }
    if (!carried.flash) {
        return MP_ENODEV;
    }
    size = host_length(carried.flash) / FLASH_BLOCK * FLASH_BLOCK;
    return 0;
}

uint32_t flash_size(void) {
    return size;
}

int flash_read(uint32_t offset, uint8_t *buf, uint32_t n) {
    return host_read_at(carried.flash, offset, buf, n);
}

int flash_program(uint32_t offset, const uint8_t *data, uint32_t n) {
    return host_write_at(carried.flash, offset, data, n);
}

int flash_erase(uint32_t offset, uint32_t n) {
    uint8_t erased[FLASH_BLOCK];
    memset(erased, 0xff, sizeof(erased));
    for (uint32_t done = 0; done < n; done += FLASH_BLOCK) {
        int error = host_write_at(carried.flash, offset + done, erased, FLASH_BLOCK);
        if (error) {
            return error;
        }
    }
    return 0;
}
