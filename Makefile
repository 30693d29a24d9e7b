# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# Everything a contributor and the continuous integration run. `make` alone lists what there is.

PYTHON ?= /usr/bin/python3
VENV := .venv
STAMP := $(VENV)/.installed

COLLECTION := collections/ansible_collections/tke/overlay
LAB := $(PYTHON) tests/lab/lab

# Every tool is the one of .venv; /usr/bin/python3 is named in full where the environment may not exist yet.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# For molecule, which reads no ansible.cfg of the project.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/collections
export ANSIBLE_ROLES_PATH := $(CURDIR)/roles
# Nothing is left in the home directory.
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
export PYTHONPATH :=
export LC_ALL := C.UTF-8
ifdef CI
export NO_COLOR := 1
endif
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis

# More Python versions, beside the one of .venv, to compile and import the plugins with: OTHER_PYTHONS='3.8 3.13'.
# `python3.8` and `python3.13` must then be commands that work.
OTHER_PYTHONS ?=
# Passed on to pytest and to molecule, as in: make unit PYTEST_ARGS='-k ledger'
PYTEST_ARGS ?=
SCENARIO ?=

PARTS := deps venv lint types docs sanity scenario live unit browser

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | expand -t 12

# --- what everything else stands on ---

.PHONY: deps deps-tools
deps: ## Debian packages for the toolchain and the lab (asks apt only when one is missing)
	@tests/tools/install-packages.sh tests/tools/machine-packages.txt tests/lab/machine-packages.txt

deps-tools:
	@tests/tools/install-packages.sh tests/tools/machine-packages.txt

.PHONY: venv lock
venv: $(STAMP) ## the Python environment .venv, rebuilt when requirements.txt has changed

# Compared by content, because a checkout gives unchanged files a new time.
$(STAMP): requirements.txt | deps-tools
	@if ! cmp -s requirements.txt $@; then \
		echo 'Making the Python environment .venv (about 20 s)'; \
		$(PYTHON) -m venv --clear $(VENV); \
		$(VENV)/bin/pip install -qq --disable-pip-version-check --requirement requirements.txt; \
		cp requirements.txt $@; \
	fi; \
	touch $@

lock: | deps-tools ## requirements.txt anew from requirements.in: the newest versions that fit together
	@tests/tools/lock.sh $(PYTHON) requirements.in requirements.txt

# --- checks that need no lab ---

# A module carries shell scripts and templates as text: `make programs` after a change of one.
.PHONY: programs
programs: $(STAMP) ## the programs.py of module_utils, from the scripts and templates beside them
	@python tests/tools/programs.py

.PHONY: lint docs-lint format types sanity unit browser
PYTHON_FILES := collections molecule roles tests tests/lab/lab roles/lab_pods/files/lab-pod
SHELL_FILES = .ci/run $(wildcard tests/*/*.sh tests/*/*/*.sh) $(shell find $(COLLECTION)/plugins -name '*.sh')

lint: $(STAMP) ## ruff, shellcheck, yamllint, ansible-lint (production), licences, changelog fragments, words, documentation
	@ruff check $(PYTHON_FILES)
	@ruff format --check $(PYTHON_FILES)
	@shellcheck $(SHELL_FILES)
	@python tests/tools/programs.py --check
	@python tests/tools/words.py
	@yamllint --strict .
	@ansible-lint --offline
	@reuse lint --quiet || reuse lint --lines
	@cd $(COLLECTION) && antsibull-changelog lint
	@$(MAKE) docs-lint

docs-lint: $(STAMP)
	@python tests/tools/tables.py --check
	@cd $(COLLECTION) && python $(CURDIR)/tests/tools/lint_docs.py --plugin-docs --validate-collection-refs all .

format: $(STAMP) ## let ruff put the Python code in shape
	@ruff check --fix-only --exit-zero --quiet $(PYTHON_FILES)
	@ruff format $(PYTHON_FILES)

types: $(STAMP) ## mypy --strict on the collection, the lab and the tools
	@mypy $(COLLECTION)/plugins tests/lab/tkelab tests/lab/demo.py tests/stores/members.py tests/browser/chromium.py tests/browser/overlays.py tests/testinfra/stories.py tests/testinfra/howto.py tests/testinfra/day_two.py tests/lab/flows.py tests/lab/flow_agent.py tests/bench tests/faults tests/tools tests/package/product.py

# ansible-test keeps downloads and environments below HOME: it gets one of its own, inside .cache.
SANITY_HOME := $(CURDIR)/.cache/home
ANSIBLE_TEST = HOME=$(SANITY_HOME) ansible-test sanity --color no
sanity: $(STAMP) ## every sanity test of ansible-test on the collection
	@python tests/tools/prepare_ansible_test.py $(SANITY_HOME)
	@cd $(COLLECTION) && $(ANSIBLE_TEST) --python "$$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
	@cd $(COLLECTION) && for version in $(OTHER_PYTHONS); do \
		$(ANSIBLE_TEST) --python $$version --test compile --test import; \
	done

UNIT_TESTS := $(COLLECTION)/tests/unit tests/kernel tests/stores tests/package tests/lab/tests/test_lab.py
unit: $(STAMP) ## pytest: units, floor 5 on the real kernel, the stores on a real etcd, the package, the lab
	@pytest $(PYTEST_ARGS) $(UNIT_TESTS)

browser: deps-tools $(STAMP) ## pytest: the page of the report, as a file and in a headless Chromium
	@pytest $(PYTEST_ARGS) tests/browser

# --- checks that take long, and are not part of `make test` ---

.PHONY: units coverage mutation matrix
# ansible-test runs the tests of the collection's tests/unit, as `unit` does, with its own settings of pytest.
units: $(STAMP) ## ansible-test units on the collection, with the Python of .venv
	@python tests/tools/prepare_ansible_test.py $(SANITY_HOME)
	@cd $(COLLECTION) && HOME=$(SANITY_HOME) ansible-test units --color no --python "$$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

FLOORS := $(COLLECTION)/plugins/module_utils
COVERED := $(FLOORS)/_*.py,$(FLOORS)/_cluster/**,$(FLOORS)/_host/**
COVERAGE := .cache/coverage
# The page is built by floor 4; only looking at it takes a browser.
COVERING := $(COLLECTION)/tests/unit tests/kernel tests/stores tests/browser/test_page.py
coverage: $(STAMP) ## branches of floors 1-5 that the tests take; fails below 95 %, or where a file is below 85 %
	@rm -rf $(COVERAGE)
	@mkdir -p $(COVERAGE)
	@status=0; coverage run -m pytest $(PYTEST_ARGS) $(COVERING) || status=1; \
	coverage combine --quiet; \
	coverage report --include='$(COVERED)' || status=1; \
	coverage json --quiet --fail-under=0 --include='$(COVERED)' -o $(COVERAGE)/report.json; \
	python tests/tools/coverage_of_files.py $(COVERAGE)/report.json || status=1; \
	exit $$status

mutation: $(STAMP) ## change the code of floors 1-4 in many small ways, and see which no test notices (an hour)
	@nice python tests/tools/mutation.py .cache/mutation

matrix: $(STAMP) ## sanity and units with every ansible-core and Python that this machine can run
	@nice python tests/tools/matrix.py .cache/matrix

# --- the lab: real hosts on this machine ---

.PHONY: lab-up lab-down scenario live bench faults demo
lab-up: deps $(STAMP) ## start the lab, or leave it running
	@$(LAB) up

lab-down: ## stop the lab
	@$(LAB) down

# A lab of its own, fresh, so that neither disturbs the other.
scenario: deps $(STAMP) ## the stories of molecule/ on a fresh lab; one of them: make scenario SCENARIO=add_node
	@TKE_LAB=test $(LAB) down
	@TKE_LAB=test $(LAB) up
	@TKE_LAB=test $(LAB) run molecule test $(if $(SCENARIO),-s $(SCENARIO),--all)

live: deps $(STAMP) ## pytest: the promises of the lab itself, on a lab of its own
	@pytest $(PYTEST_ARGS) tests/lab/tests/test_lab_live.py

# Section `fleet` needs 60 nodes: it has a lab of its own.
FURTHER := .cache/bench/further_nodes.json
FLEET_LAB := TKE_LAB=bench $(LAB)
bench: lab-up ## measure, inside the lab
	@status=0; \
	$(LAB) run python tests/bench/bench.py throughput peers ledger clb adding || status=1; \
	mkdir -p $(dir $(FURTHER)); \
	python tests/bench/bench.py --inventory > $(FURTHER); \
	$(FLEET_LAB) -i inventories/lab/hosts.yml -i $(FURTHER) up > $(FURTHER).log; \
	$(FLEET_LAB) run python tests/bench/bench.py fleet || status=1; \
	$(FLEET_LAB) down > $(FURTHER).log; \
	exit $$status

TIMES ?= 20
faults: lab-up ## break the load balancer in five ways, TIMES=20 each, under load, and print what clients notice
	@$(LAB) run ansible-playbook -i inventories/lab/hosts.yml tke.overlay.site tests/lab/cluster.yml
	@$(LAB) run python tests/faults/faults.py --times $(TIMES)

demo: deps $(STAMP) ## from nothing to one flat Pod network over two sites, and a look around
	@$(LAB) up
	@$(LAB) run python tests/lab/demo.py

# --- what is published ---

.PHONY: tables docs artifact release
tables: $(STAMP) ## the table of variables in the guides, from the roles' argument_specs
	@python tests/tools/tables.py

docs: $(STAMP) ## the site of guides and reference, in .cache/docs/html; a warning is an error
	@python tests/tools/site.py .cache/docs

artifact: $(STAMP) ## build the collection, install it into .cache/artifact, and look at every file
	@python tests/tools/artifact.py .cache/artifact

release: $(STAMP) ## changelog, version and artifact of a release: make release VERSION=1.1.0
	@tests/tools/release.sh '$(VERSION)'

# --- all of it ---

.PHONY: test clean
test: ## everything, in the order: deps venv lint types docs sanity scenario live unit browser
	@tests/tools/parts.sh $(MAKE) $(PARTS)
	@TKE_LAB=test $(LAB) down >/dev/null

clean: ## stop the lab and remove all that was built or cached
	@TKE_LAB=test $(LAB) down
	@$(LAB) down --purge
	@rm -rf $(VENV) .cache .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache $(COLLECTION)/tests/output
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
