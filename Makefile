# 'make test' and 'make demo' need only Python 3.11 or 3.12 and a C++ compiler: everything else goes into .venv.

VENV ?= .venv
# The first of these that is 3.11 or 3.12. Another one: make PYTHON=/path/to/python3.12
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
# setup.py declares the range; here one version is chosen, so that every machine tests the same one.
TORCH ?= torch==2.13.0
# What 'make test' hands to pytest, e.g. make test PYTEST_ARGS='tests/data -x'
PYTEST_ARGS ?=
# What 'make demo' hands to examples/demo/run.py, e.g. make demo DEMO_ARGS='--real /data/ptb-xl'
DEMO_ARGS ?=

BIN := $(VENV)/bin
# Twice quiet: progress and warnings are dropped, errors (with the output of a failed build) are shown.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq

INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install gpu test lint format demo synthetic-model bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## .venv with torch, the host, the plugin (editable) and the development tools

# The host's build imports torch, numpy and Cython, so they come first and build isolation is off: with it pip would
# put a second torch into a temporary environment. The stamp is written last: an interrupted installation is resumed.
$(INSTALLED): setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing $(TORCH) into $(VENV)"
	@$(PIP) '$(TORCH)' numpy cython setuptools wheel
	@echo "installing the host and the plugin (where the host has to be compiled: about 4 minutes)"
	@$(PIP) --no-build-isolation -e '.[dev,viz,generation,onnx]'
	@touch $@

gpu: install  ## replaces faiss-cpu by faiss-gpu (CUDA 12); torch on Linux has CUDA by default
	$(PIP) --no-build-isolation -e '.[gpu]'
	$(BIN)/python -m pip uninstall -q -y faiss-cpu
	$(PIP) --force-reinstall --no-deps faiss-gpu

# Tests in a few processes at once: more would only repeat the trainings that several of them share.
test: lint  ## lint and tests
	$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

lint: install  ## ruff, rules and format; mypy, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## lets ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: install  ## from a synthetic cohort to demo/report.html
	$(BIN)/python examples/demo/run.py --dest demo $(DEMO_ARGS)

synthetic-model: install  ## trains the model that comes with the package again, and replaces it
	$(BIN)/python examples/synthetic_model/run.py --dest synthetic-model

bench: install  ## ratios of speed and memory, side by side; about 20 minutes on 2 idle cores
	$(BIN)/python -m benchmarks all --json bench.json

clean:  ## removes .venv, the demo and build products
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
