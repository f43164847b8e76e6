// machine.UART(1): the board's link, as a stream of bytes that never blocks.
//
// The UART has room for one byte. Its receive interrupt moves each into a ring; when the ring is
// full, the interrupt goes off and the byte stays where it is, which holds the sender back as RTS
// does on a port with flow control: nothing is lost. What is sent goes out until the UART's room
// for one is taken; its transmit interrupt is on only while somebody waits for that.
#include "py/mperrno.h"
#include "py/runtime.h"
#include "py/stream.h"

#include "common/board.h"
#include "cortex_m3.h"

#define LINK 1
#define RING 1024 // bytes; a power of two
#define CHUNK 64  // bytes that are worth waking Python for
#define SLOWEST_BAUD (CLOCK_HZ / 0xfffff + 1)
#define FASTEST_BAUD (CLOCK_HZ / 16)

static uint8_t ring[RING];
static volatile uint32_t head, tail; // of all bytes so far: the interrupt's, the reader's
static volatile bool held;           // the receive interrupt is off, since the ring was full

// Move what came into the ring. Called by the interrupt, or while it can't come.
static void drain(void) {
    UART_INTERRUPTS(LINK) = UART_RX_CAME; // before the look: what comes after raises it again
    while (UART_STATE(LINK) & UART_RX_FULL) {
        if (head - tail == RING) {
            UART_CONTROL(LINK) &= ~UART_RX_WAKES;
            held = true;
            return;
        }
        ring[head % RING] = (uint8_t)UART_DATA(LINK);
        head += 1;
    }
}

void uart_received(void) {
    drain();
    wake();
}

// Whether more is likely to come soon: some came since the last call, and it is no chunk yet.
bool uart_gathers(void) {
    static uint32_t seen;
    uint32_t before = seen;
    seen = head;
    return seen != before && seen - tail < CHUNK;
}

void uart_sent(void) {
    UART_INTERRUPTS(LINK) = UART_TX_DONE;
    UART_CONTROL(LINK) &= ~UART_TX_WAKES;
    wake();
}

static inline void mask(void) {
    __asm volatile ("cpsid i" : : : "memory");
}

static inline void unmask(void) {
    __asm volatile ("cpsie i" : : : "memory");
}

static mp_uint_t uart_read(mp_obj_t self, void *buf, mp_uint_t size, int *error) {
    uint8_t *out = buf;
    mp_uint_t n = 0;
    while (n < size && tail != head) {
        out[n++] = ring[tail % RING];
        tail += 1;
    }
    if (held) {
        mask();
        held = false;
        UART_CONTROL(LINK) |= UART_RX_WAKES;
        drain(); // for the byte that stayed there no interrupt will come
        unmask();
    }
    if (n == 0 && size) {
        *error = MP_EAGAIN;
        return MP_STREAM_ERROR;
    }
    return n;
}

// Whether the UART has room for a byte; if not, its interrupt will say when.
static bool can_send(void) {
    if (!(UART_STATE(LINK) & UART_TX_FULL)) {
        return true;
    }
    mask();
    UART_CONTROL(LINK) |= UART_TX_WAKES;
    bool room = !(UART_STATE(LINK) & UART_TX_FULL); // since the first look
    unmask();
    return room;
}

static mp_uint_t uart_write(mp_obj_t self, const void *buf, mp_uint_t size, int *error) {
    const uint8_t *data = buf;
    mp_uint_t n = 0;
    while (n < size && can_send()) {
        UART_DATA(LINK) = data[n++];
    }
    if (n == 0 && size) {
        *error = MP_EAGAIN;
        return MP_STREAM_ERROR;
    }
    return n;
}

static mp_uint_t uart_ioctl(mp_obj_t self, mp_uint_t request, uintptr_t arg, int *error) {
    mp_uint_t ready = 0;
    switch (request) {
        case MP_STREAM_POLL:
            if (arg & MP_STREAM_POLL_RD && head != tail) {
                ready |= MP_STREAM_POLL_RD;
            }
            if (arg & MP_STREAM_POLL_WR && can_send()) {
                ready |= MP_STREAM_POLL_WR;
            }
            return ready;
        case MP_STREAM_FLUSH:
            while (!can_send()) {
                mp_event_wait_indefinite();
            }
            return 0;
        default:
            *error = MP_EINVAL;
            return MP_STREAM_ERROR;
    }
}

static void set_up(uint32_t baud) {
    UART_BAUD_DIVISOR(LINK) = CLOCK_HZ / baud;
    UART_CONTROL(LINK) = UART_TX_ON | UART_RX_ON | (held ? 0 : UART_RX_WAKES);
    NVIC_ENABLE = 1 << UART_RX_IRQ(LINK) | 1 << UART_TX_IRQ(LINK);
}

// UART(1, baudrate=115200, bits=8, parity=None, stop=1, *, timeout=0, rxbuf, txbuf): as other ports
// have it. Eight bits, no parity, one stop bit are all it can; its buffers have fixed sizes, and it
// never waits.
static mp_obj_t uart_make_new(const mp_obj_type_t *type, size_t n, size_t nk, const mp_obj_t *a) {
    enum { ARG_ID, ARG_BAUD, ARG_BITS, ARG_PARITY, ARG_STOP };
    static const mp_arg_t allowed[] = {
        { MP_QSTR_id, MP_ARG_REQUIRED | MP_ARG_INT, {.u_int = 0} },
        { MP_QSTR_baudrate, MP_ARG_INT, {.u_int = 115200} },
        { MP_QSTR_bits, MP_ARG_INT, {.u_int = 8} },
        { MP_QSTR_parity, MP_ARG_OBJ, {.u_rom_obj = MP_ROM_NONE} },
        { MP_QSTR_stop, MP_ARG_INT, {.u_int = 1} },
        { MP_QSTR_timeout, MP_ARG_KW_ONLY | MP_ARG_INT, {.u_int = 0} },
        { MP_QSTR_rxbuf, MP_ARG_KW_ONLY | MP_ARG_INT, {.u_int = RING} },
        { MP_QSTR_txbuf, MP_ARG_KW_ONLY | MP_ARG_INT, {.u_int = 0} },
    };
    mp_arg_val_t args[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all_kw_array(n, nk, a, MP_ARRAY_SIZE(allowed), allowed, args);
    mp_int_t baud = args[ARG_BAUD].u_int;
    if (args[ARG_ID].u_int != LINK) {
        mp_raise_ValueError(MP_ERROR_TEXT("UART: only 1"));
    }
    if (args[ARG_BITS].u_int != 8 || args[ARG_PARITY].u_obj != mp_const_none
        || args[ARG_STOP].u_int != 1) {
        mp_raise_ValueError(MP_ERROR_TEXT("UART: only 8N1"));
    }
    if (baud < SLOWEST_BAUD || baud > FASTEST_BAUD) {
        mp_raise_ValueError(MP_ERROR_TEXT("UART: 24 to 1562500 baud"));
    }
    set_up(baud);
    static const mp_obj_base_t self = { &board_uart_type };
    return MP_OBJ_FROM_PTR(&self);
}

static mp_obj_t uart_any(mp_obj_t self) {
    return MP_OBJ_NEW_SMALL_INT(head - tail);
}
static MP_DEFINE_CONST_FUN_OBJ_1(uart_any_obj, uart_any);

static mp_obj_t uart_deinit(mp_obj_t self) {
    UART_CONTROL(LINK) = 0;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(uart_deinit_obj, uart_deinit);

static const mp_stream_p_t uart_stream = {
    .read = uart_read,
    .write = uart_write,
    .ioctl = uart_ioctl,
};

static const mp_rom_map_elem_t uart_locals[] = {
    { MP_ROM_QSTR(MP_QSTR_any), MP_ROM_PTR(&uart_any_obj) },
    { MP_ROM_QSTR(MP_QSTR_deinit), MP_ROM_PTR(&uart_deinit_obj) },
    { MP_ROM_QSTR(MP_QSTR_flush), MP_ROM_PTR(&mp_stream_flush_obj) },
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj) },
    { MP_ROM_QSTR(MP_QSTR_readline), MP_ROM_PTR(&mp_stream_unbuffered_readline_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj) },
};
static MP_DEFINE_CONST_DICT(uart_locals_dict, uart_locals);

MP_DEFINE_CONST_OBJ_TYPE(
    board_uart_type, MP_QSTR_UART, MP_TYPE_FLAG_ITER_IS_STREAM,
    make_new, uart_make_new, protocol, &uart_stream, locals_dict, &uart_locals_dict);
