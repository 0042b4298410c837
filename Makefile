# The only door: every task of the project is a target here.
.DEFAULT_GOAL := help
VENV := .venv
PYTHON := $(VENV)/bin/python
export PATH := $(CURDIR)/$(VENV)/bin:$(CURDIR)/.cache/tools/bin:$(PATH)

.PHONY: help demo test nodes lint format bench stop clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: pyproject.toml uv.lock scripts/setup
	@scripts/setup

demo: $(VENV)/ready ## Bring up the example cluster with a small shop on it, and leave it running
	@scripts/install-node-packages
	@$(PYTHON) -m examples.demo

test: $(VENV)/ready ## Run all tests but those of whole clusters of real nodes
	@scripts/install-node-packages
	@scripts/fetch-helm
	@scripts/fetch-etcd
	@$(PYTHON) -m pytest -n 2 --dist loadgroup -m "not real_cluster" $(ARGS)

nodes: $(VENV)/ready ## Run the tests of whole clusters of real nodes: as root, one after the other
	@scripts/install-node-packages
	@$(PYTHON) -m pytest -m real_cluster tests/nodes $(ARGS)

lint: $(VENV)/ready ## Check format, style, types and the import rules
	@ruff format --check --quiet . || { ruff format --diff --quiet .; exit 1; }
	@ruff check --quiet .
	@mypy
	@lint-imports --no-logo

format: $(VENV)/ready ## Format the code and mend what can be mended
	@ruff check --fix --quiet . || true
	@ruff format --quiet .

bench: $(VENV)/ready ## Measure; docs/benchmarks.md explains the figures
	@$(PYTHON) -m benchmarks $(ARGS)

stop: $(VENV)/ready ## Stop the region of the demo (its data stays; `twinplane down --purge` removes it)
	@twinplane down

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
