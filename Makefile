# One task file for people and CI. `make help` lists the tasks.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
export VIRTUALSERVER_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/virtualserver
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/tests
RUN := . "$$($(PYTHON) -m lab venv)/bin/activate" &&

.PHONY: help setup demo test quick lab lab-down lab-exec lab-status bench lint format crds clean

help: ## list the tasks
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install what the tasks need: Debian packages, the Python environment, the API server's binaries
	@$(PYTHON) -m lab setup

demo: setup ## five minutes with the project: a virtual server from apply to delete, on real parts
	@$(RUN) exec python -m lab.demo

test: setup ## everything: lint, types, import rules, unit, contract, cluster, kernel and end-to-end tests
	@$(MAKE) lint
	$(RUN) exec python -m pytest --numprocesses=2 --max-worker-restart=0 --no-loadscope-reorder $(ARGS)

quick: setup ## the loop while writing: lint, and the tests that need no kernel and no API server
	@$(MAKE) lint
	$(RUN) python -m pytest tests/unit tests/repo $(ARGS)

lab: setup ## bring up a data centre to play with; stays up
	@$(RUN) exec python -m lab up $(ARGS)

lab-down: ## remove every trace of it
	@$(PYTHON) -m lab down $(ARGS)

lab-exec: export LAB_HOST := $(value HOST)
lab-exec: export LAB_COMMAND := $(value CMD)
lab-exec: ## run a command on a host of it: make lab-exec HOST=client CMD='curl -s http://198.18.0.100/'
	@$(PYTHON) -m lab exec $(ARGS) -- "$$LAB_HOST" "$$LAB_COMMAND"

lab-status: ## what of it is running
	@$(PYTHON) -m lab status $(ARGS)

bench: setup ## figures against peers, measured in one run; written to bench-results.jsonl
	@$(RUN) exec python -m bench

lint: setup ## format, lint, types, import rules
	@$(RUN) ruff format --check . && ruff check . && mypy && lint-imports

format: setup ## put the code into shape
	@$(RUN) ruff format . && ruff check --fix .

crds: setup ## generate the custom resource definitions from the models
	@$(RUN) python -m virtualserver crds crds helm/virtualserver/crds

clean: lab-down ## remove the lab and what tests left; the cache stays
	@rm -rf artifacts bench-results.jsonl bench-crash.svg .pytest_cache .mypy_cache .ruff_cache
	find operator tests -name __pycache__ -prune -exec rm -rf {} +
