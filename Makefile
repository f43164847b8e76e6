# `make demo` and `make test` need python3, python3-venv, make and git; they fetch the rest.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# Debian packages that build firmware and run emulated boards.
BOARDS := make gcc libc6-dev dpkg-dev gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf \
	gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-misc qemu-system-arm
BENCH ?=

.PHONY: help demo test test-fast test-boards torture fuzz lint format bench clean

help:
	@echo "make demo        the main job on this machine; ARGS=\"--help\" lists its options"
	@echo "make test        all checks and tests"
	@echo "make test-fast   what to run before each commit (under 2 minutes)"
	@echo "make test-boards the agent on emulated boards only"
	@echo "make torture     all power cuts and exceptions, fresh storms and seeds; ARGS=\"--seconds 60\" for some"
	@echo "make fuzz        a million hostile inputs, about 6 minutes; ARGS=\"mqtt --inputs 9999\" for some"
	@echo "make lint        ruff and mypy"
	@echo "make format      ruff format"
	@echo "make bench       all benchmarks; BENCH=NAME for one; results in build/bench/"
	@echo "make clean       remove .venv and build"

# What a target prints on standard output is its own: setting up speaks on standard error.
.venv/.%: pyproject.toml scripts/setup
	@scripts/setup $* "$(PYTHON)" >&2

demo: .venv/.emulator
	@$(BIN)/mote demo $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-fast: lint
	@scripts/packages mosquitto mosquitto-clients >&2
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not emulator" $(ARGS)

test: test-fast
	$(BIN)/pytest -m "slow and not emulator" $(ARGS)
	@$(MAKE) --no-print-directory test-boards

test-boards: .venv/.dev
	@scripts/packages $(BOARDS) mosquitto mosquitto-clients >&2
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m emulator $(ARGS)

torture: .venv/.dev
	@scripts/packages $(BOARDS) mosquitto mosquitto-clients >&2
	$(BIN)/python -m tests.torture $(ARGS)

fuzz: .venv/.dev
	$(BIN)/python -m tests.fuzz $(ARGS)

bench: .venv/.dev
	@scripts/packages $(BOARDS) mosquitto >&2
	$(BIN)/python -m tests.bench $(BENCH)

clean:
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis
