# hotseat's own commands. `make help` lists them. Everything is set up on first use, in .venv and build/ only;
# what is up to date is not touched again.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
PLATFORM ?= process
ARGS ?=
PYTEST_ARGS ?=
JOBS ?= 2

bin := $(VENV)/bin
build_dir := build/editable
export PATH := $(abspath $(bin)):$(PATH)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  make demo PLATFORM=docker|podman   the demo with containers"
	@echo "  make demo ARGS='--json'            arguments go on to \`hotseat demo\`"
	@echo "  make test PYTEST_ARGS='-k swap'    arguments go on to pytest"

.PHONY: demo
demo: build ## two models take turns on one GPU (emulated where there is none)
	@scripts/demo.sh "$(PLATFORM)" $(ARGS)

.PHONY: test
test: setup-dev build engines lint ## all tests; as root on Debian or Ubuntu installs the container engines they need
	$(bin)/python -m pytest -n $(JOBS) --dist loadgroup $(PYTEST_ARGS)

.PHONY: lint
lint: setup-dev ## ruff, mypy --strict and the layers
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

.PHONY: build
build: $(VENV)/.hotseat-command ## the virtual environment, the command `hotseat` and the compiled parts
	@$(bin)/cmake --build $(build_dir) -- --quiet

.PHONY: sanitize
sanitize: setup-dev build ## the interposer's tests with ASan and UBSan
	@scripts/sanitize.sh $(bin) build/sanitize $(PYTEST_ARGS)

.PHONY: cross
cross: ## the interposer compiled for aarch64 by a cross compiler
	@scripts/cross.sh build/cross

.PHONY: wheel
wheel: $(VENV)/.hotseat-runtime ## a wheel with the compiled parts, in dist/
	@rm -rf dist
	$(bin)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

.PHONY: lock
lock: setup-dev ## write requirements.lock and requirements-dev.lock anew
	@scripts/lock.sh

.PHONY: setup-dev
setup-dev: $(VENV)/.hotseat-dev

.PHONY: engines
engines:
	@scripts/engines.sh

.PHONY: clean
clean: ## remove everything that make made
	rm -rf $(VENV) build dist src/hotseat/_native .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Stamps: a lock file that changed is installed once.
$(VENV)/.hotseat-runtime: requirements.lock scripts/setup.sh
	@scripts/setup.sh "$(VENV)" requirements.lock && touch $@

$(VENV)/.hotseat-dev: requirements-dev.lock $(VENV)/.hotseat-runtime
	@scripts/setup.sh "$(VENV)" requirements-dev.lock && touch $@

# Installs the command in place and configures the native build; sources that change later are seen by ninja.
$(VENV)/.hotseat-command: pyproject.toml CMakeLists.txt $(VENV)/.hotseat-runtime
	@scripts/build.sh "$(VENV)" "$(build_dir)" && touch $@
