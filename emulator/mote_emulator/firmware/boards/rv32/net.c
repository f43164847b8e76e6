// network.LAN: a virtio network card, and lwIP on it. VIRTIO 1.1, 5.1.
//
// Whatever can go on goes on at the next board_poll(), which Python's waits and loops call:
//  1. What Python writes leaves at once. With Nagle's algorithm it would stay with lwIP until the
//     last segment is acknowledged, and the acknowledgement in the ring until all tasks wait.
//  2. A frame is not dropped for want of memory. It stays in the ring, and the rest with QEMU,
//     until Python has read what fills the memory. QEMU's TCP repeats a lost one after a second.
//     But what has waited that long may be in the way of what Python waits for: then it goes, and
//     what need not wait, such as acknowledgements, has other memory.
//  3. What came is acknowledged, with an answer or without, before the processor sleeps, not only
//     after lwIP's 250 ms: after a pause QEMU's TCP sends one segment and waits.
//  4. A full ring is waited for; lwIP would try again only when the retransmission is due.
// A cable that is pulled costs frames, but no connection: isconnected() tells, lwIP does not know.
#include <string.h>

#include "py/mperrno.h"
#include "py/runtime.h"
#include "extmod/modnetwork.h"
#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include "virtio.h"

#define FEATURE_MAC (1u << 5)
#define FEATURE_STATUS (1u << 16)
#define MAC (VIRTIO_CONFIG + 0)
#define STATUS (VIRTIO_CONFIG + 6)
#define STATUS_LINK_UP 1
enum { RECEIVE, TRANSMIT }; // numbers of the queues

#define MTU 1500
#define HEADER 12 // virtio's own, before each frame: all zero without offloads
#define FRAME (HEADER + SIZEOF_ETH_HDR + MTU)
#define PATIENCE_US 1000000 // for a full ring: QEMU empties it within milliseconds
#define UNREAD_US 1000000 // for Python to read, before frames are dropped
#define DUPLICATES 3

static struct {
    mp_obj_base_t base;
    struct netif netif;
    uint32_t device; // 0 until active(True)
    bool link;
    bool fresh; // frames came since the last sleep: Python looks at its sockets first
    bool slept; // so an interrupt may have come
    bool owing; // acknowledgements may be due
    uint64_t full_since; // when there was no memory for a frame of `misfit` bytes; 0 if there is
    uint32_t misfit;
} lan = { .base = { &board_lan_type } };

static struct dhcp dhcp;
static virtq_t receive, transmit;
static uint8_t received[VIRTQ_BUFFERS][FRAME], sent[VIRTQ_BUFFERS][FRAME];

static int frame_to_send(void) {
    uint32_t length;
    while (virtq_used(&transmit, &length) >= 0) {
        virtq_take(&transmit);
    }
    return virtq_idle(&transmit);
}

// The device does not interrupt for what it has sent, so a sleep here is a nap of 1 ms.
static int wait_for_frame(void) {
    int n;
    for (uint64_t end = board_now_us() + PATIENCE_US; (n = frame_to_send()) < 0;) {
        if (board_now_us() > end) {
            return -1;
        }
        board_idle(1);
    }
    return n;
}

static err_t net_send(struct netif *netif, struct pbuf *p) {
    int n = wait_for_frame();
    if (n < 0 || p->tot_len > FRAME - HEADER) {
        return ERR_BUF;
    }
    memset(sent[n], 0, HEADER);
    pbuf_copy_partial(p, sent[n] + HEADER, p->tot_len, 0);
    virtq_put(&transmit, n, sent[n], HEADER + p->tot_len, false);
    virtq_notify(&transmit);
    return ERR_OK;
}

static void lend(int n) {
    virtq_put(&receive, n, received[n], FRAME, true);
}

// Whether a frame has data behind other data of its connection, which Python has not read yet.
static bool is_behind_unread(const uint8_t *frame, uint32_t length) {
    const struct eth_hdr *ethernet = (const void *)frame;
    const struct ip_hdr *ip = (const void *)(frame + SIZEOF_ETH_HDR);
    if (length < SIZEOF_ETH_HDR + IP_HLEN || ethernet->type != PP_HTONS(ETHTYPE_IP)
        || IPH_PROTO(ip) != IP_PROTO_TCP
        || length < SIZEOF_ETH_HDR + IPH_HL_BYTES(ip) + (uint32_t)TCP_HLEN) {
        return false;
    }
    const struct tcp_hdr *tcp = (const void *)((const uint8_t *)ip + IPH_HL_BYTES(ip));
    if (lwip_ntohs(IPH_LEN(ip)) <= IPH_HL_BYTES(ip) + TCPH_HDRLEN_BYTES(tcp)) {
        return false;
    }
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next) {
        if (pcb->local_port == lwip_ntohs(tcp->dest) && pcb->remote_port == lwip_ntohs(tcp->src)) {
            return pcb->rcv_wnd < TCP_WND;
        }
    }
    return false;
}

static struct pbuf *memory_for(const uint8_t *frame, uint32_t length) {
    struct pbuf *p = pbuf_alloc(PBUF_RAW, length, PBUF_POOL);
    if (p && length >= lan.misfit) {
        lan.full_since = 0;
    } else if (!p && !is_behind_unread(frame, length)) {
        p = pbuf_alloc(PBUF_RAW, length, PBUF_RAM);
    }
    return p;
}

// Whether Python has had its time to make room for a frame.
static bool is_overdue(uint32_t length) {
    uint64_t now = board_now_us();
    if (!lan.full_since) {
        lan.full_since = now;
        lan.misfit = length;
    }
    return now - lan.full_since > UNREAD_US;
}

// Pass a frame on, or drop it; false if it is to wait.
static bool pass(const uint8_t *frame, uint32_t length) {
    if (length <= HEADER || length > FRAME) {
        return true;
    }
    frame += HEADER;
    length -= HEADER;
    struct pbuf *p = memory_for(frame, length);
    if (!p) {
        return is_overdue(length);
    }
    pbuf_take(p, frame, length);
    if (lan.netif.input(p, &lan.netif) != ERR_OK) {
        pbuf_free(p);
    }
    return true;
}

// At most one ring of frames, for a flood must not keep Python from running.
static bool receive_frames(void) {
    int n, count = 0;
    uint32_t length;
    while (count < VIRTQ_BUFFERS && (n = virtq_used(&receive, &length)) >= 0
           && pass(received[n], length)) {
        virtq_take(&receive);
        lend(n);
        count++;
    }
    if (count) {
        virtq_notify(&receive);
    }
    return count;
}

// A connection is established by a frame that comes, so none has sent data before it is seen here.
static void stop_nagling(void) {
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next) {
        tcp_nagle_disable(pcb);
    }
}

// The cable is back. lwIP announces itself, and asks DHCP whether the address still holds. Both
// ends of a connection wait for time-outs that have grown; three equal acknowledgements have the
// other one repeat what was lost at once (RFC 5681, 3.2).
static void resume(void) {
    netif_set_link_down(&lan.netif);
    netif_set_link_up(&lan.netif);
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next) {
        tcp_rexmit_rto(pcb);
        for (int i = 0; i < DUPLICATES && pcb->state >= ESTABLISHED; i++) {
            tcp_ack_now(pcb);
            tcp_output(pcb);
        }
    }
}

// Nothing but the link changes; it may have been down and up again before this looks.
static void look_at_link(void) {
    lan.link = REG16(lan.device + STATUS) & STATUS_LINK_UP;
    if (lan.link) {
        resume();
    }
}

void board_poll(void) {
    console_poll();
    if (!lan.device) {
        return;
    }
    if (lan.slept) {
        lan.slept = false;
        if (virtio_interrupts(lan.device) & VIRTIO_CONFIG_CHANGE) {
            look_at_link();
        }
    }
    if (receive_frames()) {
        lan.fresh = lan.owing = true;
        stop_nagling();
    } else if (lan.owing) {
        lan.owing = false;
        tcp_fasttmr(); // Python had its chance to answer: send acknowledgements that still wait
    }
    sys_check_timeouts();
}

int board_net_sleep_ms(int timeout_ms) {
    if (!lan.device) {
        return timeout_ms;
    }
    lan.slept = true;
    if (lan.fresh) {
        lan.fresh = false;
        return 0;
    }
    uint32_t timer_ms = sys_timeouts_sleeptime();
    return timer_ms < (uint32_t)timeout_ms ? (int)timer_ms : timeout_ms;
}

static err_t net_init(struct netif *netif) {
    netif->name[0] = 'l';
    netif->name[1] = 'n';
    netif->mtu = MTU;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    netif->output = etharp_output;
    netif->linkoutput = net_send;
    netif->hwaddr_len = ETH_HWADDR_LEN;
    for (int i = 0; i < ETH_HWADDR_LEN; i++) {
        netif->hwaddr[i] = REG8(lan.device + MAC + i);
    }
    return ERR_OK;
}

static void device_open(void) {
    uint32_t device = virtio_open(VIRTIO_NETWORK, FEATURE_MAC | FEATURE_STATUS);
    if (!device) {
        mp_raise_OSError(MP_ENODEV);
    }
    virtq_open(&receive, device, RECEIVE);
    virtq_open(&transmit, device, TRANSMIT);
    transmit.available.flags = 1; // no interrupt for what was sent (2.6.7)
    virtio_start(device);
    for (int n = 0; n < VIRTQ_BUFFERS; n++) {
        lend(n);
    }
    virtq_notify(&receive);
    lan.device = device;
    lan.link = REG16(device + STATUS) & STATUS_LINK_UP;
    lwip_init();
    netif_add_noaddr(&lan.netif, NULL, net_init, ethernet_input);
    netif_set_hostname(&lan.netif, mod_network_hostname_data);
    netif_set_default(&lan.netif);
    netif_set_link_up(&lan.netif);
    dhcp_set_struct(&lan.netif, &dhcp);
}

static void switch_on(void) {
    if (!lan.device) {
        device_open();
    }
    if (!netif_is_up(&lan.netif)) {
        netif_set_up(&lan.netif);
        dhcp_start(&lan.netif);
    }
}

static void switch_off(void) {
    if (netif_is_up(&lan.netif)) {
        dhcp_release_and_stop(&lan.netif);
        netif_set_down(&lan.netif);
    }
}

static mp_obj_t lan_make_new(const mp_obj_type_t *type, size_t n, size_t n_kw, const mp_obj_t *a) {
    mp_arg_check_num(n, n_kw, 0, 0, false);
    return MP_OBJ_FROM_PTR(&lan);
}

static mp_obj_t lan_active(size_t n, const mp_obj_t *args) {
    if (n > 1 && mp_obj_is_true(args[1])) {
        switch_on();
    } else if (n > 1) {
        switch_off();
    }
    return mp_obj_new_bool(netif_is_up(&lan.netif));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_active_obj, 1, 2, lan_active);

static mp_obj_t lan_isconnected(mp_obj_t self) {
    return mp_obj_new_bool(lan.link && netif_is_up(&lan.netif)
        && !ip4_addr_isany_val(*netif_ip4_addr(&lan.netif)));
}
static MP_DEFINE_CONST_FUN_OBJ_1(lan_isconnected_obj, lan_isconnected);

static mp_obj_t lan_ifconfig(size_t n, const mp_obj_t *args) {
    return mod_network_nic_ifconfig(&lan.netif, n - 1, args + 1);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_ifconfig_obj, 1, 2, lan_ifconfig);

static mp_obj_t lan_ipconfig(size_t n, const mp_obj_t *args, mp_map_t *named) {
    return mod_network_nic_ipconfig(&lan.netif, n - 1, args + 1, named);
}
static MP_DEFINE_CONST_FUN_OBJ_KW(lan_ipconfig_obj, 1, lan_ipconfig);

static const mp_rom_map_elem_t lan_locals[] = {
    { MP_ROM_QSTR(MP_QSTR_active), MP_ROM_PTR(&lan_active_obj) },
    { MP_ROM_QSTR(MP_QSTR_isconnected), MP_ROM_PTR(&lan_isconnected_obj) },
    { MP_ROM_QSTR(MP_QSTR_ifconfig), MP_ROM_PTR(&lan_ifconfig_obj) },
    { MP_ROM_QSTR(MP_QSTR_ipconfig), MP_ROM_PTR(&lan_ipconfig_obj) },
};
static MP_DEFINE_CONST_DICT(lan_locals_dict, lan_locals);

MP_DEFINE_CONST_OBJ_TYPE(board_lan_type, MP_QSTR_LAN, MP_TYPE_FLAG_NONE, make_new, lan_make_new,
    locals_dict, &lan_locals_dict);
