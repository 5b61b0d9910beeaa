# Every target makes what it needs, from `python3` and `pip` alone; `make` lists them.

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?= --quiet
PYTEST_FLAGS ?=
# Tests share nothing, and each runs on one thread: a process for every core, and no more than memory allows.
PYTEST_PROCESSES ?= --numprocesses=logical --maxprocesses=8 --dist=worksteal

# make train
ENV ?= Pendulum-v1
STEPS ?= 8000
EVAL_FREQ ?= 1000
# One thread is nearly as fast for such small networks, and does not stall on a busy machine.
THREADS ?= 1
LOGS ?= logs
TRAIN_FLAGS ?=

# make compatibility
NOX_FLAGS ?=

PY = $(VENV)/bin/python
PACKAGING_FILES = setup.cfg setup.py pyproject.toml constraints.txt sb3_softac/version.py $(wildcard startup/*)

.DEFAULT_GOAL := help
.PHONY: help train test test-rest test-slow test-scale test-docs docs notebooks lint format types check packaging packaging-full release compatibility clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 18
	@echo
	@echo "Variables: PYTHON=python3.12 VENV=.venv; train: ENV=Pendulum-v1 STEPS=8000 EVAL_FREQ=1000 THREADS=1 LOGS=logs TRAIN_FLAGS='--seed 1'"
	@echo "compatibility: NOX_FLAGS='-s environments -- torch==2.13.0'"

# One environment; an extra is installed into it once, and again when what it hangs on changes.
$(VENV)/.installed-%: $(PACKAGING_FILES)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing sb3_softac[$*] into $(VENV)"
	@$(PY) -m pip install $(PIP_FLAGS) --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

train: $(VENV)/.installed-zoo ## train SoftAC on ENV with rl_zoo3's own command, evaluate, write the report
	$(PY) -m rl_zoo3.train --algo softac --env $(ENV) --progress --eval-freq $(EVAL_FREQ) \
		-n $(STEPS) --num-threads $(THREADS) -f "$(LOGS)" $(TRAIN_FLAGS)
	@$(PY) -m sb3_softac.report --video "$$(ls -td "$(LOGS)"/softac/$(subst /,-,$(ENV))_* | head -n 1)"

# The networks of the tests are small.
test test-rest test-slow test-scale test-docs: export OMP_NUM_THREADS = 1
test: $(VENV)/.installed-dev ## the test suite, but for what `make test-rest` runs
	$(PY) -m pytest $(PYTEST_PROCESSES) $(PYTEST_FLAGS)

test-rest: $(VENV)/.installed-dev ## the contract of all options, the benchmarks, and learning to a known optimum
	$(PY) -m pytest tests/contract tests/benchmarks tests/learning $(PYTEST_PROCESSES) $(PYTEST_FLAGS)

test-slow: $(VENV)/.installed-dev ## the tests that are marked as slow, here and there
	$(PY) -m pytest tests -o norecursedirs='.*' -m slow $(PYTEST_PROCESSES) $(PYTEST_FLAGS)

# The server is Debian's; each run has a cluster of its own in a temporary folder, and stops it.
test-scale: $(VENV)/.installed-dev $(VENV)/.installed-scale ## searches in PostgreSQL with workers that are killed, sweeps and environments on Ray
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends postgresql; } >/dev/null || \
		echo "PostgreSQL cannot be installed (apt-get needs root): its tests are skipped"
	$(PY) -m pytest tests/scale tests/distributed/actors $(PYTEST_FLAGS)

test-docs: $(VENV)/.installed-dev ## the code and the commands of README.md and of the manual
	$(PY) -m pytest README.md docs $(PYTEST_PROCESSES) --dist=loadfile $(PYTEST_FLAGS)

docs: $(VENV)/.installed-docs ## the manual, in docs/_build/html; warnings are errors
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "The manual is docs/_build/html/index.html"

# Alone on a core each takes a minute or two; CI runs them with fewer steps, and keeps nothing.
notebooks: export OMP_NUM_THREADS = 1
notebooks: $(VENV)/.installed-dev ## execute the notebooks of the manual in full, and keep their outputs
	$(PY) docs/execute_notebooks.py

lint: $(VENV)/.installed-dev ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/.installed-dev ## rewrite the files in ruff's format
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

types: $(VENV)/.installed-dev ## mypy
	$(PY) -m mypy

# Its tests install the package themselves: they are run by an environment that has pytest alone, made in seconds.
PACKAGING_PY = $(VENV)-packaging/bin/python
PACKAGING_PYTEST = $(PACKAGING_PY) -m pytest tests/packaging --confcutdir=tests/packaging
$(VENV)-packaging/.installed: constraints.txt
	@test -x $(PACKAGING_PY) || $(PYTHON) -m venv $(VENV)-packaging
	@$(PACKAGING_PY) -m pip install $(PIP_FLAGS) --disable-pip-version-check -c constraints.txt pytest numpy
	@touch $@

packaging: $(VENV)-packaging/.installed ## build, install, use, uninstall, in an environment of its own
	$(PACKAGING_PYTEST) -m 'packaging and not packaging_full' $(PYTEST_FLAGS)

packaging-full: $(VENV)-packaging/.installed ## the same for every kind of installation and every script of rl_zoo3
	$(PACKAGING_PYTEST) -m packaging $(PYTEST_FLAGS)

check: lint types docs packaging test-docs test-slow test-rest test ## all of the above; CI runs it without test-slow, test-rest and docs

release: $(VENV)/.installed-dev ## sdist and wheel in dist/, built anew and verified
	rm -rf dist
	$(PY) -m build
	$(PY) -m twine check --strict dist/*
	$(PY) -m check_wheel_contents dist/*.whl

compatibility: $(VENV)/.installed-dev ## each Python, oldest and newest dependencies, and environments of other packages (nox)
	$(PY) -m nox $(NOX_FLAGS)

clean: ## remove environments, builds and caches (not logs/)
	rm -rf .venv* .nox build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
