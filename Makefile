# Holdfast's commands. Each installs what it needs, says what it is doing, and ends with what it did and where to look.
#
#   make demo [DEVICES=50] [KEEP=1] [K8S=1]   the main job, end to end, on real parts
#   make demo-stop                            ends a demo that was kept running
#   make test                                 every test, on real parts
#   make bench                                the numbers, into .bench/report.json
#   make mutants [FILE=core/trust/src/tuf]    do the tests notice when the verifying and deciding code is changed?
#   make lint                                 format, clippy, licences and sources

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Everything fetched and built is kept here, outside the checkout.
export HOLDFAST_CACHE ?= $(HOME)/.cache/holdfast
export CARGO_TARGET_DIR ?= $(HOLDFAST_CACHE)/target
TOOLS := $(HOLDFAST_CACHE)/tools
LOG := $(HOLDFAST_CACHE)/log
BIN := $(CARGO_TARGET_DIR)/debug

DEVICES ?= 5
# Mutants at once; each is built and tested by all cores.
JOBS ?= 2
DEMO_FLAGS := --devices $(DEVICES) $(if $(filter 1,$(KEEP)),--keep) $(if $(filter 1,$(K8S)),--k8s)

.PHONY: help deps kube firmware programs demo demo-stop test bench mutants lint

help: ## what there is
	@sed -n '3,8s/^# *//p' Makefile

deps: ## what apt provides
	@tests/setup/install.sh

kube: deps ## the real kube-apiserver
	@tests/setup/kube.sh

firmware: deps ## real firmware
	@tests/setup/firmware.sh

# One build for all programs, the same as that of `make test`: another would resolve features anew and compile twice.
programs: deps
	@echo "[build] holdfastd, holdfast-device, holdfast and the demo into $(BIN)"
	cargo build --locked --workspace --bins

demo: firmware programs $(if $(filter 1,$(K8S)),kube) ## the main job, end to end
	@"$(BIN)/demo" $(DEMO_FLAGS)
	echo "[demo] the same facts as JSON: .demo/report.json"

demo-stop: ## ends a demo that was kept running
	@if [ ! -x "$(BIN)/demo" ]; then echo "[demo-stop] no demo was ever built: nothing to stop"; exit 0; fi
	"$(BIN)/demo" --stop

test: kube firmware ## every test
	@mkdir -p "$(LOG)"
	echo "[test] building, log of the whole run: $(LOG)/test.log"
	# Suites of the whole system start the programs that stand beside them.
	cargo build --locked --workspace --bins
	began=$$SECONDS
	status=0
	cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$(LOG)/test.log" || status=$$?
	awk -v wall=$$((SECONDS - began)) '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	    END { printf "[test] %d passed, %d failed, %d ignored in %d s\n", passed, failed, ignored, wall }' "$(LOG)/test.log"
	if [ $$status != 0 ]; then
	    grep -E '^test .* FAILED$$' "$(LOG)/test.log" || true
	    echo "[test] FAILED: see $(LOG)/test.log"
	    exit 1
	fi
	echo "[test] all green; the run is in $(LOG)/test.log"

bench: firmware programs ## the numbers
	@echo "[bench] measuring optimised programs: the first build takes some minutes"
	cargo run --locked --profile service -p holdfast-tests --bin bench
	echo "[bench] the numbers: .bench/report.json"

mutants: deps ## do the tests notice?
	@export PATH="$(TOOLS)/bin:$$PATH"
	if ! command -v cargo-mutants >/dev/null; then
	    echo "[mutants] installing cargo-mutants into $(TOOLS)"
	    CARGO_TARGET_DIR="$(TOOLS)/target" cargo install --locked --quiet --root "$(TOOLS)" cargo-mutants
	    rm -rf "$(TOOLS)/target"
	fi
	# Each job has a copy of the tree, and in it builds once what the crates depend on. Builds without debug information
	# take half the time; properties run fewer cases.
	unset CARGO_TARGET_DIR
	export PROPTEST_CASES="$${PROPTEST_CASES:-64}" CARGO_PROFILE_DEV_DEBUG=0
	status=0
	cargo mutants --jobs "$(JOBS)" --output "$(HOLDFAST_CACHE)" $(if $(FILE),--re "^$(FILE)") $(MUTANTS_FLAGS) || status=$$?
	echo "[mutants] caught, missed, unviable: $(HOLDFAST_CACHE)/mutants.out/*.txt"
	# 3: mutants that never end; the time limit noticed them.
	if [ $$status = 3 ] && [ ! -s "$(HOLDFAST_CACHE)/mutants.out/missed.txt" ]; then status=0; fi
	exit $$status

lint: deps ## format, clippy, licences and sources
	@echo "[lint] format"
	cargo fmt --all --check
	echo "[lint] clippy"
	cargo clippy --locked --workspace --all-targets -- -D warnings
	echo "[lint] licences, bans and sources"
	export PATH="$(TOOLS)/bin:$$PATH"
	if ! command -v cargo-deny >/dev/null; then
	    echo "[lint] installing cargo-deny into $(TOOLS)"
	    CARGO_TARGET_DIR="$(TOOLS)/target" cargo install --locked --quiet --root "$(TOOLS)" cargo-deny || true
	    rm -rf "$(TOOLS)/target"
	fi
	if command -v cargo-deny >/dev/null; then
	    cargo deny check bans licenses sources
	    echo "[lint] format, clippy, licences, bans and sources are clean"
	else
	    echo "[lint] format and clippy are clean; licences NOT checked: cargo-deny could not be installed"
	fi
