// What lwIP asks of a compiler and a platform beyond its defaults (lwIP, src/include/lwip/arch.h).
#pragma once
#include <stdint.h>

typedef uint32_t sys_prot_t; // modlwip.c names it, although nothing here needs protection

void net_broken(const char *why) __attribute__((noreturn));
#define LWIP_PLATFORM_DIAG(message) do { } while (0)
#define LWIP_PLATFORM_ASSERT(why) net_broken(why)
