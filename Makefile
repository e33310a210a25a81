# Front door. Every recipe calls the `bhvit` command line; there is no logic here.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
HOST_VENV  := .venv-host
HOST_STAMP := $(HOST_VENV)/.installed
JOBS   ?= 2
N      ?= 100
BUILD  ?= build/bhvit_micro
BOARD  ?= zcu104
DATA   ?= random:1
#: what the pinned packages have wheels for
NEEDS_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	{ echo "Python 3.11 or 3.12 is needed; set PYTHON=/path/to/python3.11" >&2; exit 2; }

.DEFAULT_GOAL := help
.PHONY: help setup host-setup demo test test-full test-hls hls-cosim lint bitstream notebooks bench bench-tiny bench-tiny-all doctor clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## the environment .venv: exact versions, 2 GB
$(STAMP): requirements/torch.txt requirements/lock.txt pyproject.toml
	$(NEEDS_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

host-setup: $(HOST_STAMP) ## the environment .venv-host of board code and notebook 5 (pynq needs numpy 1): exact versions, 0.3 GB
$(HOST_STAMP): requirements/host.txt
	$(NEEDS_PYTHON)
	$(PYTHON) -m venv $(HOST_VENV)
	$(HOST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r requirements/host.txt
	@touch $@

demo: setup ## export, build and simulate bhvit_micro on 100 test digits, bit by bit against PyTorch
	$(BIN)/bhvit demo -o $(BUILD) -n $(N)

test: setup host-setup ## all tests but the wide spread (see test-full)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not full" -rs

test-full: setup host-setup ## every test, wide spread of shapes and foldings included
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -rs

test-hls: setup ## the layers in HLS C++: every shape, folding, mutation, threaded blocks and engines; g++ under sanitizers
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/hls -k "not reduced and not network" -rs

hls-cosim: setup ## the layers in HLS C++ with Vitis: csim, csynth, C/RTL cosim (LAYER=<layer>: one of them)
	$(BIN)/bhvit hls cosim $(LAYER)

lint: setup ## ruff, and Verilator -Wall on every kernel
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n $(JOBS) tests/rtl/test_lint.py

bitstream: setup ## bit file for BOARD=<name of a file in configs/board> (BUILD=<folder>: of this build, not the board's usual one)
	$(BIN)/bhvit bitstream $(if $(filter-out file,$(origin BUILD)),$(BUILD)) --board $(BOARD)

notebooks: setup host-setup ## run all notebooks without a browser: 0 to 4 in .venv, 5 with pynq in .venv-host
	$(BIN)/bhvit notebooks

bench: setup ## simulation speed, build times, cycles estimated/simulated, LUTs per binary MAC, scale probe
	$(BIN)/bhvit bench

bench-tiny: setup ## BHViT-tiny at 224x224 for a ZCU104: build, simulation, synthesis (DATA=imagefolder:DIR: photographs)
	$(BIN)/bhvit bench-tiny --data $(DATA)

bench-tiny-all: bench-tiny ## the same for ZCU102 and KV260, and BHViT-small (simulated, not synthesized); ablations
	$(BIN)/bhvit bench-tiny configs/build/bhvit_tiny_zcu102.yaml --data $(DATA) -n 8 --skip synth
	$(BIN)/bhvit bench-tiny configs/build/bhvit_tiny_kv260.yaml --data $(DATA) -n 8 --skip synth
	$(BIN)/bhvit bench-tiny configs/build/bhvit_small_zcu104.yaml --data $(DATA) -n 8 --stalled 2 --skip synth
	$(BIN)/bhvit explore ablation configs/build/bhvit_tiny_zcu104.yaml

doctor: setup ## what is installed, what is missing, and what that disables
	$(BIN)/bhvit doctor

clean: ## remove build results (keeps .venv, and the trainings in runs)
	rm -rf build .pytest_cache .ruff_cache .hypothesis
