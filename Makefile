# Every command that a person needs. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
RUN := PYTHONPATH=operator:agent:hack:tests $(VENV)/bin/python
PYTEST := $(VENV)/bin/python -m pytest
# More than two cores have: tests wait more than they compute.
WORKERS ?= 3
ENGINE ?= docker
TAG ?= vmext/operator:dev

.PHONY: help
help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/ready ## See it work: a control plane, the operator, a guest, two extensions (KEEP=1 stays up)
	@$(RUN) -m demo $(if $(KEEP),--keep)

.PHONY: test
test: $(VENV)/ready ## Run every test on real parts (ARGS="-k name" for some)
	@$(RUN) -m control_plane fetch
	@$(RUN) -m helm
	@$(PYTEST) -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: test-gitops
test-gitops: $(VENV)/ready ## Test with real Flux, which is built once (ARGS="-k name" for some)
	@$(RUN) -m control_plane fetch
	@$(RUN) -m flux
	@$(PYTEST) tests/gitops $(ARGS)

.PHONY: test-vm
test-vm: $(VENV)/ready ## Test on a virtual machine with systemd, emulated: needs root once, and some minutes (ARGS="-k name")
	@$(RUN) -m control_plane fetch
	@$(RUN) -m virtual_machine
	@$(PYTEST) tests/vm $(ARGS)

.PHONY: soak
soak: $(VENV)/ready ## Run the random tests in full counts, on from where it was (ARGS="--only fuzz --fresh")
	@$(RUN) -m soak $(ARGS)

.PHONY: lint
lint: $(VENV)/ready ## Check style, types and the layers
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy operator hack tests
	@$(VENV)/bin/mypy agent extensions
	@PYTHONPATH=operator:agent $(VENV)/bin/lint-imports --no-cache | sed -n "/ KEPT$$\| BROKEN$$\|^Contracts:/p"

.PHONY: format
format: $(VENV)/ready ## Bring all Python into shape
	@$(VENV)/bin/ruff check --fix-only -q .
	@$(VENV)/bin/ruff format -q .

.PHONY: bench
bench: $(VENV)/ready packages ## Measure; prints a table and writes build/bench.json
	@$(RUN) -m benchmarks

.PHONY: bench-fleet
bench-fleet: $(VENV)/ready ## Measure 10,000 machines with 5 extensions each: half an hour, 12 GiB of memory
	@$(RUN) -m benchmarks.fleet $(ARGS)

.PHONY: packages
packages: $(VENV)/ready ## Build every package under extensions/ and its catalog entry into build/packages (ARGS="--sign-with KEY")
	@$(RUN) -m packages --out build/packages $(ARGS)

.PHONY: charts
charts: $(VENV)/ready ## Bring the charts' made files up to date: CRDs, and the catalog entries of extensions/
	@$(RUN) -m charts

.PHONY: plugin
plugin: $(VENV)/ready ## Build kubectl vmext as a wheel and as one file, into build/plugin
	@$(RUN) -m plugin --out build/plugin

.PHONY: reference
reference: $(VENV)/ready ## Write docs/reference anew from crds/
	@$(RUN) -m reference

.PHONY: image
image: ## Build the operator's image with what there is (ENGINE=docker|podman|buildah, TAG=...)
	@$(ENGINE) build --build-arg REVISION=$$(git rev-parse HEAD) -t $(TAG) .

.PHONY: control-plane
control-plane: $(VENV)/ready ## Start a control plane of your own on this machine and print how to reach it (ARGS="--help")
	@$(RUN) -m control_plane start $(ARGS)

.PHONY: control-plane-stop
control-plane-stop: $(VENV)/ready ## End it
	@$(RUN) -m control_plane stop

.PHONY: lock
lock: ## Choose dependencies anew: requirements/*.in to *.txt, with hashes and no address
	@$(PYTHON) -m venv build/lock && build/lock/bin/pip install -q uv
	@for name in operator plugin dev; do build/lock/bin/uv pip compile -q --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" \
		-o requirements/$$name.txt requirements/$$name.in; done

.PHONY: clean
clean: ## Remove what was built here (the cached control plane stays)
	@rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The environment is made once, and again when what is locked has changed.
$(VENV)/ready: requirements/dev.txt
	@echo "Making the virtual environment from requirements/dev.txt ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vmext needs Python 3.11 or later; set PYTHON=")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
