# Everything a contributor types. Each target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.set-up
CHECKOV := .venv-checkov

.PHONY: demo test check format lock clean docs-pictures

demo: $(SETUP) ## Watch pictures go through an embedded AWS
	$(BIN)/image-worker demo

test: $(SETUP) ## Run every tier of tests
	$(BIN)/pytest

check: $(SETUP) ## Lint, format, types, templates, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint config/cloudformation/*.yaml
	$(BIN)/pytest -q tests/unit/test_import_direction.py

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links

lock: $(SETUP) ## Pin every dependency with its hashes: all of them, what the container needs, what checkov needs
	$(LOCK) pyproject.toml --all-extras --group dev -o requirements.lock
	$(LOCK) pyproject.toml --extra heic --extra otel --group build -c requirements.lock -o requirements-runtime.lock
	$(LOCK) --group pyproject.toml:checkov -o requirements-checkov.lock

docs-pictures: $(SETUP)
	$(BIN)/python docs/make_imaging_pictures.py

$(CHECKOV)/.set-up: requirements-checkov.lock
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-checkov.lock
	touch $@

$(SETUP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) $(CHECKOV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
