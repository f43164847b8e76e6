# The C of every board and of this one, as a user module: so MicroPython's build finds its names.
SRC_USERMOD_C += $(addprefix $(MOTE_FIRMWARE)/common/, \
	$(notdir $(wildcard $(MOTE_FIRMWARE)/common/*.c)))
SRC_USERMOD_C += $(addprefix $(abspath $(BOARD_DIR))/, $(MOTE_BOARD_C))
