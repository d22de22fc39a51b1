# Everything a newcomer or CI needs. Each target sets up what it needs itself, once.
#   make demo    a spoken conversation on this machine, with no key, network service or sound card
#   make test    every test            make check   lint and types
#   make bench   the benchmarks        make lock    pin the dependencies anew
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOUNDS := pocketsphinx-testdata
PYPROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PACKAGES := agentkit plugins/agentkit-local/agentkit_local
CODE := agentkit plugins examples tests

.PHONY: help demo test check bench lock clean
help:
	@sed -n '2,4s/^# *//p' Makefile

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "agentkit needs Python 3.11 or newer; $(PYTHON) is not. Set PYTHON=python3.12, say."; exit 1; }
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	  echo "Installing python3-venv"; $(SUDO) apt-get update -qq; \
	  $(SUDO) apt-get install -qq -y python3-venv >/dev/null; $(PYTHON) -m venv $(VENV); }
	@touch $@

$(VENV)/runs: $(VENV)/made requirements.lock $(PYPROJECTS)
	@echo "Installing agentkit and its offline engine"
	@$(PIP) install -r requirements.lock
	@$(PIP) install --no-deps -e . $(patsubst %/pyproject.toml,-e %,$(wildcard plugins/*/pyproject.toml))
	@touch $@

$(VENV)/develops: $(VENV)/runs requirements-dev.lock
	@echo "Installing the tools of development"
	@$(PIP) install -r requirements-dev.lock
	@touch $@

$(VENV)/speaks: $(VENV)/made
	@if ! dpkg -s $(SOUNDS) >/dev/null 2>&1; then \
	  echo "Installing recorded speech for the tests: $(SOUNDS)"; $(SUDO) apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -qq -y --no-install-recommends $(SOUNDS) >/dev/null; fi
	@touch $@

demo: $(VENV)/runs
	@$(BIN)/agentkit demo

test: $(VENV)/develops $(VENV)/speaks
	@$(BIN)/python -m pytest

check: $(VENV)/develops
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy $(PACKAGES) examples tests $(wildcard plugins/*/tests)

bench: $(VENV)/develops
	@$(BIN)/python tests/bench/run.py

# Dependencies between the packages here are left out: they are installed from the tree.
LIST := import sys, tomllib; \
  found = [tomllib.load(open(path, "rb")) for path in sys.argv[1:]]; \
  own = {data["project"]["name"] for data in found}; \
  named = [d for data in found for d in [*data["project"]["dependencies"], \
           *data["project"].get("optional-dependencies", {}).get("audio", [])]]; \
  print(*[d for d in named if d.split("[")[0].split(">")[0].split("=")[0] not in own], sep="\n")
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
  --no-emit-index-url --no-annotate
lock: $(VENV)/made
	@$(PIP) install uv
	@mkdir -p build
	@$(BIN)/python -c '$(LIST)' $(PYPROJECTS) > build/requirements.in
	@$(COMPILE) build/requirements.in -o requirements.lock
	@$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock

clean:
	@rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
