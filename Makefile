# The verbs of this repository. Each makes what it needs in .venv, from the package index alone.
#
# The environment is made anew whenever pyproject.toml changes, so it always is what that file says.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench clean
.NOTPARALLEL:

help: ## print the verbs
	@echo "usage: make VERB"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## run a gateway before three small services (ONCE=1: one tour and out; WSGI=1: under WSGI)
	@$(BIN)/python -m examples.demo $(if $(ONCE),--once) $(if $(WSGI),--wsgi)

test: $(VENV)/.test ## run the tests (ARGS="tests/test_servers.py -k nginx": some of them)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.lint ## check style, types and the length of files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/python -m tests.lint

docs: $(VENV)/.docs ## build the documentation into docs/_build/html
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.bench ## measure every budget beside its peers (ARGS="--quick", ARGS="--only onion")
	@$(BIN)/python -m tests.benchmarks $(ARGS)

clean: ## remove the environment and everything that was built
	@rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis bench.json
	@find gatekit tests examples docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("gatekit needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.bench: $(VENV)/.made
	@echo "installing what '$(patsubst .%,%,$(notdir $@))' needs into $(VENV)"
	@$(PIP) install --editable '.[$(patsubst .%,%,$(notdir $@))]'
	@touch $@
