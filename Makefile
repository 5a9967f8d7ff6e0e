# make run: one pruned and trained network.  make test: all tests.  Both install what they need, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DIR := runs

.DEFAULT_GOAL := help
.PHONY: help setup run report test bench check lint format clean

help:  ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@echo 'Installing (PyTorch is large: a few minutes, once) ...'
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(READY)  ## Make .venv and install everything; done once

run: $(READY)  ## Prune at initialisation with SynFlow, then train, on the embedded data
	$(BIN)/python -m prune_init scorer=synflow sparsity=0.98

report: $(READY)  ## A page that shows all runs: make report DIR=runs
	$(BIN)/python -m prune_init.report $(DIR)

# Three workers for two cores: one of them runs the tests of SLURM, which mostly wait.
test: $(READY)  ## All tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadgroup

bench: $(READY)  ## Time pruning and training beside a plain implementation; half an hour
	$(BIN)/python -m prune_init.benchmark.speed --json speed.json

lint: $(READY)  ## Check format, lint, types and the direction of imports; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint  ## Before every commit: format, lint, types, fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow'

format: $(READY)  ## Format the code, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove what was built (not .venv, not runs)
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
