# The first command is `make demo`, the second `make test`; each makes .venv and installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Two at a time; tests/conftest.py says which tests stay together.
WORKERS ?= --numprocesses 2 --no-loadscope-reorder

.PHONY: demo test test-quick check format bench clean

demo: $(STAMP)
	$(BIN)/plaunch --nodes 2 --procs 2 examples/digits.py

test: $(STAMP)
	@sh tests/install-debian-packages.sh || echo "make test: some Debian packages are missing; tests that need them are skipped by name"
	$(BIN)/python -m pytest $(WORKERS) --durations=10 $(ARGS)

# What needs no cluster, not even the embedded one: at most two minutes.
test-quick: $(STAMP)
	$(BIN)/python -m pytest -m "not cluster" $(WORKERS) --durations=10 $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

# torch comes first and by the constraints: anything else may resolve to another build.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation --config-settings editable_mode=compat -e '.[test,lint,ray]'
	$(BIN)/python -m compileall -q launcher engine
	touch $@

clean:
	rm -rf .venv .venv-peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
