// mbedTLS 3.6's configuration: a client of TLS 1.2 that verifies the server's certificate and may
// have one of its own, in as little heap as can be. Code and constants are in flash, which boards
// have more of.
#pragma once
#include <stddef.h>
#include <time.h>

// What one can talk: ECDHE on P-256 or P-384, AES-GCM, certificates with ECDSA or RSA. TLS 1.3
// needs the PSA API's key store besides, and all of a second handshake.
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_RSA_ENABLED
#define MBEDTLS_SSL_EXTENDED_MASTER_SECRET
#define MBEDTLS_SSL_SERVER_NAME_INDICATION
#define MBEDTLS_SSL_CLI_C
#define MBEDTLS_SSL_TLS_C

#define MBEDTLS_AES_C
#define MBEDTLS_GCM_C
#define MBEDTLS_CIPHER_C
#define MBEDTLS_MD_C
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA384_C
#define MBEDTLS_SHA512_C // signatures of some CAs
#define MBEDTLS_ECP_C
#define MBEDTLS_ECDH_C
#define MBEDTLS_ECDSA_C
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_DP_SECP384R1_ENABLED
#define MBEDTLS_RSA_C
#define MBEDTLS_PKCS1_V15
#define MBEDTLS_BIGNUM_C
#define MBEDTLS_PK_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_OID_C
#define MBEDTLS_ASN1_PARSE_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_X509_USE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_ERROR_C

// Records. A handshake's messages must fit whole into the buffers: the server's certificates, of
// which 4 KB hold three with RSA keys of 2048 bits, and our own. After it both buffers shrink to
// the length that platform.c asks the server for (RFC 6066, 4).
#define MBEDTLS_SSL_IN_CONTENT_LEN 4096
#define MBEDTLS_SSL_OUT_CONTENT_LEN 2048
#define MBEDTLS_SSL_MAX_FRAGMENT_LENGTH
#define MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH

// Heap: no tables but those in flash, and small ones for what is computed once a connection.
#define MBEDTLS_AES_ROM_TABLES
#define MBEDTLS_AES_FEWER_TABLES
#define MBEDTLS_BLOCK_CIPHER_NO_DECRYPT // GCM only encrypts
#define MBEDTLS_ECP_FIXED_POINT_OPTIM 1
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECP_WINDOW_SIZE 2
#define MBEDTLS_MPI_WINDOW_SIZE 1
#define MBEDTLS_MPI_MAX_SIZE 512 // bytes: RSA with 4096 bits
#define MBEDTLS_SHA256_SMALLER
#define MBEDTLS_SHA512_SMALLER

// Random numbers: AES-256 in counter mode, seeded by the board's own source only.
#define MBEDTLS_CTR_DRBG_C
#define MBEDTLS_ENTROPY_C
#define MBEDTLS_ENTROPY_FORCE_SHA256
#define MBEDTLS_ENTROPY_HARDWARE_ALT
#define MBEDTLS_ENTROPY_MAX_SOURCES 1
#define MBEDTLS_NO_PLATFORM_ENTROPY

// The platform: Python's heap, where what is taken shows in gc.mem_alloc(); the board's clock.
#define MBEDTLS_DEPRECATED_REMOVED
#define MBEDTLS_PLATFORM_C
#define MBEDTLS_PLATFORM_MEMORY
#define MBEDTLS_PLATFORM_CALLOC_MACRO tls_calloc
#define MBEDTLS_PLATFORM_FREE_MACRO m_tracked_free
#define MBEDTLS_HAVE_TIME
#define MBEDTLS_HAVE_TIME_DATE
#define MBEDTLS_PLATFORM_TIME_MACRO board_time
#define MBEDTLS_PLATFORM_MS_TIME_ALT
#define MBEDTLS_PLATFORM_GMTIME_R_ALT
#define MICROPY_MBEDTLS_CONFIG_BARE_METAL (1)

void *tls_calloc(size_t n, size_t size);
void m_tracked_free(void *ptr);
time_t board_time(time_t *also);
