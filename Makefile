# `make quickstart` and `make test` set up everything they need, on a fresh machine too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup quickstart test lint types unit format clean

help:
	@echo "make quickstart   set up, render sample panoramas, run the main job on them"
	@echo "make test         set up, lint, check types, run every test"
	@echo "make format       format the code"
	@echo "make clean        remove the virtual environment and the quickstart's output"

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pager_ray needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

# Rendered panoramas and random weights: shows the pipeline on any machine, without a download.
quickstart: $(READY)
	$(BIN)/pager-ray samples quickstart/panoramas --count 6
	$(BIN)/python -m pager_ray.model.random_checkpoint quickstart/checkpoint --preset tiny
	$(BIN)/pager-ray run --config configs/quickstart.yaml
	@echo
	@echo "The weights are random and untrained: the pictures show the pipeline, not the model."

test: lint types unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/python -m pytest

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) quickstart
