# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# All commands of contributors and of the continuous integration. `make` alone lists the targets.

PYTHON ?= /usr/bin/python3
VENV := .venv
STAMP := $(VENV)/.installed

COLLECTION := collections/ansible_collections/tke/overlay
LAB := $(PYTHON) tests/lab/lab

# Tools come from .venv. $(PYTHON) is for what runs before .venv exists.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# For molecule, which does not read the project's ansible.cfg.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/collections
export ANSIBLE_ROLES_PATH := $(CURDIR)/roles
# Keeps the home directory clean.
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
export PYTHONPATH :=
export LC_ALL := C.UTF-8
ifdef CI
export NO_COLOR := 1
endif
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis

# Further Python versions, besides that of .venv, that compile and import the plugins: OTHER_PYTHONS='3.8 3.13'.
# The commands `python3.8` and `python3.13` must exist.
OTHER_PYTHONS ?=
# Arguments for pytest: make unit PYTEST_ARGS='-k ledger'
PYTEST_ARGS ?=
SCENARIO ?=
# Which rows of the matrix: make matrix ROWS='2.22'
ROWS ?=

PARTS := deps venv checks labs unit

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## print this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | expand -t 12

# --- prerequisites ---

.PHONY: deps deps-tools
deps: ## install the Debian packages of the toolchain and the lab (calls apt only when one is missing)
	@tests/tools/install-packages.sh tests/tools/machine-packages.txt tests/lab/machine-packages.txt

deps-tools:
	@tests/tools/install-packages.sh tests/tools/machine-packages.txt

.PHONY: venv lock
venv: $(STAMP) ## build the Python environment .venv; rebuild it after a change of requirements.txt

# Compares the content, because a checkout changes the time of unchanged files.
$(STAMP): requirements.txt | deps-tools
	@if ! cmp -s requirements.txt $@; then \
		echo 'Building the Python environment .venv (about 20 s)'; \
		$(PYTHON) -m venv --clear $(VENV); \
		$(VENV)/bin/pip install -qq --disable-pip-version-check --requirement requirements.txt; \
		cp requirements.txt $@; \
	fi; \
	touch $@

lock: | deps-tools ## rewrite requirements.txt from requirements.in with the newest versions that fit together
	@tests/tools/lock.sh $(PYTHON) requirements.in requirements.txt

# --- checks without the lab ---

# Modules contain shell scripts and templates as text. Run `make programs` after a change of such a file.
.PHONY: programs
programs: $(STAMP) ## generate each programs.py of module_utils from the scripts and templates beside it
	@python tests/tools/programs.py

.PHONY: checks lint docs-lint format types sanity unit browser
checks: $(STAMP) ## lint, types, docs and sanity, two at a time; the output of each follows its end
	@$(MAKE) --jobs=2 --output-sync=target sanity lint types docs

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
	@python tests/prometheus/monitoring.py --check
	@cd $(COLLECTION) && python $(CURDIR)/tests/tools/lint_docs.py --plugin-docs --validate-collection-refs all .

format: $(STAMP) ## format the Python code with ruff
	@ruff check --fix-only --exit-zero --quiet $(PYTHON_FILES)
	@ruff format $(PYTHON_FILES)

TYPED := tests/lab/tkelab tests/lab/demo.py tests/stores/members.py \
	tests/stores/separate_members.py tests/stores/controllers.py tests/stores/linearizability.py tests/kubernetes/standin.py \
	tests/kubernetes/standin_server.py tests/kubernetes/standin_objects.py tests/kubernetes/standin_rbac.py \
	tests/browser/chromium.py tests/browser/overlays.py tests/testinfra/stories.py tests/testinfra/howto.py \
	tests/testinfra/day_two.py tests/testinfra/short_soak.py tests/testinfra/linked.py tests/testinfra/watching.py \
	tests/lab/flows.py tests/lab/flow_agent.py tests/lab/wire.py tests/bench tests/faults tests/kills/kills.py \
	tests/kills/strike.py tests/soak tests/tools tests/prometheus \
	tests/package/product.py
types: $(STAMP) ## mypy --strict on the collection, the lab and the tools
	@mypy $(COLLECTION)/plugins $(TYPED)
	@mypy tests/kubernetes_cluster/cluster.py tests/kubernetes_cluster/kubelab tests/kubernetes_cluster/files/agent.py

# ansible-test keeps downloads and environments below HOME, so it gets its own HOME in .cache.
SANITY_HOME := $(CURDIR)/.cache/home
ANSIBLE_TEST = HOME=$(SANITY_HOME) ansible-test sanity --color no
sanity: $(STAMP) ## all sanity tests of ansible-test on the collection
	@python tests/tools/prepare_ansible_test.py $(SANITY_HOME)
	@cd $(COLLECTION) && $(ANSIBLE_TEST) --python "$$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
	@cd $(COLLECTION) && for version in $(OTHER_PYTHONS); do \
		$(ANSIBLE_TEST) --python $$version --test compile --test import; \
	done

UNIT_TESTS := $(COLLECTION)/tests/unit tests/kernel tests/kubernetes tests/stores tests/package tests/lab/tests/test_lab.py
# With as many processes as there are processors. Each test has its own network namespace and temporary directory.
unit: $(STAMP) ## pytest: unit tests, the host side on the real kernel, the ledger on a real etcd, the package, the lab's code
	@pytest -n auto --dist worksteal $(PYTEST_ARGS) $(UNIT_TESTS)

browser: deps-tools $(STAMP) ## pytest: the report's page, as a file and in a headless Chromium
	@pytest $(PYTEST_ARGS) tests/browser

# --- slow checks, not part of `make test` ---

.PHONY: units coverage mutation matrix etcd-faults
# Like `unit`, but only the collection's tests/unit, with the pytest settings of ansible-test.
units: $(STAMP) ## ansible-test units on the collection, with the Python of .venv
	@python tests/tools/prepare_ansible_test.py $(SANITY_HOME)
	@cd $(COLLECTION) && HOME=$(SANITY_HOME) ansible-test units --color no --python "$$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

MODULE_UTILS := $(COLLECTION)/plugins/module_utils
COVERED := $(MODULE_UTILS)/_addressing.py,$(MODULE_UTILS)/_ledger_version.py,$(MODULE_UTILS)/_errors.py,$(MODULE_UTILS)/_locking.py,$(MODULE_UTILS)/_cluster/**,$(MODULE_UTILS)/_host/**
COVERAGE := .cache/coverage
# test_page.py reads the report's page as a file; the other tests of tests/browser need Chromium.
COVERING := $(COLLECTION)/tests/unit tests/kernel tests/kubernetes tests/stores tests/browser/test_page.py
coverage: $(STAMP) ## coverage of module_utils; fails below 95 % of the branches in total or in a package, or 85 % of a file
	@rm -rf $(COVERAGE)
	@mkdir -p $(COVERAGE)
	@status=0; coverage run -m pytest $(PYTEST_ARGS) $(COVERING) || status=1; \
	coverage combine --quiet; \
	coverage report --include='$(COVERED)' || status=1; \
	coverage json --quiet --fail-under=0 --include='$(COVERED)' -o $(COVERAGE)/report.json; \
	python tests/tools/coverage_limits.py $(COVERAGE)/report.json || status=1; \
	exit $$status

mutation: $(STAMP) ## change _addressing and _cluster in many small ways; fails if tests detect less than 95 % (an hour)
	@nice python tests/tools/mutation.py .cache/mutation

etcd-faults: deps-tools $(STAMP) ## pytest: controllers on a real etcd that is cut, killed, slow, stopped and restored (ten minutes): PYTEST_ARGS='-k snapshot'
	@TKE_STORES=full pytest -s $(PYTEST_ARGS) tests/stores/test_faults.py tests/stores/test_many_writers.py tests/stores/test_linearizability.py

matrix: deps $(STAMP) ## sanity and unit tests with each supported ansible-core, Python and Debian suite, and scenarios; some rows: ROWS='2.22'
	@nice python tests/tools/matrix.py .cache/matrix $(if $(ROWS),'$(ROWS)')
	@$(if $(ROWS),,$(MAKE) lab-sid lab-bullseye)

# --- the lab: hosts on this machine ---

.PHONY: lab-up lab-down lab-sid lab-bullseye scenario labs test/up test2/up health links migration live bench bench-compare faults kills soak kubernetes demo
lab-up: deps $(STAMP) ## start the lab if it does not run
	@$(LAB) up

lab-down: ## stop the lab
	@$(LAB) down

# Those that measure time or count packets have a lab of their own, and priority over the others, which run beside them in
# a second lab.
MEASURING := clb cut_off health lifecycle stays
OTHERS := $(filter-out $(MEASURING) links migration,$(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
BESIDE := $(OTHERS:%=test2/%)

# Runs in new labs named `test` and `test2`, so that it does not change the lab of `lab-up`.
scenario: deps $(STAMP) ## the molecule scenarios on two new labs; only one: make scenario SCENARIO=add_node
	@$(if $(SCENARIO),$(MAKE) test/up test/$(SCENARIO),$(MAKE) labs BESIDE='$(BESIDE)')

labs: BESIDE += live browser
labs: deps $(STAMP) ## scenario, live and browser, in two rows that run at the same time
	@tests/tools/lanes.sh $(MAKE) 'test/up $(MEASURING:%=test/%)' 'test2/up $(BESIDE)'
	@TKE_LAB=test2 $(LAB) down

test/up test2/up:
	@TKE_LAB=$(@D) $(LAB) down
	@TKE_LAB=$(@D) $(LAB) up

test/% test2/%:
	@TKE_LAB=$(@D) $(LAB) run molecule test -s $*

# A lab with a site behind NAT. Scenario `lifecycle` has a short form of it.
LINKS_LAB := TKE_LAB=links $(LAB)
links: deps $(STAMP) ## sites and links on a separate lab: direct routes, WireGuard, NAT, an MTU per link, never in clear
	@$(LINKS_LAB) down
	@$(LINKS_LAB) $(addprefix -i inventories/,lab/hosts.yml lab_links/hosts.yml) up
	@$(LINKS_LAB) run molecule test -s links
	@$(LINKS_LAB) down

live: deps $(STAMP) ## pytest: the lab itself, in a separate lab
	@pytest $(PYTEST_ARGS) tests/lab/tests/test_lab_live.py

BENCH := .cache/bench
REF ?= HEAD~1
# Sections of the bench: make bench SECTIONS='peers ledger'. Section scale takes hours, and runs only by its name.
SECTIONS ?=
bench: lab-up ## measure speed and size in the lab, and print one table with the limits; some sections: SECTIONS='peers ledger'
	@python tests/bench/compare.py $(BENCH) $(if $(SECTIONS),--sections $(SECTIONS))

bench-compare: lab-up ## the same beside another commit, in turns: make bench-compare REF=v1.0.0
	@python tests/bench/compare.py $(BENCH) --ref $(REF) $(if $(SECTIONS),--sections $(SECTIONS))

HEALTH_LAB := TKE_LAB=health $(LAB)
health: deps $(STAMP) ## the scenario `health` on a separate lab with all faults and an hour without any, in fast motion
	@$(HEALTH_LAB) down
	@$(HEALTH_LAB) up
	@HEALTH_COMPLETE=1 $(HEALTH_LAB) run molecule test -s health
	@$(HEALTH_LAB) down

# Debian's unstable suite has the versions of tomorrow, and changes every day: not part of `make test`.
SID_LAB := TKE_LAB=sid $(LAB)
lab-sid: deps $(STAMP) ## the scenario `default` on a separate lab in which three hosts have Debian's unstable suite
	@$(SID_LAB) down
	@$(SID_LAB) -i inventories/lab/hosts.yml -i inventories/lab_sid/hosts.yml up
	@$(SID_LAB) run molecule test -s default
	@$(SID_LAB) down

BULLSEYE_LAB := TKE_LAB=bullseye $(LAB)
lab-bullseye: deps $(STAMP) ## the scenarios `clb` and `health` on a separate lab whose load balancer pair has Debian 11
	@$(BULLSEYE_LAB) down
	@$(BULLSEYE_LAB) -i inventories/lab/hosts.yml -i inventories/lab_bullseye/hosts.yml up
	@$(BULLSEYE_LAB) run molecule test -s clb
	@$(BULLSEYE_LAB) run molecule test -s health
	@$(BULLSEYE_LAB) down

MIGRATION_LAB := TKE_LAB=migration $(LAB)
migration: deps $(STAMP) ## the scenario `migration` on a separate lab: a cluster with flannel moves to the overlay
	@$(MIGRATION_LAB) down
	@$(MIGRATION_LAB) up
	@$(MIGRATION_LAB) run molecule test -s migration
	@$(MIGRATION_LAB) down

TIMES ?= 20
faults: lab-up ## break the load balancer in five ways, TIMES=20 each, under load, and print the outages of clients
	@$(LAB) run ansible-playbook -i inventories/lab/hosts.yml tke.overlay.site tests/lab/cluster.yml
	@$(LAB) run python tests/faults/faults.py --times $(TIMES)

EVERY ?= 1
KILLS ?=
kills: lab-up ## kill site, release, rollout and rebuild_ledger at each task in ten ways (hours): EVERY=6 KILLS='--operation port'
	@$(LAB) run ansible-playbook -i inventories/lab/hosts.yml tke.overlay.site tests/lab/cluster.yml
	@$(LAB) run env PYTHONPATH=tests/lab:tests/testinfra python tests/kills/kills.py --every $(EVERY) $(KILLS)

# Without SEED it is another one each time, and printed. HOURS and MINUTES add up; without both it is two hours.
SEED ?=
HOURS ?= $(if $(MINUTES),0,2)
MINUTES ?=
HOSTS ?= 60
SOAK := .cache/soak
SOAK_LAB := TKE_LAB=soak $(LAB)
SOAK_PROGRAM = python tests/soak/soak.py $(SOAK) --hosts $(HOSTS)
soak: deps $(STAMP) ## random operations on a fleet, compared with a model: make soak SEED=1 MINUTES=30 HOSTS=12 (two hours, 60 hosts)
	@$(SOAK_LAB) down
	@rm -rf $(SOAK)
	@TKE_LAB=soak $(SOAK_PROGRAM) --build
	@$(SOAK_LAB) run $(SOAK_PROGRAM) --hours $(HOURS) $(addprefix --minutes ,$(MINUTES)) $(addprefix --seed ,$(SEED))
	@$(SOAK_LAB) down

# The programs of Kubernetes are in no package registry: docs/testing.md says what the directory must contain.
KUBERNETES_BIN ?=
KUBERNETES_ONLY ?=
kubernetes: export TKE_LAB := kube
kubernetes: deps $(STAMP) ## real Kubernetes clusters on a separate lab, with counted requests: make kubernetes KUBERNETES_BIN=DIR
	@KUBERNETES_BIN='$(KUBERNETES_BIN)' python tests/kubernetes_cluster/cluster.py '$(KUBERNETES_BIN)' $(addprefix --only ,$(KUBERNETES_ONLY))

demo: deps $(STAMP) ## build a flat Pod network over two sites in the lab, and print the result
	@$(LAB) up
	@$(LAB) run python tests/lab/demo.py

# --- the published collection ---

.PHONY: tables docs artifact release
tables: $(STAMP) ## generate the tables in the guides, and the dashboard, from argument_specs, metrics and alert rules
	@python tests/tools/tables.py
	@python tests/prometheus/monitoring.py

docs: $(STAMP) ## build the site of guides and reference in .cache/docs/html; a warning is an error
	@python tests/tools/site.py .cache/docs

artifact: $(STAMP) ## build the collection, install it into .cache/artifact, check every file, and import it as Galaxy does
	@python tests/tools/artifact.py .cache/artifact
	@python tests/tools/importer.py .cache/importer .cache/artifact/*.tar.gz

release: $(STAMP) ## write changelog, version and artifact of a release: make release VERSION=1.1.0
	@tests/tools/release.sh '$(VERSION)'

# --- everything ---

.PHONY: test clean
test: ## everything, in the order: deps venv checks labs unit
	@tests/tools/parts.sh $(MAKE) $(PARTS)
	@TKE_LAB=test $(LAB) down >/dev/null

clean: ## stop the lab and remove everything that was built or cached
	@TKE_LAB=test $(LAB) down
	@TKE_LAB=test2 $(LAB) down
	@$(LAB) down --purge
	@rm -rf $(VENV) .cache .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache $(COLLECTION)/tests/output
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
