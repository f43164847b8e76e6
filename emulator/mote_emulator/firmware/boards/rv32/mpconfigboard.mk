QEMU_ARCH = riscv32
QEMU_MACHINE = virt
CFLAGS += -DQEMU_SOC_VIRT -DMICROPY_HW_MCU_NAME='"rv32imc"'
SRC_BOARD_O += shared/runtime/gchelper_native.o shared/runtime/gchelper_rv32i.o
MPY_CROSS_FLAGS += -march=rv32imc

# gcc 12 picks 64-bit libraries for an -march with _zicsr; in the older specification the
# instructions for control registers are part of "i".
RV32_ARCH ?= rv32imc
AFLAGS += -misa-spec=2.2

MICROPY_PY_LWIP = 1
CFLAGS += -DMOTE_NET=1 -I$(BOARD_DIR)/lwip
LDFLAGS += -Wl,--wrap=tcp_err -Wl,--wrap=tcp_recv -Wl,--wrap=dns_gethostbyname_addrtype
MOTE_BOARD_C = $(notdir $(wildcard $(BOARD_DIR)/*.c))
ifeq ($(MOTE_TLS),1)
include $(BOARD_DIR)/tls/mbedtls.mk
endif
include $(BOARD_DIR)/../../common/firmware.mk
