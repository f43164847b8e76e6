// What mbedTLS wants from a board, and what every connection asks of its server.
#include <time.h>

#include "py/gc.h"
#include "py/mphal.h"
#include "shared/timeutils/timeutils.h"

#include "mbedtls/entropy.h"
#include "mbedtls/platform_time.h"
#include "mbedtls/platform_util.h"
#include "mbedtls/ssl.h"

#include "common/board.h"

int mbedtls_hardware_poll(void *data, unsigned char *output, size_t len, size_t *had) {
    (void)data;
    *had = board_entropy(output, len); // the library asks again, and fails in the end
    return 0;
}

time_t board_time(time_t *also) {
    time_t now = board_wall_us() / 1000000;
    if (also) {
        *also = now;
    }
    return now;
}

mbedtls_ms_time_t mbedtls_ms_time(void) {
    return board_now_us() / 1000;
}

// As gmtime_r(), which libc would bring its time zones along with.
struct tm *mbedtls_platform_gmtime_r(const mbedtls_time_t *time, struct tm *result) {
    timeutils_struct_time_t parts;
    timeutils_seconds_since_epoch_to_struct_time(*time, &parts);
    *result = (struct tm) {
        .tm_year = parts.tm_year - 1900,
        .tm_mon = parts.tm_mon - 1,
        .tm_mday = parts.tm_mday,
        .tm_hour = parts.tm_hour,
        .tm_min = parts.tm_min,
        .tm_sec = parts.tm_sec,
        .tm_wday = (parts.tm_wday + 1) % 7,
        .tm_yday = parts.tm_yday - 1,
    };
    return result;
}

// ------------------------------------------------------------------------------------- memory

static size_t lacked; // bytes that were asked for in vain, since this was last cleared

void *tls_calloc(size_t n, size_t size) {
    void *memory = m_tracked_calloc(n, size);
    if (!memory) { // what the finalisers of a collection give back, the next one frees
        gc_collect();
        memory = m_tracked_calloc(n, size);
    }
    if (!memory) {
        lacked = n * size;
    }
    return memory;
}

// The linker puts the functions below before the library's own of that name (-Wl,--wrap).

// For want of memory a signature can't be verified, which the library tells as a certificate that
// nobody can trust: people would look for what is wrong with their CA.
int __real_mbedtls_ssl_handshake(mbedtls_ssl_context *ssl);
int __wrap_mbedtls_ssl_handshake(mbedtls_ssl_context *ssl) {
    lacked = 0;
    int error = __real_mbedtls_ssl_handshake(ssl);
    bool waits = error == MBEDTLS_ERR_SSL_WANT_READ || error == MBEDTLS_ERR_SSL_WANT_WRITE;
    return error && !waits && lacked ? MBEDTLS_ERR_SSL_ALLOC_FAILED : error;
}

// And this the interpreter tells as an invalid certificate, whatever the library says.
int __real_mbedtls_x509_crt_parse(mbedtls_x509_crt *chain, const unsigned char *buf, size_t n);
int __wrap_mbedtls_x509_crt_parse(mbedtls_x509_crt *chain, const unsigned char *buf, size_t n) {
    lacked = 0;
    int error = __real_mbedtls_x509_crt_parse(chain, buf, n);
    if (error && lacked) {
        m_malloc_fail(lacked);
    }
    return error;
}

// ------------------------------------------------------------------------------------- records

// The interpreter's module has no way to ask for short ones. Shorter ones still would save 2 KB of
// heap, and a server that does not know of this request could not send the longest MQTT packet that
// the agent allows it, of about 1 KB with its head.
int __real_mbedtls_ssl_config_defaults(mbedtls_ssl_config *conf, int end, int transport, int preset);
int __wrap_mbedtls_ssl_config_defaults(mbedtls_ssl_config *conf, int end, int transport, int preset) {
    int error = __real_mbedtls_ssl_config_defaults(conf, end, transport, preset);
    return error ? error : mbedtls_ssl_conf_max_frag_len(conf, MBEDTLS_SSL_MAX_FRAG_LEN_2048);
}
