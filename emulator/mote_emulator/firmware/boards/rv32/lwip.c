// What lwIP asks of a board, and what MicroPython's modlwip.c asks of lwIP and should not.
#include <stdlib.h>

#include "py/mphal.h"
#include "py/mpprint.h"
#include "py/runtime.h"
#include "lwip/dns.h"
#include "lwip/priv/tcp_priv.h"

#include "common/board.h"

#define NOT_FOUND (-2) // what modlwip.c raises where DNS has no answer

u32_t sys_now(void) {
    return mp_hal_ticks_ms();
}

uint32_t net_random(void) {
    uint32_t number;
    if (board_entropy((uint8_t *)&number, sizeof(number)) < sizeof(number)) {
        number = (uint32_t)board_now_us() * 2654435761u; // no device: spread, but to be guessed
    }
    return number;
}

void net_broken(const char *why) {
    mp_printf(&mp_plat_print, "lwIP: %s\n", why);
    exit(1);
}

void __real_tcp_err(struct tcp_pcb *pcb, tcp_err_fn callback);
void __real_tcp_recv(struct tcp_pcb *pcb, tcp_recv_fn callback);
err_t __real_dns_gethostbyname_addrtype(
    const char *name, ip_addr_t *address, dns_found_callback found, void *arg, u8_t type);

// The linker puts the functions below before lwIP's own of that name (-Wl,--wrap).

// Of what came to a listener and nobody has accepted, modlwip.c ends at most every other one. The
// rest would tell of its end to the socket, whose memory is Python's to use by then.
static void end_unaccepted(const struct tcp_pcb *listener) {
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb;) {
        bool waits = pcb->listener == (const void *)listener && pcb->callback_arg == pcb;
        if (waits) {
            tcp_abort(pcb);
        }
        pcb = waits ? tcp_active_pcbs : pcb->next;
    }
}

// modlwip.c closes a listener as it does a connection. Its block is a shorter one, without these
// callbacks: they would be written into what lies behind it.
void __wrap_tcp_err(struct tcp_pcb *pcb, tcp_err_fn callback) {
    if (pcb->state != LISTEN) {
        __real_tcp_err(pcb, callback);
    } else {
        end_unaccepted(pcb);
    }
}

void __wrap_tcp_recv(struct tcp_pcb *pcb, tcp_recv_fn callback) {
    if (pcb->state != LISTEN) {
        __real_tcp_recv(pcb, callback);
    }
}

// A question to DNS. lwIP knows its address until there is an answer, or none in time.
typedef struct {
    bool asked, waiting, found;
    ip_addr_t address;
} lookup_t;

static lookup_t lookups[2 * DNS_TABLE_SIZE]; // lwIP has half of them; callbacks of Python may ask

static void answered(const char *name, const ip_addr_t *address, void *arg) {
    (void)name;
    lookup_t *lookup = arg;
    lookup->asked = false;
    lookup->found = address != NULL;
    if (address) {
        lookup->address = *address;
    }
}

static void wait_for_answer(lookup_t *lookup) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr)) {
        lookup->waiting = false;
        nlr_jump(nlr.ret_val);
    }
    while (lookup->asked) {
        mp_event_wait_ms(1);
    }
    nlr_pop();
    lookup->waiting = false;
}

static lookup_t *idle_lookup(void) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(lookups); i++) {
        if (!lookups[i].asked && !lookups[i].waiting) {
            return &lookups[i];
        }
    }
    return NULL;
}

// modlwip.c waits with its stack as the place for the answer, which may come after Ctrl-C has ended
// the wait. So this waits for it, and modlwip.c sees it as known already.
err_t __wrap_dns_gethostbyname_addrtype(
    const char *name, ip_addr_t *address, dns_found_callback found, void *arg, u8_t type) {
    (void)found, (void)arg;
    lookup_t *lookup = idle_lookup();
    if (!lookup) {
        return ERR_MEM;
    }
    lookup->asked = true;
    err_t error = __real_dns_gethostbyname_addrtype(name, address, answered, lookup, type);
    if (error != ERR_INPROGRESS) {
        lookup->asked = false;
        return error;
    }
    lookup->waiting = true;
    wait_for_answer(lookup);
    if (!lookup->found) {
        return NOT_FOUND;
    }
    *address = lookup->address;
    return ERR_OK;
}
