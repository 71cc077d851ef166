# Targets, all of which run in the virtual environment .venv.
#   make env    create the environment
#   make test   check format, lint, types, spelling and reference numbers; run the tests
#   make docs   build the documentation site in build/site; warnings are errors
#   make demo   extract, train, evaluate and explain a small synthetic world in runs/demo
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env test lint docs demo
.DEFAULT_GOAL := env

env: .venv/.built

.venv/.built: constraints.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer expected, got ' + sys.version.split()[0] + '; set PYTHON=')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

lint: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

test: lint
	$(BIN)/python -m tools.check_reference tests/reference
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

demo: env
	$(BIN)/python -m tools.demo
