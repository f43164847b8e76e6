// lwIP for a device that keeps one or two TCP connections, with messages of about 1 KB, and TLS on
// them if wanted. Its memory is all static: about 34 KB, of which the frames that wait for Python
// are 13 KB and what was sent, until it is acknowledged, 17 KB.
#pragma once
#include <stdint.h>

// lwIP runs only where Python calls it or in board_poll(), never in an interrupt.
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_STATS 0
#define LWIP_RAW 0
#define LWIP_IPV6 0
#define LWIP_IGMP 1 // extmod/modlwip.c calls it in any case
#define LWIP_DHCP 1
#define LWIP_DHCP_DOES_ACD_CHECK 0 // on a network of two it only costs the start 10 s
#define LWIP_ACD 0
#define LWIP_DNS 1
#define LWIP_NETIF_HOSTNAME 1
#define IP_REASSEMBLY 0
#define IP_FRAG 0
#define SO_REUSE 1
#define TCP_LISTEN_BACKLOG 1
#define MEM_ALIGNMENT 4
#define LWIP_CHKSUM_ALGORITHM 3

// Ports, transaction numbers and a connection's first sequence number (RFC 6528) can't be guessed,
// and differ after a reset.
uint32_t net_random(void);
#define LWIP_RAND() net_random()
#define LWIP_HOOK_TCP_ISN(local, local_port, remote, remote_port) net_random()

// A connection has four full segments, or four messages, on the way in each direction.
#define TCP_MSS 1460
#define TCP_WND (4 * TCP_MSS)
#define TCP_SND_BUF (4 * TCP_MSS)

// Sending. Each write of Python becomes at least one pbuf of MEM_SIZE, with about 96 bytes for
// headers. It has to be the send buffer that is full first: then a write returns at once, with less
// done. Without memory, or past the queue's length, modlwip.c blocks in it, for up to 10 s. 48 pbufs
// fill the send buffer if writes have 150 bytes on average; that takes 10.4 KB, and leaves the
// other connection four messages.
#define TCP_SND_QUEUELEN 48
#define MEMP_NUM_TCP_SEG (2 * TCP_SND_QUEUELEN)
#define MEM_SIZE 16000
#define TCP_OVERSIZE 0 // no room for more in a pbuf: each is sent at once (net.c)

// Receiving. A frame takes as many buffers of the pool as it needs, and keeps them until Python has
// read it: five for a message of 1 KB, one for an acknowledgement. A full window of large frames
// takes 24 of them. Past the pool frames stay in the card's ring, and then in QEMU, for a while;
// what does not wait for Python has MEM_SIZE (net.c).
#define PBUF_POOL_BUFSIZE 256
#define PBUF_POOL_SIZE 48
#define MEMP_NUM_PBUF 4 // they refer to memory elsewhere, which modlwip.c never does
#define TCP_QUEUE_OOSEQ 0 // the cable does not reorder; what is behind a gap comes again

// Connections: two, a new one while an old one lingers, a listener's.
#define MEMP_NUM_TCP_PCB 5
#define MEMP_NUM_TCP_PCB_LISTEN 2
#define MEMP_NUM_UDP_PCB 4 // DHCP, DNS, two of Python's
#define DNS_TABLE_SIZE 2
#define ARP_TABLE_SIZE 4
