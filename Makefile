# Two commands on a fresh machine: `make demo` shows what vecport does, `make test` proves that it works.
# Both need Python 3.11 or later and make; everything else is installed into .venv from requirements/dev.lock.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test test-all torture lint types layers spec docs resolve lock bench clean

help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements/dev.lock requirements/uv.lock pyproject.toml samples/plugin/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("vecport needs Python 3.11 or later: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . -e samples/plugin
	@touch $(READY)

demo: $(READY)  ## Move a real collection from Chroma to Qdrant and Postgres and prove that nothing was lost
	@$(BIN)/vecport demo

test: $(READY)  ## Run the tests, against real engines on loopback
	$(BIN)/pytest -n 2 -m "not slow"

test-all: $(READY)  ## Run the long tests too
	$(BIN)/pytest -n 2

torture: $(READY)  ## Run every fault of the fault tests, and write what was counted into docs/reliability.md: hours
	$(BIN)/pytest -n 2 tests/faults --counts docs/reliability.md

lint: $(READY)  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## Check types
	$(BIN)/mypy

layers: $(READY)  ## Check that each floor imports only the floors below it
	$(BIN)/lint-imports

spec: $(READY)  ## Check the format's test vectors and corpus against the code
	$(BIN)/pytest tests/spec -n 0

docs: $(READY)  ## Check that the generated pages are up to date
	$(BIN)/python -m vecport.cli.reference --check docs/cli.md

resolve: $(READY)  ## Resolve all extras and all clients from nothing
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --all-extras --group dev pyproject.toml requirements/clients.in -o $(VENV)/resolved.txt
	@wc -l < $(VENV)/resolved.txt | xargs echo "packages that resolve together:"

lock: $(READY)  ## Renew requirements/dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --all-extras --group dev --custom-compile-command "make lock" pyproject.toml -o requirements/dev.lock
	echo uv | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --constraint requirements/dev.lock - -o requirements/uv.lock

bench: $(READY)  ## Measure export and import against the raw client paths
	$(BIN)/python benchmarks/run.py

clean:  ## Remove what was built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
