# make demo   everything end to end on rendered photos: no network service, no GPU
# make test   what the project promises, checked
# make ui     the Dagster UI and daemon on http://127.0.0.1:3000
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_WORKERS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))  # test processes side by side; one more than cores, for many tests wait
SOAK_MINUTES ?= 60
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test test-scale soak ui doctor lint bench bench-full clean-demo wheel help
help:
	@sed -n '1,3p' Makefile

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@echo "Installing into $(VENV): some 5 GB, one to five minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what the tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/vibe demo

ui: $(VENV)/.installed
	@$(BIN)/vibe ui

doctor: $(VENV)/.installed
	@$(BIN)/vibe doctor

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks  # a benchmark that no longer runs is found out before somebody needs it
	$(BIN)/lint-imports --no-cache

test: lint
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile -m "not e2e and not scale and not soak"
	$(BIN)/pytest -n 2 --dist loadfile -m "(e2e or scale) and not soak"

test-scale: $(VENV)/.installed-dev
	$(BIN)/pytest -m scale

soak: $(VENV)/.installed-dev
	$(BIN)/pytest -m soak --timeout 3600
	$(BIN)/python tests/soak/soak.py --minutes $(SOAK_MINUTES)

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/run.py

bench-full: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/run.py --full

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build --wheel

clean-demo:
	rm -rf demo
