# `make quickstart` and `make test` set up everything they need, on a fresh machine too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Hundreds of processes import the same modules in a run of the tests: their bytecode is kept, whatever the shell says.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup quickstart check test busy-test lint types quick quick-coverage waiting constraints format clean

help:
	@echo "make quickstart   set up, render sample panoramas, run the main job on them"
	@echo "make check        set up, lint, check types, run the tests that need no Ray, no server and no browser: minutes"
	@echo "make test         everything, with what each part took"
	@echo "make busy-test    everything, three times, while endless loops occupy every core"
	@echo "make format       format the code"
	@echo "make clean        remove the virtual environment and the quickstart's output"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pager_ray needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# Rendered panoramas and the checkpoint that comes with the package: on any machine, without a download.
quickstart: $(READY)
	$(BIN)/pager-ray samples quickstart/panoramas --count 6
	$(BIN)/pager-ray run --config configs/quickstart.yaml
	@echo
	@echo "The weights are small, and trained on rendered scenes alone: docs/embedded.md"

check: lint types quick

test: $(READY)
	@MAKE="$(MAKE)" sh .ci/parts lint types quick-coverage waiting

busy-test: $(READY)
	$(BIN)/python -m tests.harness.busy --times 3 -- $(MAKE) test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Its workers have three seconds to start, which a busy machine does not give: 2 is no error of types, those are 1.
types: $(READY)
	$(BIN)/mypy || { [ $$? = 2 ] && $(BIN)/mypy --num-workers 0; }

# Folders of tests that need more than a process of their own, see tests/conftest.py.
WAITING = $(shell find tests -type d '(' -name ray -o -name store -o -name browser -o -name processes -o -name slow -o -name stress ')' -prune)

# Tests that need this process alone. There is one process more than cores, for what waits in a few of them. What others
# import is not even collected. In the order of their names, as a few large files that came last would leave a core idle.
QUICK = -n 3 --dist loadfile --no-loadscope-reorder -m "not ray and not store and not browser and not slow" $(addprefix --ignore=,$(WAITING))

quick: $(READY)
	$(BIN)/python -m pytest $(QUICK)

quick-coverage: $(READY)
	$(BIN)/python -m pytest $(QUICK) --cov --cov-report=term:skip-covered

# The others wait for processes most of the time, so several go on at once; each kind shares its Ray, server or browser.
# More than three would take longer on two cores: Rays and servers that wait their turn are busy, too. Tests are named as
# they end: a run that is cut short says which it waited for.
SIDE_BY_SIDE ?= 3

waiting: $(READY)
	$(BIN)/python -m pytest -v -n $(SIDE_BY_SIDE) --dist loadgroup --no-loadscope-reorder $(WAITING)

# After a change of dependencies, once the tests have passed with them.
constraints: $(READY)
	sh .ci/constraints $(BIN)/python > constraints.txt

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) quickstart
