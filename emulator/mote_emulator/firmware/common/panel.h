// The panel: one page of RAM that stands for the world around the board.
//
// It is the last page of a memory that is a file on the host, which maps the same page
// (mote_emulator/panel.py): there a test reads what the firmware drives and sets what it senses,
// while the board runs. Power cuts do not clear it, as they do not clear the world. Each field has
// one writer, named below; all are little-endian, and 32-bit fields are written in one access.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PANEL_MAGIC 0x45544F4D // "MOTE"
#define PANEL_VERSION 1
#define PANEL_PINS 32
#define PANEL_CHANNELS 8
#define PANEL_DEVICES 4
#define PANEL_JOURNAL 128

enum { PANEL_TIME = 1 };                                // flags
enum { PANEL_IN, PANEL_OUT, PANEL_OPEN_DRAIN };         // mode
enum { PANEL_NO_PULL, PANEL_PULL_UP, PANEL_PULL_DOWN }; // pull
enum { PANEL_LOW, PANEL_HIGH, PANEL_FLOATING };         // in
// reset_cause: as machine.reset_cause() says it
enum {
    PANEL_RESET_POWER = 1,
    PANEL_RESET_HARD,
    PANEL_RESET_WATCHDOG,
    PANEL_RESET_SOFT,
};

typedef struct {
    uint8_t mode, pull, out; // firmware
    uint8_t in;              // host: what is connected to the pin does to it
    uint32_t rises, falls;   // firmware: changes of the level it drives
    uint32_t changed_us;     // firmware: when that last changed, low bits of the time since reset
} panel_pin_t;

typedef struct {
    uint8_t present, address; // host
    uint16_t spare0;
    uint32_t reads, writes; // firmware: transfers that read registers, and that wrote some
    uint32_t spare1;
    uint8_t regs[256]; // both
} panel_device_t;

typedef struct {
    uint32_t number, us;
    uint8_t pin, level, spare[6];
} panel_change_t;

typedef struct {
    uint32_t magic, version;    // host
    uint32_t heap_bytes, flags; // host
    uint64_t time_us;           // host: Unix time at power-on, if PANEL_TIME_GIVEN
    uint8_t uid[8];             // host
    uint32_t boots;             // firmware: starts of every kind
    uint32_t reset_cause;       // firmware: why it last started
    uint32_t watchdog_ms;       // firmware: time-out of the watchdog, 0 while it is not armed
    uint32_t next_cause;        // host: 0 as the power goes; firmware: what else is to come
    uint8_t spare0[16];
    panel_pin_t pins[PANEL_PINS];
    uint16_t adc[PANEL_CHANNELS]; // host
    uint32_t heap_asked;                  // host: counts up to have the heap measured
    uint32_t heap_told;                   // firmware: the same, when it is measured; in bytes:
    uint32_t heap_used, heap_free, heap_largest;
    uint8_t spare1[28];
    panel_device_t devices[PANEL_DEVICES];
    uint8_t spare2[0x7F8 - 0x6C0];
    uint32_t journal_count; // firmware: changes since the panel was made
    uint32_t spare3;
    panel_change_t journal[PANEL_JOURNAL]; // firmware: change n is in slot n % PANEL_JOURNAL
} panel_t;

_Static_assert(offsetof(panel_t, pins) == 0x040, "pins");
_Static_assert(offsetof(panel_t, adc) == 0x240, "adc");
_Static_assert(offsetof(panel_t, devices) == 0x280, "devices");
_Static_assert(offsetof(panel_t, journal_count) == 0x7F8, "journal_count");
_Static_assert(offsetof(panel_t, journal) == 0x800 && sizeof(panel_t) == 4096, "journal");

// The last page of the memory that the host shares.
#if defined(__riscv)
#define PANEL_ADDRESS 0x80FFF000
#else
#define PANEL_ADDRESS 0x21FFF000
#endif
#define PANEL ((volatile panel_t *)PANEL_ADDRESS)

// Take the panel over at boot: count the start, find its cause, let go of all pins. A page that no
// host has prepared is cleared, and then serves as well.
void panel_init(void);
// Whether a host has prepared the page: else its settings mean nothing.
bool panel_present(void);
uint32_t panel_reset_cause(void);
// What the next start's cause will be, if the power stays on.
void panel_note_reset(uint32_t cause);
// Set up a pin and what it drives; a change of level is counted and noted in the journal.
void panel_drive(unsigned pin, uint8_t mode, uint8_t out);
// The level at a pin, 0 or 1: what the firmware drives, else what the host does, else the pull.
int panel_level(unsigned pin);
