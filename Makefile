# Two commands do everything: `make run` and `make test`. Both first make .venv from constraints.txt.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := passive
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: run test test-compose test-newest-flower newest-flower browser bench lint docs clean
run: $(VENV)/.installed
	$(BIN)/murmur run

# A file of tests is one process's; two at a time, for many wait for what they started.
TEST_PROCESSES ?= 2
test: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# The compose file in a real Docker engine, which is installed where there is none and it may be.
test-compose: $(VENV)/.installed
	PYTHON=$(BIN)/python docker/test-compose.sh

# The simulation and two SuperNodes with a later Flower than the pinned one, in an environment of its own.
test-newest-flower: newest-flower
	.ci/newest-flower $(VENV) test
newest-flower: $(VENV)/.installed
	.ci/newest-flower $(VENV) install

# Chromium, for the tests of pages; installed where there is none and it may be.
browser:
	.ci/browser

# What is measured without a GPU, a corpus or much time; rewrites benchmarks/README.md.
bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# The pages as a site, build/docs/index.html, with every link checked.
docs: $(VENV)/.installed
	$(BIN)/python -m docs_site

# The stamp is written last, so an interrupted installation is simply done again.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12)) else f"Python {v[0]}.{v[1]} found, 3.11 or 3.12 needed: make PYTHON=python3.12")'
	@echo "Installing into $(VENV): a minute or two"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-newest-flower .murmur .cache build/docs build/docs-source
