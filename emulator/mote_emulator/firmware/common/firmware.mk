# What the boards' makefile fragments share. MicroPython's port for QEMU is built as it is, with
# another configuration header and with some of its functions replaced at link time.
MOTE_FIRMWARE := $(abspath $(BOARD_DIR)/../..)
LDSCRIPT = $(BOARD_DIR)/board.ld
MICROPY_VFS_LFS2 = 1
MICROPY_ROM_TEXT_COMPRESSION = 1
CFLAGS += -DMP_CONFIGFILE='<common/mpconfig.h>' -I$(MOTE_FIRMWARE)
LDFLAGS += -Wl,--wrap=main -Wl,--wrap=exit -Wl,--wrap=mp_obj_equal
LDFLAGS += -Wl,--wrap=mp_hal_stdin_rx_chr -Wl,--wrap=mp_hal_stdio_poll
SRC_C += shared/timeutils/timeutils.c
USER_C_MODULES = $(MOTE_FIRMWARE)
