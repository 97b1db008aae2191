# Each target makes what it needs: a project-local .venv from the lock, nothing else on the machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs
STAMP := $(VENV)/.installed
AUDIT := .venv-audit
DOCS := .venv-docs
N ?= 200
SEEDS ?= 20
WORKERS ?= 4
E2E ?= tests/e2e

# Compiled once, the tests and what they start are read in a fraction of the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help check test unit browser e2e demo chaos burst audit docs lock clean
help:  ## Say what can be done
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# What the command needs; development comes on top, from a lock with the same versions.
$(RUNS): requirements/local.txt pyproject.toml
	@PYTHON=$(PYTHON) ./runner-fleet --version

$(STAMP): requirements/dev.txt $(RUNS)
	@echo "installing what development needs besides, from requirements/dev.txt"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

check: $(STAMP)  ## Format, lint, types, template
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m infra.package build
	$(BIN)/cfn-lint infra/template.yaml infra/image.yaml
	$(BIN)/cfn-lint --ignore-checks W8003 -- build/template.yaml

# In the order of their names, the integration tests start first. xdist's own order starts with the files of most tests,
# so that the slow files, which have few, would run last and alone.
test: $(STAMP)  ## All tests, WORKERS at once: most of their time is waiting
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered

unit: $(STAMP)  ## The tests that need no process besides their own
	$(BIN)/pytest -n auto --dist worksteal tests/unit

browser: $(STAMP)  ## The dashboard in Chromium, in a process of its own: Playwright keeps an event loop
	$(BIN)/pytest -q tests/browser

e2e: $(STAMP)  ## Real machines in containers, with Docker and gitlab-runner; as root it installs what is missing
	tests/e2e/engine.sh $(BIN)/pytest -q -s $(E2E)

demo: $(RUNS)  ## The main job, end to end, on this machine
	./runner-fleet demo

chaos: $(RUNS)  ## Every fault of the chaos suite, SEEDS seeds each
	./runner-fleet local chaos --seeds $(SEEDS)

burst: $(RUNS)  ## N jobs at once
	./runner-fleet local burst --jobs $(N)

$(AUDIT)/.installed: requirements/audit.txt
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/audit.txt
	@touch $@

audit: $(STAMP) $(AUDIT)/.installed  ## The template under checkov (.checkov.yaml argues), and the functions' parts list
	$(BIN)/python -m infra.package build
	$(AUDIT)/bin/checkov --config-file .checkov.yaml
	$(AUDIT)/bin/cyclonedx-py requirements requirements/runtime.txt --output-reproducible --of JSON -o build/functions.cdx.json

$(DOCS)/.installed: requirements/docs.txt
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/docs.txt
	@touch $@

docs: $(STAMP) $(DOCS)/.installed  ## Write the generated documents anew, and the site into build/site
	$(BIN)/python -m infra.permissions
	$(BIN)/python -m infra.licences
	$(BIN)/python -m cli.reference docs/cli.md
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

lock: $(STAMP)  ## Compile the hash-pinned requirement files again (needs uv on PATH)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements/dev.txt requirements/local.in -o requirements/local.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements/dev.txt requirements/runtime.in -o requirements/runtime.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/audit.in -o requirements/audit.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/docs.in -o requirements/docs.txt

clean:  ## Remove what the targets made
	rm -rf $(VENV) $(AUDIT) $(DOCS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .runner-fleet
