# make demo | test | lab | dashboard: each makes .venv and installs what is missing, once.
# Another interpreter: make PYTHON=python3.12 test.  Newest dependencies: make CONSTRAINTS= test.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PYTEST_ARGS ?=
LAB_ARGS ?=

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
NEWER := install Python 3.11 or newer and name it, for example: make PYTHON=python3.12 demo

.PHONY: help demo test lint notebooks lab dashboard doctor browser same-python

help:
	@echo "make demo       train the smcgan demonstration and print its table"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make dashboard  compare the runs in runs/"
	@echo "make doctor     what this machine offers, and how to get what is missing"
	@echo "make test       everything that must pass; make lint and make notebooks are parts of it"

demo: $(VENV)/.installed
	$(BIN)/workbench run smcgan --preset demo

lab: $(VENV)/.installed
	$(BIN)/jupyter lab notebooks $(LAB_ARGS)

dashboard: $(VENV)/.installed
	$(BIN)/workbench dashboard runs

doctor: $(VENV)/.installed
	$(BIN)/workbench doctor

test: lint browser
	$(BIN)/python -m pytest $(PYTEST_ARGS)

notebooks: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m notebook $(PYTEST_ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Browser tests may be skipped on a desk, never in CI.
browser: $(VENV)/.installed-test
	@$(BIN)/python -c 'import sys; from workbench import doctor; sys.exit(doctor.browser() is None)' || \
	if [ "$${CI:-}" = true ]; then \
		echo "No Chromium found, and CI=true must not skip the browser tests: apt-get install chromium" >&2; exit 1; \
	else \
		echo "No Chromium found: the browser tests will be skipped. To run them: apt-get install chromium"; \
	fi

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/pip
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(CONSTRAINTS) | $(BIN)/pip
	$(INSTALL) -e '.[test]'
	@touch $(VENV)/.installed $@

# pip comes last into a new environment, so its presence tells that the environment is whole.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON): no such command; $(NEWER)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), too old; $(NEWER)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Asked for by name, an interpreter must be the one that the environment was made with.
ifneq ($(origin PYTHON),file)
$(VENV)/.installed $(VENV)/.installed-test: | same-python
endif
same-python: | $(BIN)/pip
	@asked=$$($(PYTHON) -V 2>&1); has=$$($(BIN)/python -V 2>&1); [ "$$asked" = "$$has" ] || \
	{ echo "$(VENV) was made with $$has, not $$asked; remove it, or add another one: make VENV=.venv-other ..." >&2; exit 1; }
