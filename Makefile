SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
CONFIG ?= conf/zoo_sample.cfg

SERVER := .build/release/zkServer
CHECKS := --explicit-target-dependency-import-check error
RELEASE := swift build --configuration release --static-swift-stdlib $(CHECKS)
PYTHON := .build/venv/bin/python

.PHONY: help
help: ## Say what there is.
	@grep --extended-regexp '^[a-z-]+:.*##' Makefile \
	    | sed --regexp-extended 's/^([a-z-]+):.*## /\1\t/' | expand --tabs=14

.PHONY: setup-build
setup-build:
	@scripts/install-packages build

.PHONY: setup
setup: ## Install what the build and the tests need (Debian packages, a Python environment).
	@scripts/install-packages build test
	@scripts/set-up-python

.PHONY: build
build: setup-build ## Build the release server, .build/release/zkServer.
	$(RELEASE) --product zkServer

.PHONY: run
run: build ## Build, and serve in the foreground with CONFIG=conf/zoo_sample.cfg.
	exec $(SERVER) start-foreground $(CONFIG)

.PHONY: ensemble
ensemble: build ## Build, and run three servers on this machine: DIRECTORY=.build/ensemble.
	exec scripts/ensemble $(DIRECTORY)

.PHONY: test
test: setup test-swift test-clients test-ensemble test-planted ## Run all tests.

.PHONY: test-swift
test-swift: setup-build ## Run the tests inside the process (debug build).
	swift test $(CHECKS)

.PHONY: test-clients
test-clients: setup build ## Run the tests against the release server: TESTS=Tests/Clients.
	$(RELEASE) --product zkBench
	AVIARY_SERVER=$(CURDIR)/$(SERVER) PYTHONDONTWRITEBYTECODE=1 \
	    $(PYTHON) -m pytest -p no:cacheprovider --durations=10 $(or $(TESTS),Tests/Clients)

# In a variable of its own: a function of make would split it at the comma.
ENSEMBLES := aviary aviary,apache

.PHONY: test-ensemble
test-ensemble: setup build ## Run the tests of ensembles: ours, then together with Apache's servers.
	for kinds in $(or $(KINDS),$(ENSEMBLES)); do \
	    echo "ensembles of $$kinds"; \
	    AVIARY_SERVER=$(CURDIR)/$(SERVER) AVIARY_ENSEMBLE_KINDS=$$kinds PYTHONDONTWRITEBYTECODE=1 \
	        $(PYTHON) -m pytest -p no:cacheprovider --durations=10 \
	        $(or $(TESTS),Tests/Ensemble) || exit 1; \
	done

.PHONY: test-planted
test-planted: setup-build ## Plant known bugs one at a time; the simulation must find each.
	scripts/plant-bugs

.PHONY: simulate
simulate: setup-build ## Run ensembles in virtual time: SEEDS=100, or SEED=7 alone with all that happens.
	swift build --configuration release $(CHECKS) --product zkSimulate
	.build/release/zkSimulate $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),100))

.PHONY: bench
bench: setup ## Measure: bench/run.py.
	$(RELEASE) --product zkServer
	$(RELEASE) --product zkBench
	python3 bench/run.py

.PHONY: bench-ensemble
bench-ensemble: setup ## Measure three servers: bench/ensemble.py.
	$(RELEASE) --product zkServer
	$(RELEASE) --product zkBench
	python3 bench/ensemble.py

.PHONY: docs
docs: setup-build ## Write the table of keys in docs/configuration.md anew.
	UPDATE_DOCUMENTATION=1 swift test $(CHECKS) --filter DocumentationTests

.PHONY: format
format: ## Format the Swift sources.
	swift format --in-place --recursive Package.swift Sources Tests

.PHONY: lint
lint: ## Look for what the compiler lets pass.
	@scripts/lint

.PHONY: install
install: ## Install what `make build` made below DESTDIR, PREFIX and SYSCONFDIR.
	@test -x $(SERVER) || { echo "install: no $(SERVER): make build first" >&2; exit 1; }
	install -D --mode=0755 $(SERVER) $(DESTDIR)$(PREFIX)/bin/zkServer
	install -D --mode=0644 conf/zoo_sample.cfg $(DESTDIR)$(PREFIX)/share/aviary/zoo_sample.cfg
	install -D --mode=0644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/aviary/LICENSE
	install --directory $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(SYSCONFDIR)/zookeeper
	sed --expression='s|/usr/local/bin|$(PREFIX)/bin|' --expression='s| /etc/| $(SYSCONFDIR)/|' \
	    conf/systemd/zookeeper.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/zookeeper.service
	@test -e $(DESTDIR)$(SYSCONFDIR)/zookeeper/zoo.cfg \
	    || sed 's|^dataDir=.*|dataDir=/var/lib/zookeeper|; /^# The directory here is/d' \
	        conf/zoo_sample.cfg > $(DESTDIR)$(SYSCONFDIR)/zookeeper/zoo.cfg

.PHONY: clean
clean: ## Remove what was built.
	rm --recursive --force .build
