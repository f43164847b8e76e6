// The watchdog of Intel's 6300ESB I/O controller hub, a PCI device (QEMU -device i6300esb). It has
// two stages, one after the other; the second one's end resets the machine, with Python hung or
// interrupts off. Nothing stops it once it is locked.
// Intel 6300ESB I/O Controller Hub Datasheet, chapter 16; QEMU hw/watchdog/wdt_i6300esb.c.
#include "common/board.h"

#define ECAM 0x30000000    // configuration of the PCI functions, 4 KiB each, 8 a slot
#define SLOTS 32
#define WINDOW 0x40000000  // where PCI memory is seen; nothing else of ours is there
#define DEVICE 0x25ab8086  // device, vendor

#define COMMAND 0x04       // of the configuration
#define COMMAND_MEMORY 2
#define BAR 0x10
#define CONFIG 0x60
#define CONFIG_NO_INTERRUPT 3 // and a reset at the end, and the slow clock
#define LOCK 0x68
#define LOCK_ENABLE 2
#define LOCK_LOCKED 1

#define STAGE_1 (WINDOW + 0)
#define STAGE_2 (WINDOW + 4)
#define RELOAD (WINDOW + 12)
#define RELOAD_START 0x100

// A stage counts 20 bits of 33 MHz / 2^15.
#define CLOCK_KHZ 33000
#define PRESCALE 32768
#define WATCHDOG_LONGEST_MS 2000000

static uint32_t find(void) {
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        uint32_t config = ECAM + (slot << 15);
        if (REG32(config) == DEVICE) {
            return config;
        }
    }
    return 0;
}

// Every write to a register of the timer must follow these two.
static void unlock(void) {
    REG16(RELOAD) = 0x80;
    REG16(RELOAD) = 0x86;
}

static void watchdog_feed(void) {
    unlock();
    REG16(RELOAD) = RELOAD_START;
}

static bool watchdog_start(uint32_t ms) {
    uint32_t config = find();
    if (!config) {
        return false;
    }
    REG32(config + BAR) = WINDOW;
    REG16(config + COMMAND) = COMMAND_MEMORY;
    REG16(config + CONFIG) = CONFIG_NO_INTERRUPT;
    uint32_t half = (uint32_t)((uint64_t)ms * CLOCK_KHZ / PRESCALE / 2) + 1;
    unlock();
    REG32(STAGE_1) = half;
    unlock();
    REG32(STAGE_2) = half;
    REG8(config + LOCK) = LOCK_ENABLE | LOCK_LOCKED;
    watchdog_feed(); // for the time, if it was enabled already
    return true;
}

#include "common/machine_wdt.h"
