# Two commands for users: `make reproduce` and `make test`. Both set up the environment first when that is needed.
# Variables: CORES (processor cores to use), CONFIG (a config file), PYTEST_ARGS (for example PYTEST_ARGS="-k cases"),
# PYTHON (the interpreter of the environment, a name or a path; an environment of another interpreter is made anew).
# One package is not free software: pyiqa (PolyForm Noncommercial 1.0.0), which is installed with the others.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup reproduce test lock clean

CORES ?= 2
CONFIG ?= config/micro.yaml
PYTEST_ARGS ?=
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
IDENTITY := import sys; print(sys.base_prefix, sys.version)
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
# The installed state is named by all that defines it, so that a change of the lock or of the project (a `git pull`), a moved
# folder, or an environment whose Python is gone or is not PYTHON installs again. A broken-off installation is made again
# from nothing.
present = "$$($(BIN)/python -c "$(IDENTITY)" 2>&1)"
differs = test -n "$(PYTHON)" && test "$$("$(PYTHON)" -c "$(IDENTITY)" 2>&1)" != $(present)
state = { cat requirements.lock pyproject.toml; echo "$(CURDIR)" $(present); if $(differs); then echo differs; fi; } | cksum | tr ' ' '-'
STAMP := $(VENV)/.installed-$(shell $(state))
UNFINISHED := $(VENV)/.unfinished

help:
	@echo "make reproduce   set up, run the study of $(CONFIG) on $(CORES) cores, say where the report is"
	@echo "make test        set up, run all the tests"
	@echo "make setup       only make the environment in $(VENV)"
	@echo "make lock        refresh requirements.lock from pyproject.toml"
	@echo "make clean       remove the environment (results are kept)"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@set -eu; python=; for name in $(if $(PYTHON),"$(PYTHON)",python3 python python3.13 python3.12 python3.11); do \
	  if "$$name" -c "$(USABLE)" >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: $(if $(PYTHON),PYTHON=$(PYTHON) is no,no) Python 3.11 or newer with the venv module$(if $(PYTHON),, was found on PATH)." \
	       "Install one (on Debian or Ubuntu: apt install python3 python3-venv), or name one: make setup PYTHON=python3.12" >&2; exit 2; \
	fi; \
	if [ -e $(UNFINISHED) ] || $(differs) || ! $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	  base=$$("$$python" -c 'import sys; print(sys._base_executable)'); python=$${base:-$$python}; \
	  echo "Making the environment $(VENV) with $$("$$python" --version) ($$python)"; rm -rf $(VENV); "$$python" -m venv $(VENV); \
	fi; \
	rm -f $(VENV)/.installed-*; touch $(UNFINISHED); \
	echo "Installing the locked dependencies (some gigabytes the first time)"; \
	if $(BIN)/python -m pip show --quiet opencv-python >/dev/null 2>&1; then \
	  $(BIN)/python -m pip uninstall --yes --quiet opencv-python opencv-python-headless; \
	fi; \
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --requirement requirements.lock; \
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .; \
	rm -f $(UNFINISHED); \
	touch $(VENV)/.installed-$$($(state))

reproduce: $(STAMP)
	@cache="$${XDG_CACHE_HOME:-$$HOME/.cache}"; mkdir -p "$$cache/snakemake" 2>/dev/null && test -w "$$cache/snakemake" || { \
	  echo "error: $$cache: cannot be written, but Snakemake keeps a cache there. Set XDG_CACHE_HOME to a folder that can" \
	       "be written, and HF_HOME to $${HF_HOME:-$$cache/huggingface} if models are in it." >&2; exit 2; }
	@$(BIN)/snakemake --cores $(CORES) --configfile $(CONFIG) --quiet progress reason host
	@$(BIN)/python -m editfrontier where --config $(CONFIG)

test: $(STAMP)
	@$(BIN)/python -m pytest --numprocesses $(CORES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Without opencv-python, which facexlib (for pyiqa) asks for: its `cv2` needs libGL and lies on top of the headless one's.
# The lock is otherwise complete, and is installed without looking for what its packages require.
lock: $(STAMP)
	@$(BIN)/pip-compile --quiet --upgrade --extra dev --extra slurm --strip-extras --allow-unsafe --no-header --annotation-style=line --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml && sed -i.bak -E '/^opencv-python==/d; s/^((nvidia|cuda)-[^ ]+|triton==[^ ]+)/\1 ; sys_platform == "linux"/' requirements.lock && rm requirements.lock.bak

clean:
	rm -rf $(VENV)
