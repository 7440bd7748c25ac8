# MailGuard: `make run` to try it, `make test` to prove it. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install dev run test test-packages crash fuzz fit bench bench-scale soak lint docs lock clean

# A virtual environment that was copied or moved does not work: make it anew.
$(shell [ ! -e .venv/.stamp-runtime ] || [ "$$(cat .venv/.path 2>/dev/null)" = "$$PWD" ] || rm -f .venv/.stamp-*)

PYTEST := .venv/bin/pytest
# Where Python may not keep what it compiled, each of the hundreds of processes that the tests start compiles it all anew.
export PYTHONDONTWRITEBYTECODE :=
SETUP := pyproject.toml requirements/build.lock requirements/runtime.lock requirements/dev.lock tools/venv tools/packages

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

install: .venv/.stamp-runtime ## Make .venv with .venv/bin/mailguard (installs Debian packages when missing)

.venv/.stamp-runtime: $(SETUP)
	@tools/packages runtime
	@tools/venv runtime

dev: .venv/.stamp-dev ## The same, with what development needs

.venv/.stamp-dev: $(SETUP)
	@tools/packages runtime
	@tools/venv dev

run: install ## Run a demo relay on 127.0.0.1:2525 with a scanner and a mailbox; Ctrl-C stops it
	@exec .venv/bin/mailguard playground

test-packages: dev
	@tools/packages test

test: test-packages ## Run all tests: the quick ones, those with real servers, those that kill, side by side each; at last those that want to be alone
	@status=0; \
	$(PYTEST) -q -n 2 --ignore=tests/e2e --ignore=tests/crash tests || status=1; \
	$(PYTEST) -q -n 3 --dist loadfile -m 'not serial' tests/e2e || status=1; \
	$(PYTEST) -q -n 2 --dist loadfile tests/crash || status=1; \
	$(PYTEST) -q -m serial tests/e2e || status=1; \
	exit $$status

CRASHES ?= 200
crash: test-packages ## Kill all parts under load, at random and at each step, CRASHES=200 times a database: nothing accepted may be lost
	MAILGUARD_CRASHES=$(CRASHES) $(PYTEST) -q -n 2 --dist loadfile tests/crash

FUZZ_SECONDS ?= 3600
fuzz: .venv/.stamp-fuzz ## Fuzz every parser, guided by coverage, FUZZ_SECONDS=3600 in all; a find ends up in tests/fuzz/finds
	.venv/bin/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

.venv/.stamp-fuzz: .venv/.stamp-dev requirements/fuzz.lock
	@.venv/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/fuzz.lock
	@touch $@

CORPORA ?= ../shared/corpora
fit: dev ## Train the classifier and fit all points on the collections in CORPORA; writes mailguard/checks/data and policies/rules
	tools/fit $(CORPORA)
	.venv/bin/python tools/write_docs.py

PEERS ?= ../shared/bench
BENCH ?=
bench: dev ## Measure with every check on, beside Postfix and rspamd of PEERS, BENCH="--paths all --count 1000"
	@tools/packages bench
	.venv/bin/python -m benchmarks.bench --peers $(PEERS) $(BENCH)

SCALE ?=
bench-scale: dev ## How cost grows with connections, size, tenants, events…: SVG curves, SCALE="--only events --events 10000000"
	@tools/packages bench
	.venv/bin/python -m benchmarks.scale --peers $(PEERS) $(SCALE)

SOAK_MINUTES ?= 10
soak: dev ## Load for SOAK_MINUTES=10; fails when a worker's memory grows
	@tools/packages bench
	.venv/bin/python -m benchmarks.soak --peers $(PEERS) --minutes $(SOAK_MINUTES)

lint: dev ## ruff, mypy --strict and the layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(PYTEST) -q tests/unit/test_layers.py

docs: dev ## Write the generated pages of docs/ anew
	.venv/bin/python tools/write_docs.py

lock: ## Write requirements/*.lock anew from pyproject.toml
	@tools/lock

clean: ## Remove what was built; var/ (mail and database) stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
