# Two commands do all the set-up: `make demo` and `make test`. Both are quick the second time.
#
#   make demo      create .venv, install, train a VAE on drawn faces, write the report; the second
#                  time it says where that is
#   make test      lint, types, tests and doctests
#   make test-fast what one runs between edits: parts, data, registry, refusals; no long training
#   make test-all  all of them: kills, full disks, every command of the guide
#   make bench     time it against its peers, in an environment of its own (benchmarks/.venv)
#   make lock      renew constraints.txt from what pyproject.toml asks for
#   make clean     remove .venv and what tools leave behind
#
# Variables: PYTHON (python3), TORCH (version), CUDA=1 (take the build with CUDA),
#            BENCH (arguments of benchmarks/bench.py, as BENCH="w1-128 --rounds 3"),
#            TORCH_INDEX (a further wheel index to look for torch in), OUT (the demo's folder)

PYTHON ?= python3
TORCH ?= $(shell sed -n 's/^torch==//p' constraints.txt)
CUDA ?=
TORCH_INDEX ?=
OUT ?= runs/demo
BENCH ?=

FAST := data data_files data_splits distributions figures gradients imports io_fetch models nn \
        parts refusals registry report report_languages training values walks weights wrapped

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PINS := $(VENV)/constraints.txt

.PHONY: demo test test-all test-fast check bench lint lock clean install
.DEFAULT_GOAL := demo

demo: $(VENV)/.package
	@if [ -f $(OUT)/report.html ]; then \
	  echo "open     file://$(abspath $(OUT))/report.html (trained before; OUT=FOLDER trains anew)"; \
	elif [ -f $(OUT)/config.json ]; then \
	  $(BIN)/vaekit train --resume $(OUT); \
	else \
	  $(BIN)/vaekit demo --out $(OUT); \
	fi

test: check
	@$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: check
	@$(BIN)/python -m pytest -n 2

test-fast: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 2 -m "not slow" $(FAST:%=tests/test_%.py)

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lint: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/mypy

install: $(VENV)/.dev

$(VENV)/.torch: constraints.txt
	@PYTHON="$(PYTHON)" sh tools/venv.sh $(VENV)
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

# Peers go beside the same torch: .venv's packages are seen through a .pth file.
PEERS := benchmarks/.venv

$(PEERS)/.peers: $(VENV)/.package benchmarks/peers/requirements.txt
	@$(BIN)/python -m venv $(PEERS)
	@echo "import site; site.addsitedir('$$($(BIN)/python -c \
	  "import sysconfig; print(sysconfig.get_path('purelib'))")')" \
	  > $$($(PEERS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/kit.pth
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
	  -r benchmarks/peers/requirements.txt
	@touch $@

bench: $(PEERS)/.peers
	@$(PEERS)/bin/python benchmarks/bench.py $(BENCH)
	@$(BIN)/python tools/benchmarks.py

lock:
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" TORCH_INDEX="$(TORCH_INDEX)" sh tools/lock.sh

clean:
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache dist
