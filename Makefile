# Waypost. `make demo` and `make test` set everything up themselves; `make help` lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
SOLC_VERSION := 0.8.37

export PATH := $(BIN):$(CURDIR)/node_modules/.bin:$(PATH)
export SOLCX_BINARY_PATH := $(CURDIR)/.solcx
export PYTHONUNBUFFERED := 1
export WAYPOST_TEST_PORT ?= $(shell $(PYTHON) setup/free_port.py)

PYTEST := $(BIN)/python -m pytest

## Set-up

.PHONY: setup networks
setup: .setup/python .setup/npm .setup/solc networks .setup/contracts ## Everything below; each step only when its inputs changed

.setup/python: requirements.txt setup/bootstrap.txt pyproject.toml setup.py setup/python.sh $(wildcard offchain/chain/*.[ch])
	@mkdir -p .setup
	PYTHON=$(PYTHON) setup/python.sh $(VENV)
	@touch $@

.setup/npm: package.json package-lock.json .npmrc setup/anvil.sh
	@mkdir -p .setup
	npm install --no-save --no-progress --loglevel=error  # not `ci`: it refuses a lock without the platforms one cannot fetch
	setup/anvil.sh
	@touch $@

.setup/solc: .setup/npm setup/solc.sh setup/solc-launcher.mjs
	setup/solc.sh $(SOLC_VERSION)
	@touch $@

networks: .setup/python
	@$(BIN)/python setup/networks.py  # always: it is quick, and what it writes is in the home directory, not here

.setup/contracts: .setup/python .setup/solc brownie-config.yaml $(shell find contracts interfaces -name '*.sol')
	rm -rf build/contracts build/interfaces  # compiled by parts, contracts could keep the metadata of older sources
	brownie compile
	@touch $@

## The main job

.PHONY: demo
CURATION ?= owner

demo: setup ## The whole story on one machine; CURATION=token: a list that token holders curate; ARGS="--input FILE" and others
	waypost demo --curation $(CURATION) $(ARGS)

## Checks

.PHONY: test test-offchain test-contracts test-deep test-system lint types
test: test-offchain test-contracts test-system ## All tests

test-offchain: setup ## Unit and property tests: no chain, no network
	$(PYTEST) -q tests/offchain

test-contracts: setup ## Contracts under Brownie on a local chain
	brownie test

test-deep: setup ## Contracts and trusted set against their models at length
	WAYPOST_EXAMPLES=200 WAYPOST_STEPS=50 brownie test $(wildcard tests/contracts/*/test_stateful*.py)
	WAYPOST_EXAMPLES=300 WAYPOST_STEPS=50 $(PYTEST) -q tests/offchain/trust/test_model.py

test-system: setup ## A chain, nodes and a client; foreign implementations as peers
	$(PYTEST) -q -rs tests/system tests/interop

lint: setup ## ruff
	ruff check .
	ruff format --check .

types: setup ## mypy --strict, of the benchmarks too
	mypy

.PHONY: slither prove coverage
slither: setup ## Static analysis of the contracts; installs slither in .setup/
	setup/slither.sh

prove: ## The arithmetic of rewards, locks and packed terms, proven with z3; installs it in .setup/
	@mkdir -p .setup
	setup/prove.sh

coverage: setup ## Statements and branches of every contract that the tests reach; an error below 95 %
	brownie test --coverage
	$(BIN)/python setup/coverage.py

## Figures

.PHONY: gas bench
gas: setup ## Gas of every registry operation, beside its bound
	$(BIN)/python bench/gas.py $(ARGS)

SIM_NODES ?= 10000
SIM := $(BIN)/python -m offchain.discovery.sim

.PHONY: sim sim-figures sim-plots
sim: setup ## Discovery with SIM_NODES (10,000) nodes for an hour, a third of them hostile; within 60 minutes and 8 GB
	$(SIM) $(ARGS) hour --nodes $(SIM_NODES) --hostile 0.333 --zeal 1 --pace 10

sim-figures: setup ## Every run of docs/discovery.md but the large one, into docs/figures/sim.jsonl
	setup/sim_figures.sh

sim-plots: ## Draw docs/figures/sim.jsonl; installs matplotlib in .setup/
	setup/plots.sh

BENCHES := $(filter-out bench/_%.py bench/gas.py,$(wildcard bench/*.py))

bench: setup ## Every benchmark; ARGS=--json for one document each
	@for each in $(BENCHES); do $(BIN)/python $$each $(ARGS) || exit 1; done

.PHONY: load
load: setup ## 500 clients for 5 minutes, then 2,000 idle connections, on 10 million envelopes; ends with an error if one is missing
	$(BIN)/python bench/load.py --envelopes 10000000 --seconds 300 --idle 2000 --idle-seconds 30 --cache build/bulk $(ARGS)

.PHONY: archive
ARCHIVE := $(BIN)/python bench/archive.py --envelopes 10000000 --seconds 10 --cache build/bulk

archive: setup ## Ingest and queries of 10 million envelopes, in LMDB and in PostgreSQL; builds them first: 20 minutes, 20 GB
	$(ARCHIVE) $(ARGS)
	$(ARCHIVE) --postgres --warm-up 30 $(ARGS)

CHAOS_MINUTES ?= 5

.PHONY: chaos
chaos: setup ## Mail servers among faults for CHAOS_MINUTES (5); ends with an error if an envelope is lost
	$(BIN)/python -m tests.support.chaos --minutes $(CHAOS_MINUTES) $(ARGS)

.PHONY: day
day: setup ## A day of 864,000 envelopes in some minutes; ends with an error if one is lost, or memory grows
	$(BIN)/python -m tests.support.day $(ARGS)

SOAK_MINUTES ?= 30

.PHONY: soak
soak: setup ## Events, reorganisations and faults for SOAK_MINUTES (30); ends with an error if anything is wrong
	$(BIN)/python -m tests.support.soak --minutes $(SOAK_MINUTES) $(ARGS)

PACKETS ?= 1000000

.PHONY: flood
flood: setup ## PACKETS (a million) random and mutated packets from spoofed sources against a running discovery node
	$(BIN)/python -m tests.support.flood --packets $(PACKETS) $(ARGS)

.PHONY: clean help
clean: ## Forget the set-up
	rm -rf $(VENV) node_modules .setup .solcx build reports

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18
