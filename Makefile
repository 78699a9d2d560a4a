# Two commands do all the set-up: `make demo` and `make test`. Both are quick the second time.
#
#   make demo      create .venv, install, train a VAE on the embedded digits, write the report
#   make test      lint, types, tests and doctests
#   make lock      renew constraints.txt from what pyproject.toml asks for
#   make clean     remove .venv and what tools leave behind
#
# Variables: PYTHON (python3), TORCH (version), CUDA=1 (take the build with CUDA),
#            TORCH_INDEX (a further wheel index to look for torch in), OUT (the demo's folder)

PYTHON ?= python3
TORCH ?= $(shell sed -n 's/^torch==//p' constraints.txt)
CUDA ?=
TORCH_INDEX ?=
OUT ?= runs/demo

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PINS := $(VENV)/constraints.txt

.PHONY: demo test lint lock clean install
.DEFAULT_GOAL := demo

demo: $(VENV)/.package
	@$(BIN)/vaekit demo --out $(OUT)

test: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/mypy

install: $(VENV)/.dev

$(VENV)/.torch: constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed 's/^torch==.*/torch==$(TORCH)/' constraints.txt > $(PINS)
	@if [ -n "$(CUDA)" ]; then \
	  echo "installing torch $(TORCH) with CUDA (several GB)"; \
	  $(PIP) install --quiet $(INDEX) -c $(PINS) "torch==$(TORCH)"; \
	elif ! $(PIP) install --quiet $(INDEX) -c $(PINS) "torch==$(TORCH)+cpu" 2> $(VENV)/torch.log; then \
	  echo "no CPU build of torch $(TORCH) was found (details: $(VENV)/torch.log); taking the plain one:" \
	       "on Linux it brings CUDA, several GB. TORCH_INDEX=URL names an index with CPU builds."; \
	  $(PIP) install --quiet $(INDEX) -c $(PINS) "torch==$(TORCH)"; \
	fi
	@touch $@

$(VENV)/.package: $(VENV)/.torch pyproject.toml
	@echo "installing vaekit into $(VENV)"
	@$(PIP) install --quiet $(INDEX) -c $(PINS) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.package
	@$(PIP) install --quiet $(INDEX) -c $(PINS) -e ".[dev]"
	@touch $@

lock:
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" TORCH_INDEX="$(TORCH_INDEX)" sh tools/lock.sh

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist
