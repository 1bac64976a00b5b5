# Every target sets up what it needs by itself; `make demo` and `make test` are all that a newcomer types.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: setup test conformance check demo bench interop warehouses attack deploy-check docs proof lint types contracts format lock clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements/dev.txt requirements/demo.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation --require-hashes -r requirements/demo.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Everything at once on all processors, and in one process more, since much of it waits; a choice of tests as it is asked for.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
test: setup
	$(BIN)/python -m pytest $(or $(ARGS),-n $(WORKERS) --dist loadfile --no-loadscope-reorder)

lint: setup
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check --no-cache .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

# The agents that ship, put to what every agent's author can put theirs to.
conformance: setup
	$(BIN)/outboard check --all --strict --report build/reports/check.json

check: lint types contracts docs
	$(MAKE) test
	$(MAKE) conformance

demo: setup
	$(BIN)/outboard demo

# Beside flytekit's own service, under ten minutes on two cores; writes docs/performance.md anew.
bench: setup
	$(BIN)/python bench/run.py $(ARGS)

# Real engines and real SDKs against our service and engine; makes environments of its own under .interop/.
interop: setup
	$(BIN)/python tests/tables/run.py interop $(ARGS)

# What the agents for warehouses keep, cost and say: storms, a thousand jobs each, bad input, and the vendors' own clients.
warehouses: setup
	$(BIN)/python tests/tables/run.py warehouses $(ARGS)

# The documents as a site, in build/site; a link that leads nowhere fails it.
docs: setup
	$(BIN)/sphinx-build -q -W --keep-going -d build/doctrees -c docs/site . build/site

# The chart and its manifests, the image's steps: linted, rendered, validated, and put to the real service.
# `KUBERNETES=build` builds a real API server first, of its published modules: ten minutes, once.
deploy-check: setup
	OUTBOARD_KUBERNETES=$(KUBERNETES) $(BIN)/python tests/tables/run.py deploy $(ARGS)

# What strangers, tenants and broken clients may send, what it is answered, and that the service is healthy after it; five minutes.
attack: setup
	$(BIN)/python tests/tables/run.py attack $(ARGS)

# The promise, counted; the short form takes minutes, `make proof FULL=1` the figures of the release notes.
proof: setup
	FULL=$(FULL) $(BIN)/python proof/run.py $(ARGS)

# What deploy/Dockerfile installs: the service with its platforms; neither flytekit nor what only people at a terminal use.
IMAGE_EXTRAS := athena aws azure bigquery databricks duckdb gcp jwt otel snowflake sql

# Pins every dependency with its hashes, without recording where it came from.
lock: setup
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.10 \
		--all-extras pyproject.toml requirements/dev.in --output-file requirements/dev.txt
	$(BIN)/uv pip compile --quiet --no-deps --universal --generate-hashes --no-header --no-annotate --python-version 3.10 \
		requirements/demo.in --output-file requirements/demo.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.10 \
		--constraint requirements/dev.txt $(foreach extra,$(IMAGE_EXTRAS),--extra $(extra)) pyproject.toml --output-file requirements/service.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.10 \
		--constraint requirements/dev.txt requirements/build.in --output-file requirements/build.txt
	for part in requirements/parts/*.in; do \
		if grep -q "without what they require" $$part; then alone=--no-deps; else alone=; fi; \
		$(BIN)/uv pip compile --quiet $$alone --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
			$$part --output-file $${part%.in}.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist .bench .interop .parts .pytest_cache .mypy_cache .ruff_cache .hypothesis
