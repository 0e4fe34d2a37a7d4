# The only door to the project. A target that does not work yet is not here; `## text` after a target lists it in `make help`.

PROFILE ?= standard
SMP     ?= 1
MEM     ?= 256M
MACHINE ?= q35
DISK    ?=
APPEND  ?=
GDB     ?=
ICOUNT  ?=
export PROFILE SMP MEM MACHINE DISK APPEND GDB ICOUNT

PRESET := x86_64-$(PROFILE)

.DEFAULT_GOAL := help
.PHONY: help setup build image run demo trace debug test test-long models simulate bench doc fuzz fmt lint clean

help: ## list targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  SMP=1          number of CPUs            MEM=256M       memory"
	@echo "  DISK=file      disk image (raw)          APPEND='a b'   boot options"
	@echo "  PROFILE=       dev, standard, hardened   MACHINE=       q35, microvm"
	@echo "  CMD='a b'      what trace runs           FAST=1         demo types at once"
	@echo "  GDB=1          wait for a debugger       ICOUNT=1       deterministic instruction counting"

setup: ## install the Debian packages that are missing
	@tools/setup

build: setup ## build the system (PROFILE=)
	@tools/build $(PRESET)

image: build ## build, and say what to boot and how
	@tools/image

run: build ## boot in QEMU on this terminal; Ctrl-A x leaves
	@tools/run

demo: build ## a session of two minutes, typed by itself; FAST=1 types at once
	@tools/demo $(if $(FAST),--fast)

trace: build ## boot, run CMD, write what each thread did to build/trace.json (Chrome's trace format)
	@tools/trace $(CMD)

debug: build ## boot under gdb
	@tools/run --debug

models: ## check the models of the multiprocessor protocols (tests/models) with Spin
	@tools/setup spin
	@tools/models

simulate: setup ## search for races on simulated CPUs, RUNS=10000000 interleavings
	@tools/simulate $(RUNS)

test: setup ## everything: lint, host unit tests, QEMU suites
	@tools/setup spin
	@tools/test

test-long: setup ## test, with the long suites
	@tools/setup spin
	@KEEL_LONG=1 tools/test

bench: build ## measure in instructions, beside peers and goals; writes build/bench.json
	@tools/bench

doc: ## write the generated documents (docs/calls, docs/interfaces, docs/lock-order.md)
	@tools/doc

fuzz: setup ## fuzz the host build, FUZZ_SECONDS=30 for each fuzzer
	@tools/fuzz

fmt: setup ## format the sources
	@tools/lint --fix

lint: setup ## formatting, layering, links, clang-tidy
	@tools/lint --tidy

clean: ## remove everything that was built
	@rm -rf build compile_commands.json
