# The first command is `make demo`, the second `make test`; each makes .venv and installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Three at a time, for two processors: many tests wait. tests/conftest.py says which stay together.
WORKERS ?= --numprocesses 3 --no-loadscope-reorder

.PHONY: demo test test-quick test-torch check format picture bench clean

demo: $(STAMP)
	$(BIN)/plaunch --nodes 2 --procs 2 examples/digits.py

test: $(STAMP)
	@sh tests/install-debian-packages.sh || echo "make test: some Debian packages are missing; tests that need them are skipped by name"
	$(BIN)/python -m pytest $(WORKERS) --durations=10 $(ARGS)

# What needs no cluster, not even the embedded one, and takes no time (tests/slow.py): at most 90 s.
test-quick: $(STAMP)
	$(BIN)/python -m pytest -m "not cluster and not slow" $(WORKERS) --durations=10 $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The packages in docs/architecture.md, from the import contracts and the packages' docstrings.
picture: $(STAMP)
	$(BIN)/python docs/picture.py

# Engine and launcher on another torch, in an environment of its own: `make test-torch VERSION=2.14.1`.
# The plain wheels bring gigabytes of CUDA libraries. What torch itself pins is not constrained.
UNPINNED = torch|sympy|networkx|setuptools|triton

test-torch:
	@test -n "$(VERSION)" || { echo "say which: make test-torch VERSION=2.14.1" >&2; exit 2; }
	$(MAKE) .venv-torch-$(VERSION)/.installed
	.venv-torch-$(VERSION)/bin/python -m pytest tests/engine tests/seeds tests/launcher $(WORKERS) --durations=10 $(ARGS)

.venv-torch-%/.installed: pyproject.toml constraints.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	grep -vE '^($(UNPINNED))==' constraints.txt > $(@D)/constraints.txt
	echo 'torch==$*' >> $(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c $(@D)/constraints.txt torch setuptools wheel
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c $(@D)/constraints.txt --no-build-isolation --config-settings editable_mode=compat -e '.[test,ray]'
	touch $@

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

# torch comes first and by the constraints: anything else may resolve to another build.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation --config-settings editable_mode=compat -e '.[test,lint,ray]'
	$(BIN)/python -m compileall -q launcher engine plaunch
	touch $@

clean:
	rm -rf .venv .venv-peers .venv-torch-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
