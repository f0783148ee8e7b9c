# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make demo    an agent answers in a cell, here in the terminal
#   make test    every check there is, as CI runs it
# Stamp files under .venv and .venvs make a second call quick.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
INSTALL := $(UV) pip install --quiet --python $(BIN)/python $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
# The tours run with nothing configured, as on a fresh machine.
UNCONFIGURED := env -u TFRAMEX_API_URL -u TFRAMEX_API_KEY -u TFRAMEX_MODEL -u OPENAI_BASE_URL -u OPENAI_API_KEY

NBVAL = $(UNCONFIGURED) TFRAMEX_FRAMEWORKS_DIR=$(CURDIR)/.venvs/frameworks $(BIN)/pytest -p no:cacheprovider --nbval --nbval-sanitize-with notebooks/sanitize.cfg
RECORDED = $(patsubst notebooks/cassettes/%.ndjson,notebooks/%.ipynb,$(wildcard notebooks/cassettes/*.ndjson))

# uv never fetches an interpreter of its own: what runs is the Python that the user installed.
export UV_PYTHON_DOWNLOADS := never
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: help
help: ## Show what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

# ---- environments

$(UV):
	@bash scripts/bootstrap.sh $(VENV)

$(VENV)/.core: pyproject.toml | $(UV)
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.lab: pyproject.toml | $(UV)
	$(INSTALL) --editable '.[lab]'
	@touch $@ $(VENV)/.core

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS) | $(UV)
	$(INSTALL) --editable '.[lab,dataframe]' --group dev
	@touch $@ $(VENV)/.core $(VENV)/.lab

.venvs/llama/tiny.gguf: tests/llama/build_model.py tests/llama/requirements.txt | $(UV)
	@bash scripts/llama.sh $(VENV) .venvs/llama

.venvs/mcp/made: tests/mcp/servers-new.txt tests/mcp/servers-old.txt scripts/mcp_servers.sh | $(UV)
	@bash scripts/mcp_servers.sh $(VENV) .venvs/mcp

.PHONY: venv chromium llama mcp-servers lock frameworks locks
venv: $(VENV)/.dev ## Make .venv with everything a developer needs.
chromium: ## Find Chromium, or install it with apt-get.
	@bash scripts/chromium.sh
llama: .venvs/llama/tiny.gguf ## Make the real llama.cpp server of the tests, with its tiny model.
mcp-servers: .venvs/mcp/made ## Make the real MCP servers of the tests, unmodified from PyPI.
lock: $(VENV)/.dev ## Write constraints.txt: the versions that are installed now (make CONSTRAINTS=constraints.txt test).
	$(UV) pip freeze --quiet --python $(BIN)/python --exclude-editable > constraints.txt
frameworks: $(VENV)/.dev ## Make the environments of all frameworks for the tests (NAMES='crewai langgraph': only these).
	TFRAMEX_FRAMEWORKS_DIR=$(CURDIR)/.venvs/frameworks $(BIN)/tframex-nb frameworks install $(or $(NAMES),--all)
locks: $(VENV)/.dev ## Resolve the frameworks' locks anew and measure them (UPGRADE=1: the newest versions).
	$(BIN)/python scripts/locks.py $(if $(UPGRADE),--upgrade) $(NAMES)

# ---- use

.PHONY: demo lab doctor
demo: $(VENV)/.core ## An agent answers in a cell, here in the terminal; no key, no network.
	@$(BIN)/tframex-nb demo
lab: $(VENV)/.lab ## Open the quickstart notebook in JupyterLab.
	@cd notebooks && ../$(BIN)/tframex-nb lab
doctor: $(VENV)/.core ## Check this installation, and say what to do next.
	@$(BIN)/tframex-nb doctor

# ---- checks

.PHONY: lint format test test-fast test-in-process test-all test-notebooks cassettes test-wheel test-lowest test-newest test-matrix soak bench wheel
lint: $(VENV)/.dev ## ruff, mypy, the import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev ## Let ruff write what it can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.dev ## Build the wheel and the sdist into dist/.
	rm -rf dist
	$(UV) build --quiet --python $(BIN)/python --out-dir dist
	@ls -1 dist

test-wheel: wheel ## The README runs on the wheel alone, with the latest dependencies.
	bash scripts/test_wheel.sh $(VENV) .venvs/wheel

test-lowest: $(VENV)/.dev chromium ## The core tests, and the main job in the browser, on the lowest dependencies.
	bash scripts/test_lowest.sh $(VENV) .venvs/lowest
	REQUIRE_ALL_PARTS=1 JUPYTER_BIN=$(CURDIR)/.venvs/lowest/bin $(BIN)/pytest -q tests/browser -k main_job

test-in-process: $(VENV)/.dev ## The contract of the frameworks that can live in the kernel's own environment, there.
	bash scripts/test_in_process.sh $(VENV) .venvs/in-process

test-matrix: $(VENV)/.dev ## The core tests on every newer Python that is installed here.
	bash scripts/test_matrix.sh $(VENV) .venvs

test-newest: $(VENV)/.dev ## The core tests on the newest Python that is installed here.
	bash scripts/test_matrix.sh $(VENV) .venvs newest

# Absolute, because a kernel works in its notebook's folder.
test-notebooks: $(VENV)/.dev frameworks ## The tutorials, with nbval: against the demo model, then twice from their cassettes.
	$(NBVAL) $(NOTEBOOKS)
	$(NBVAL) --cassettes replay $(RECORDED)
	$(NBVAL) --cassettes replay $(RECORDED)

cassettes: $(VENV)/.dev frameworks ## Record the tutorials' answers anew (NOTEBOOKS=notebooks/01-quickstart.ipynb: only these).
	$(NBVAL) --cassettes record $(NOTEBOOKS)

test-fast: $(VENV)/.dev ## The tests that need no browser, no llama.cpp and no second environment.
	$(BIN)/pytest -m 'not browser and not llama and not frameworks'

# The main run comes last, so that its summary is the last thing to be read.
test: lint frameworks test-notebooks test-wheel test-lowest test-newest test-in-process chromium llama mcp-servers ## Everything, as CI runs it.
	REQUIRE_ALL_PARTS=1 $(BIN)/pytest

test-all: test test-matrix soak ## Everything, every Python, and a thousand runs in one kernel.

soak: $(VENV)/.dev ## A thousand runs in one kernel: memory, files, tasks and threads stay flat.
	$(BIN)/python benchmarks/soak.py 1000

bench: $(VENV)/.dev ## Measure side by side with the peers; see benchmarks/.
	$(BIN)/python -m benchmarks

.PHONY: screenshots
screenshots: $(VENV)/.dev chromium ## Take the pictures of docs/images anew, in a real JupyterLab.
	$(BIN)/python scripts/screenshots.py

.PHONY: clean
clean: ## Remove everything that make made.
	rm -rf .venv .venvs dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache tests/artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
