# Every target sets up what it needs: a Python 3.11+ with venv is all that has to be there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GEN := protos/gen
PROTOS := $(shell find protos/linkspan -name '*.proto')

# Arguments for `make run` and `make test`: make run ARGS="--port 0", make test ARGS="-k guard".
ARGS ?=

# How many test files run at once: most wait for processes that they have started.
WORKERS ?= 4

.PHONY: help run test test-fast fuzz audit sbom pictures bench bench-regress bench-conformance bench-propagation bench-sessions \
	bench-tracing bench-tunnel lint format proto proto-check lock clean
.DEFAULT_GOAL := help

help: ## Print this list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

run: $(VENV)/run.stamp ## Start a session server and a worker on loopback (Ctrl-C stops both).
	@exec $(BIN)/linkspan run $(ARGS)

# Hundreds of processes start, none of which should compile the code anew, whatever is set outside.
test test-fast: export PYTHONDONTWRITEBYTECODE :=

# Files go out in the order of their names: those of tests/unit, which are short, fill up the end.
test: $(VENV)/dev.stamp ## Run all tests.
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(VENV)/dev.stamp ## Run the tests that start no process.
	$(BIN)/python -m pytest tests/unit tests/bench $(ARGS)

# Each fuzzer explores for so long; thousands of slow connections are held for as long as they last.
FUZZ_SECONDS ?= 30
SLOW_CONNECTIONS ?= 10000

fuzz: $(VENV)/dev.stamp ## Try new inputs for FUZZ_SECONDS a fuzzer, and hold SLOW_CONNECTIONS.
	FUZZ_SECONDS=$(FUZZ_SECONDS) SLOW_CONNECTIONS=$(SLOW_CONNECTIONS) $(BIN)/python -m pytest -q \
		--timeout 0 tests/fuzz tests/attacks/test_slow_connections.py $(ARGS)

# CI must never draw what it is to compare with: there the variable below does nothing.
pictures: $(VENV)/dev.stamp ## Draw the traces in tests/trees/pictures anew, to be looked at and committed.
	REDRAW_PICTURES=1 $(BIN)/python -m pytest -q tests/trees -k 'not page' $(ARGS)
	$(BIN)/python -m tests.trees.render_page

bench: $(VENV)/dev.stamp ## Compare Linkspan with its peers (about 20 minutes); ARGS=--quick for a smoke run.
	$(BIN)/python -m bench.compare $(ARGS)

bench-regress: $(VENV)/dev.stamp ## Fail if Linkspan became slower than REF (default: the commit before).
	$(BIN)/python -m bench.compare --against $(REF) $(ARGS)

bench-conformance: $(VENV)/dev.stamp ## Run the conformance suites with and without Linkspan, side by side.
	$(BIN)/python -m bench.conformance

bench-sessions: $(VENV)/dev.stamp ## Measure what durable sessions cost; ARGS=--quick for a smoke run.
	$(BIN)/python -m bench.sessions $(ARGS)

bench-propagation: $(VENV)/dev.stamp ## Measure what tracing an RPC costs, beside bare gRPC and contrib.
	$(BIN)/python -m bench.propagation $(ARGS)

bench-tracing: $(VENV)/dev.stamp ## Measure what a span costs, lean and with the SDK.
	$(BIN)/python -m bench.tracing $(ARGS)

bench-tunnel: $(VENV)/dev.stamp ## Measure what an RPC costs through a tunnel and without.
	$(BIN)/python -m bench.tunnel $(ARGS)

# None of these needs another: with --jobs, make runs as many at once as it is told to.
LINT := lint-style lint-mypy lint-pyright lint-imports lint-protos proto-check
.PHONY: $(LINT)
lint: $(LINT) ## Check format, lint, types, imports, protos and generated code.

lint-style: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

lint-mypy: $(VENV)/dev.stamp
	$(BIN)/mypy

lint-pyright: $(VENV)/dev.stamp
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright

lint-imports: $(VENV)/dev.stamp
	$(BIN)/lint-imports

lint-protos: $(VENV)/dev.stamp
	$(BIN)/buf lint

audit: $(VENV)/dev.stamp ## Fail if a dependency has a known vulnerability.
	@$(BIN)/python -m supply.audit

sbom: $(VENV)/run.stamp ## Write the run dependencies to sbom.json, as CycloneDX.
	@$(BIN)/python -m supply.sbom > sbom.json
	@echo "sbom.json"

format: $(VENV)/dev.stamp ## Rewrite the code in the house format.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/dev.stamp ## Rebuild the generated code from protos/.
	@rm -rf $(GEN)/linkspan
	@$(MAKE) --no-print-directory protoc OUT=$(GEN)

.PHONY: protoc
protoc:
	@mkdir -p $(OUT)
	$(BIN)/python -m grpc_tools.protoc --proto_path=protos \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
		--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		--python_out=$(OUT) --grpc_python_out=$(OUT) --mypy_out=$(OUT) --mypy_grpc_out=$(OUT) \
		$(PROTOS:protos/%=%)

proto-check: $(VENV)/dev.stamp ## Fail if the generated code is not what `make proto` makes.
	@rm -rf $(VENV)/proto-check
	@$(MAKE) --no-print-directory protoc OUT=$(VENV)/proto-check >/dev/null
	@diff -r --exclude=__pycache__ $(VENV)/proto-check/linkspan $(GEN)/linkspan \
		|| { echo "generated code is out of date: run 'make proto' and commit the result" >&2; exit 1; }

lock: $(VENV)/bin/uv ## Resolve the newest dependencies anew and write the lock files.
	$(BIN)/uv pip compile pyproject.toml $(LOCK_FLAGS) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml $(LOCK_FLAGS) --group dev -c requirements.lock \
		-o requirements-dev.lock
	$(BIN)/uv pip compile --group build $(LOCK_FLAGS) -c requirements-dev.lock \
		-o requirements-build.lock

# No index address may end up in a lock file, whatever the machine is set to.
LOCK_FLAGS := --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet

clean: ## Remove all that the other targets made, sessions on disk included.
	rm -rf $(VENV) .linkspan .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up ------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Linkspan needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "No virtual environment: on Debian, apt install python3-venv" >&2; exit 1; }

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
OR_NO_NETWORK := || { echo "No network? The first run downloads what it needs." >&2; exit 1; }

# The build tools have a lock of their own, so that building fetches nothing that is not pinned.
$(VENV)/run.stamp: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo "Setting up (once, about half a minute) ..."
	@$(PIP_INSTALL) --require-hashes -r requirements-build.lock $(OR_NO_NETWORK)
	@$(PIP_INSTALL) --require-hashes -r requirements.lock $(OR_NO_NETWORK)
	@$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@echo "Setting up the development tools (once, about a minute) ..."
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.lock $(OR_NO_NETWORK)
	@touch $@

$(VENV)/bin/uv: | $(BIN)/python
	$(PIP_INSTALL) uv
