# mbedTLS in the firmware (MOTE_TLS = 1), as the interpreter's module `tls`. Debian's extmod.mk
# links a library of the system in place of compiling lib/mbedtls, and every other one compiles
# more than we need: so the sources are named here, and MICROPY_PY_SSL is only a macro.
comma := ,
CFLAGS += -DMOTE_TLS=1 -DMICROPY_PY_SSL=1 -DMICROPY_SSL_MBEDTLS=1
CFLAGS += -DMBEDTLS_CONFIG_FILE='"boards/rv32/tls/config.h"' -I$(TOP)/lib/mbedtls/include
LDFLAGS += $(addprefix -Wl$(comma)--wrap=mbedtls_,ssl_config_defaults ssl_handshake x509_crt_parse)
MOTE_BOARD_C += tls/platform.c

SRC_THIRDPARTY_C += lib/mbedtls_errors/mp_mbedtls_errors.c
SRC_THIRDPARTY_C += $(addprefix lib/mbedtls/library/,\
	aes.c \
	asn1parse.c \
	asn1write.c \
	bignum.c \
	bignum_core.c \
	block_cipher.c \
	cipher.c \
	cipher_wrap.c \
	constant_time.c \
	ctr_drbg.c \
	ecdh.c \
	ecdsa.c \
	ecp.c \
	ecp_curves.c \
	entropy.c \
	gcm.c \
	md.c \
	oid.c \
	pk.c \
	pk_ecc.c \
	pk_wrap.c \
	pkparse.c \
	platform.c \
	platform_util.c \
	rsa.c \
	rsa_alt_helpers.c \
	sha256.c \
	sha512.c \
	ssl_ciphersuites.c \
	ssl_client.c \
	ssl_msg.c \
	ssl_tls.c \
	ssl_tls12_client.c \
	x509.c \
	x509_crt.c \
	)
