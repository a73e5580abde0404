# What a developer types. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run up down test simulate bench clients polyglot check lint types layers stubs format protos lock containers image grpcurl setup clean

bin := .venv/bin
# Without LANGUAGES also what belongs to no single one.
polyglot = $(if $(LANGUAGES),tests/conformance/test_conformance.py $(foreach each,$(LANGUAGES),$(wildcard tests/polyglot/test_*$(each).py)),tests/conformance tests/polyglot)
clients = $(patsubst scripts/client-%.sh,%,$(wildcard scripts/client-*.sh))
adapters = --extra key-value --extra langchain --extra langgraph --extra starlette
compile = $(bin)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' $(UPGRADE)

help:  ## Say what there is
	@sed -n 's/^\([a-z]*\):.*##/\1 /p' Makefile | while read -r target text; do printf 'make %-11s %s\n' "$$target" "$$text"; done

run:  ## Start the service on the embedded store, and say how to call it
	@scripts/setup.sh run
	@exec $(bin)/keepstate serve

up:  ## Start the service with Redis and daprd in containers, at PORT=7400
	@scripts/compose.sh up

down:  ## Stop these; ARGS=-v removes the records, too
	@scripts/compose.sh down $(ARGS)

test: setup  ## Run all tests; ARGS="-k name" for some of them
	@scripts/containers.sh || { \
		printf '\n!!! NO CONTAINERS: %s\n' "$$(sed 's/^[^=]*=//' "$${XDG_CACHE_HOME:-$$HOME/.cache}/keepstate/containers.env")"; \
		[ "$${KEEPSTATE_REQUIRE_CONTAINERS:-}" != 1 ]; \
		printf '!!! the tests that need them are skipped\n\n'; }
	@$(bin)/pytest $(ARGS)

clients:  ## Check and test the clients in Go, Java and Node; LANGUAGES=go for one
	@failed=; for language in $(filter-out python,$(or $(LANGUAGES),$(clients))); do \
		for task in check test; do scripts/client-$$language.sh $$task || failed="$$failed $$language:$$task"; done; done; \
		[ -z "$$failed" ] || { printf 'clients: failed:%s\n' "$$failed" >&2; exit 1; }

polyglot: setup  ## Run the conformance suite and the examples in all languages; LANGUAGES=go for one, ARGS="-k name"
	@scripts/containers.sh
	@$(bin)/pytest $(polyglot) $(if $(LANGUAGES),--languages "$(LANGUAGES)") $(ARGS)

simulate: setup  ## Run SEEDS=20000 simulated histories of the engine, and check each
	@PYTHONHASHSEED=0 $(bin)/python -m tests.simulation.run --seeds $(or $(SEEDS),20000) $(ARGS)

bench: setup  ## Measure beside direct use of Dapr, about 25 minutes; ARGS=--quick only sees that all works
	@scripts/containers.sh
	@scripts/h2load.sh || echo 'no h2load: its rows are not measured' >&2
	@$(bin)/python -m bench.side_by_side $(ARGS)

check: lint types layers stubs  ## Check lint, format, types, layers and stubs of the Python code, and the protos

lint: setup
	$(bin)/ruff check
	$(bin)/ruff format --check
types: setup
	$(bin)/mypy
layers: setup
	$(bin)/lint-imports
stubs: setup
	scripts/protos.sh --check

format: setup  ## Format the Python code, and repair what lint can
	$(bin)/ruff check --fix-only
	$(bin)/ruff format

protos: setup  ## Make the stubs of Python, Go and Node from proto/ again; the Java client's build makes its own
	scripts/protos.sh
	scripts/client-go.sh generate
	scripts/client-node.sh generate

lock: setup  ## Renew the locked versions; UPGRADE=--upgrade for the newest
	$(compile) requirements/uv.in -o requirements/uv.txt
	$(compile) requirements/go.in -o requirements/go.txt
	$(compile) requirements/node.in -o requirements/node.txt
	$(compile) --no-deps requirements/data.in -o requirements/data.txt
	$(compile) --extra server -c requirements/constraints.txt pyproject.toml requirements/build.in -o requirements/run.txt
	$(compile) --extra server $(adapters) --group dev -c requirements/constraints.txt -c requirements/run.txt \
		pyproject.toml requirements/build.in -o requirements/dev.txt

containers: setup  ## Provide the engine and images that the container tests use
	@scripts/containers.sh

image:  ## Build the service's image, keepstate:local
	@scripts/image.sh

grpcurl:  ## Put grpcurl into .venv/bin
	@scripts/setup.sh run
	@install -m 755 "$$(scripts/go-build.sh tools/grpcurl -ldflags='-s -w -X main.version=v1.9.4')" $(bin)/grpcurl

setup:
	@scripts/setup.sh dev

clean:  ## Remove what was made in this folder (not the cache of containers)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf client/node/node_modules client/node/build client/node/dist client/java/target client/java/example/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
