# `make` lists what there is. Everything is installed into $(VENV); nothing is installed globally.
VENV ?= .venv
PYTHON ?= python3

BIN := $(VENV)/bin
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)
ENOUGH := import sys; sys.version_info >= (3, 11) or \
  sys.exit('Python 3.11 or newer is needed: make setup PYTHON=python3.12')
CHOICE := import sys; print('3.%d' % min(sys.version_info[1], 14))
DEMO := build/my-model
# The demo may go as long as it is what we made: somebody may have worked in it.
LIST := find . ! -name "*.pyc" ! -path "*.egg-info/*" \( -type f -exec cksum {} + -o -type l -print \) | LC_ALL=C sort
UNTOUCHED := [ ! -e $(DEMO) ] || (cd $(DEMO) && $(LIST)) | cmp -s - build/.demo || \
  { echo "$(DEMO) was changed since it was made: move it away, or remove it yourself" >&2; exit 1; }
SOURCES := benchmarks hooks local_extensions.py tests
ENGINE := {{cookiecutter.project_slug}}/engine

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint format clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install the template's own tools into .venv (a second run needs no network)
	@key="$$(cat pyproject.toml "$(ENGINE)/pyproject.toml" | cksum) $(CURDIR)"; stamp="$(VENV)/.template-installed"; \
	if [ "$$(cat "$$stamp" 2>/dev/null)" != "$$key" ]; then set -e; \
	  echo "Installing into $(VENV), once (a minute or two) ..."; \
	  [ -x "$(BIN)/python" ] || { $(PYTHON) -c "$(ENOUGH)"; $(PYTHON) -m venv "$(VENV)"; }; \
	  [ -x "$(UV)" ] || "$(BIN)/python" -m pip install --quiet --disable-pip-version-check uv; \
	  "$(UV)" pip install --quiet --compile-bytecode --python "$(BIN)/python" --group dev \
	    -r "$(ENGINE)/pyproject.toml" --extra training; \
	  echo "$$key" > "$$stamp"; \
	fi

demo: setup ## Bake a project into build/ and watch a model live its whole life in it
	@$(UNTOUCHED)
	@rm -rf $(DEMO) && mkdir -p build
	@printf '{cookiecutters_dir: build/.clones, replay_dir: build/.replay}\n' > build/.config.yaml
	@"$(BIN)/cookiecutter" . --no-input --config-file build/.config.yaml --output-dir build \
	  python_version="$$("$(BIN)/python" -c "$(CHOICE)")"
	@(cd $(DEMO) && $(LIST)) > build/.demo
	@$(MAKE) --no-print-directory -C $(DEMO) rehearse VENV="$$(cd "$(VENV)" && pwd)"
	@(cd $(DEMO) && $(LIST)) > build/.demo
	@echo
	@echo "Look at $(DEMO)/rehearsal/report.html, and at the repository around it: $(DEMO)/README.md"

test: test-fast ## Run every test; the slow ones install and run baked projects
	@"$(BIN)/pytest" -m slow --numprocesses=2 --dist=loadfile --durations=20

test-fast: setup ## Run the tests that install nothing
	@"$(BIN)/pytest" -m "not slow" --numprocesses=auto --durations=10

lint: setup ## Check style, types, and which room of the engine imports which
	@"$(BIN)/ruff" check $(SOURCES) "$(ENGINE)"
	@"$(BIN)/ruff" format --check $(SOURCES) "$(ENGINE)"
	@"$(BIN)/mypy"
	@cd "$(ENGINE)" && "$(CURDIR)/$(BIN)/mypy"
	@PYTHONPATH="$(ENGINE)" "$(BIN)/lint-imports" --no-logo

format: setup ## Rewrite all code in the project's style
	@"$(BIN)/ruff" check --fix-only $(SOURCES) "$(ENGINE)"
	@"$(BIN)/ruff" format $(SOURCES) "$(ENGINE)"

clean: ## Remove .venv, the demo and the caches; a demo that was changed stays
	@$(UNTOUCHED)
	rm -rf .venv $(DEMO) .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@rm -rf build/.clones build/.replay build/.config.yaml build/.demo
	@[ ! -d build ] || rmdir build 2>/dev/null || echo "build/ holds other files: it stays"
