# Everything a developer or a visitor types. Needs Python 3.11, make and a package registry, once.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
MAIN   ?= main
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The stamp's name holds the digest of what was installed: another lock or another project file makes another stamp.
DIGEST := $(shell cat requirements.lock pyproject.toml | cksum | tr -d ' ')
READY  := $(VENV)/.ready-$(DIGEST)

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak protos lock docs format clean lint types layers contract generated

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## four venues in four processes on real data (DEMO="--once" ends by itself)
	@$(BIN)/trustnode demo $(DEMO)

test: $(READY)  ## every test (TEST=path runs some, JOBS=n files at a time)
	@$(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile $(TEST)

check: lint types layers contract generated  ## format, lint, types, layers, protos, generated files

bench: $(READY)  ## the benchmarks, as ratios (ONLY=name runs one)
	@$(BIN)/python tests/benchmarks/run.py $(if $(ONLY),--only $(ONLY))

soak: $(READY)  ## kill, starve and cut the power: nothing acknowledged is lost (KILLS=n SEED=n)
	@PYTHONPATH=src:tests $(BIN)/python -m faults.soak --kills $(or $(KILLS),1000) --seed $(or $(SEED),1) $(if $(ONLY),--only "$(ONLY)")

protos: $(READY)  ## write stubs, reason registry and document schemas
	@$(BIN)/python -m trustnode.testing.generate protos schemas

lock:  ## resolve the dependencies anew into requirements.lock (UPGRADE=1 takes newer ones)
	@test -x $(BIN)/uv || { echo "run: make test, or install uv into $(VENV)"; exit 1; }
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	    --custom-compile-command "make lock" --extra node --extra web --extra sources --extra privacy --extra dev $(if $(UPGRADE),--upgrade) \
	    pyproject.toml -o requirements.lock

docs: $(READY)  ## write the generated pages of docs
	@$(BIN)/python -m trustnode.testing.generate docs

format: $(READY)  ## format the sources
	@$(BIN)/ruff format --quiet && $(BIN)/ruff check --quiet --fix-only && $(BIN)/buf format --write protos

clean:  ## remove the environment and everything built
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- parts of check ---------------------------------------------------------------------------------------------------

lint: $(READY)
	@$(BIN)/ruff format --check --quiet || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet

types: $(READY)
	@$(BIN)/mypy --no-error-summary

layers: $(READY)
	@found=$$($(BIN)/lint-imports 2>&1) || { echo "$$found"; exit 1; }

contract: $(READY)
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code protos
	@if git cat-file -e $(MAIN):buf.yaml 2> /dev/null; then $(BIN)/buf breaking --against '.git#branch=$(MAIN)'; \
	    else echo "no branch $(MAIN) here: breaking changes of the protos are not checked"; fi

generated: $(READY)
	@$(BIN)/python -m trustnode.testing.generate --check

# --- the environment --------------------------------------------------------------------------------------------------

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not here; name another: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what requirements.lock names into $(VENV): about 420 MB to download where it is not there yet"
	@$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.ready-*
	@touch $(READY)
