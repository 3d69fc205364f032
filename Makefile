# Tradespace. `make run` starts it, `make check` tests it; both set up everything they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The stamp depends on the lock file: a changed lock installs again, an unchanged one costs nothing.
$(VENV)/.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python >= 3.11 is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "A C compiler is needed: install gcc or clang, or set CC"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.stamp  ## Virtual environment with pinned dependencies

run: setup  ## Start the service on http://127.0.0.1:8000 with an example network
	$(BIN)/tradespace serve

# What only the tests need from the system: a second compiler, a browser, PostgreSQL. Skipped where it is there already.
test-tools:
	@missing=; \
	for pair in clang:clang chromium:chromium; do \
	  command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "install these for the tests:$$missing"; exit 1; fi; \
	fi

lint: setup  ## Style, formatting, import contracts
	ruff check .
	ruff format --check .
	lint-imports
	clang-format --dry-run --Werror $$(git ls-files 'kernels/*.c' 'kernels/*.h')

types: setup  ## Static types
	mypy solver kernels app

test: setup test-tools  ## All tests (add ARGS="-k name" to choose)
	pytest -n 2 --dist worksteal -m "not huge and not cross" $(ARGS)

check: lint types test  ## Everything continuous integration runs

check-huge: setup test-tools  ## The tests that need gigabytes or many minutes (VGG-19 end to end)
	pytest -m huge

# Emulated, so that it needs no boards; nothing is installed: see docs/targets.md for what each tool is called in Debian.
CROSS_TOOLS := aarch64-linux-gnu-gcc arm-linux-gnueabihf-gcc riscv64-linux-gnu-gcc qemu-aarch64 qemu-arm qemu-riscv64
check-cross: setup  ## Kernels and bundles on AArch64, ARMv7 and RISC-V, cross compiled and emulated
	@missing=; for tool in $(CROSS_TOOLS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then echo "not installed:$$missing (docs/targets.md says how)"; exit 1; fi
	pytest -n 2 --dist worksteal -m cross $(ARGS)

format: setup  ## Format Python and C
	ruff check --fix .
	ruff format .
	clang-format -i $$(git ls-files 'kernels/*.c' 'kernels/*.h')

# The example library and bench/networks.py, then MODELS (files, or folders of them). What was measured once is kept in
# build/bench, so a second run only times.
BENCH_DATA := build/bench/data
BENCH_MADE := build/bench/models
BENCH_LIBRARY := vgg19 googlenet alexnet resnet50 squeezenet densenet121
bench: setup  ## Side by side with other runtimes: MODELS="FILE.onnx FOLDER ..." ARGS="--rounds 20 --threads 2"
	$(BIN)/python bench/networks.py $(BENCH_MADE)
	@mkdir -p bench/results
	tradespace --data $(BENCH_DATA) bench $(BENCH_LIBRARY) $(BENCH_MADE)/*.onnx \
	  $(foreach model,$(MODELS),$(or $(wildcard $(model)/*.onnx),$(model))) \
	  -o bench/results/bench.json --markdown bench/results/bench.md $(ARGS)

# The extra `bench` without torch, which pnnx asks for but does not need to convert ONNX files.
bench-peers: setup  ## Install the runtimes that `make bench` compares with
	$(BIN)/python -m pip install --quiet mnn ncnn openvino
	$(BIN)/python -m pip install --quiet --no-deps pnnx

lock: setup  ## Recompute requirements.lock from pyproject.toml
	$(BIN)/python -m pip install --quiet pip-tools
	pip-compile --quiet --generate-hashes --extra dev --no-annotate --no-header --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --allow-unsafe --strip-extras -o requirements.lock pyproject.toml

regen: setup  ## Rewrite golden files and generated docs; read the diff before committing it
	$(BIN)/python -m kernels.docs > docs/primitives.md
	$(BIN)/python -m app.api.openapi > docs/openapi.json
	pytest -q tests/codegen --regen

.PHONY: help setup run test-tools lint types test check check-huge check-cross format bench bench-peers lock regen
