# Needs git, make and a Python >= 3.11 with venv; everything else is installed into folders that git ignores.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# The Airflow to work with: the name of a list in requirements/. Each has an environment of its own.
AIRFLOW ?= 3.3.2
DEFAULT_AIRFLOW := 3.3.2
VENV := $(if $(filter $(DEFAULT_AIRFLOW),$(AIRFLOW)),.venv,.venv-airflow-$(AIRFLOW))
PINS := requirements/airflow-$(AIRFLOW).txt
PY := $(VENV)/bin/python

KUMO_APIS := newest middle oldest
KUMO_API_STAMPS := $(KUMO_APIS:%=.cache/kumo-api/.%)

# Passed on to pytest: make test ARGS="-k retry"
ARGS ?=

# Read by the demo, by dev/python.sh: only their names are mentioned here, so that no value is printed by make.
export PYTHON AIRFLOW_PORT KUMO_PORT KUMO_SPEED KUMO_API_KEY KUMO_HOST PQUERY KEEP

.PHONY: help demo test ready test-unit test-lineage test-celery faults bench bench-scale docs docs-serve lint format install kumo-clients pins pins-kumoai pins-docs clean distclean

help:
	@echo 'make demo       a local Kumo, an Airflow and a DAG that retrains and predicts, live (Ctrl-C stops all)'
	@echo '                AIRFLOW_PORT=8080 KUMO_PORT=8123 KEEP=0 (stop when done)'
	@echo '                KUMO_API_KEY=... [KUMO_HOST=...] PQUERY=...: the same DAG on your Kumo'
	@echo 'make test       every test; ARGS="-k name" passes arguments to pytest'
	@echo 'make test-unit  the fast ones'
	@echo 'make test-all   the tests on every Airflow of the list below; AIRFLOWS="2.11.2 3.0.6" picks some'
	@echo 'make test-ui    what a person sees in a browser (needs Chromium); make screenshots takes docs/images/*.png'
	@echo 'make test-lineage  what Airflow sends to OpenLineage, in an environment that has its provider'
	@echo 'make test-celery  the example DAGs on CeleryExecutor, with Redis and PostgreSQL'
	@echo 'make faults     every way to lose or double a job, many times, counted (an hour; needs PostgreSQL);'
	@echo '                TIMES=20 SEED=1 ONLY=... WRITE=1 (the table of docs/reliability.md)'
	@echo 'make bench      what waiting, importing and parsing cost, beside other providers; WRITE=1 (docs/performance.md)'
	@echo 'make bench-scale  two triggerers on PostgreSQL, 2000 waiting jobs, one triggerer killed; WRITE=1 (docs/scaling.md)'
	@echo 'make docs       the site into site/, with every link checked; make docs-serve shows it: DOCS_PORT=8000'
	@echo 'make lint       ruff and mypy; make format applies what ruff can'
	@echo 'make hooks      the checks of make lint before each commit'
	@echo 'make dist       wheel and sdist into dist/; make test-dist installs the wheel into every Airflow'
	@echo 'make test-lowest  the fast tests with the oldest versions that the package allows'
	@echo 'make pins       renew the pinned versions (requirements/README.md)'
	@echo 'make clean      remove what runs leave; make distclean also the environments'
	@echo
	@echo 'PYTHON=... picks the interpreter (>= 3.11), AIRFLOW=... the Airflow, of:'
	@ls requirements | sed -n 's/^airflow-\(.*\)\.txt$$/  \1/p'

demo: install
	@exec $(PY) -m dev.demo

test: ready
	@exec $(PY) -m pytest $(ARGS)

# All that the tests of the default Airflow need.
ready: install kumo-clients $(VENV)/.faults

test-unit: install
	@exec $(PY) -m pytest tests/unit $(ARGS)

# What runs on the others: all that depends on Airflow.
ON_EACH ?= tests/unit tests/airflow
AIRFLOWS ?= $(patsubst requirements/airflow-%.txt,%,$(wildcard requirements/airflow-*.txt))

.PHONY: test-all
test-all:
	@$(MAKE) install AIRFLOW=$(DEFAULT_AIRFLOW)
	@exec .venv/bin/python -m dev.test_all $(AIRFLOWS) --default $(DEFAULT_AIRFLOW) --on-each '$(ON_EACH)' -- $(ARGS)

# The table of docs/reliability.md is written with WRITE=1.
TIMES ?= 20
SEED ?= 1
export ONLY

faults: install $(VENV)/.faults
	@exec $(PY) -m tests.faults --times $(TIMES) --seed $(SEED) --only "$$ONLY" $(if $(filter 1,$(WRITE)),--write)

# An environment of its own: with Airflow's OpenLineage provider every task would send events, in all tests.
LINEAGE_VENV := $(VENV)-openlineage

test-lineage: $(LINEAGE_VENV)/.package
	@exec $(LINEAGE_VENV)/bin/python -m pytest tests/lineage $(ARGS)

$(LINEAGE_VENV)/.pins: $(PINS) requirements/openlineage.txt dev/install.sh
	@echo 'Installing Airflow $(AIRFLOW) with OpenLineage into $(LINEAGE_VENV) (once, about a minute)'
	@dev/install.sh $(LINEAGE_VENV) $(PINS) .cache/logs/install-openlineage.log
	@dev/install.sh $(LINEAGE_VENV) requirements/openlineage.txt .cache/logs/install-openlineage.log
	@touch $@

$(LINEAGE_VENV)/.package: $(LINEAGE_VENV)/.pins pyproject.toml airflow_provider_kumo/__init__.py
	@$(LINEAGE_VENV)/bin/python -m pip install --no-deps --no-build-isolation --disable-pip-version-check --editable . \
		>.cache/logs/package-openlineage.log 2>&1 || { cat .cache/logs/package-openlineage.log; exit 1; }
	@touch $@

# Airflow's side of PostgreSQL. Debian's package postgresql has the server.
$(VENV)/.faults: requirements/faults.txt $(VENV)/.pins
	@dev/install.sh $(VENV) $< .cache/logs/install-faults.log
	@touch $@

.PHONY: test-ui screenshots

# A browser on the newest Airflow and on the oldest, which .venv's tests start from an environment of its own.
test-ui: install .venv/.ui
	@.venv/bin/python -m dev.browser
	@$(MAKE) install AIRFLOW=2.11.2
	@exec .venv/bin/python -m pytest tests/ui $(ARGS)

screenshots: install .venv/.ui
	@.venv/bin/python -m dev.browser
	@exec .venv/bin/python -m dev.screenshots

.venv/.ui: requirements/ui.txt .venv/.pins
	@dev/install.sh .venv $< .cache/logs/install-ui.log
	@touch $@

# Ours beside its peers. The tables of docs/performance.md are written with WRITE=1. The local Kumo runs in $(VENV).
bench: install .venv-bench/.pins
	@exec .venv-bench/bin/python -m benchmarks $(if $(filter 1,$(WRITE)),--write)

bench-scale: install $(VENV)/.faults
	@exec $(PY) -m benchmarks.scale $(if $(filter 1,$(WRITE)),--write)

.venv-bench/.pins: requirements/bench.txt dev/install.sh
	@echo 'Installing Airflow and the providers to measure beside into .venv-bench (once, some minutes)'
	@dev/install.sh .venv-bench requirements/bench.txt .cache/logs/install-bench.log
	@touch $@

# The example DAGs on CeleryExecutor. Debian's packages postgresql and redis-server have the servers.
test-celery: .venv-celery/.package
	@exec .venv-celery/bin/python -m pytest tests/celery $(ARGS)

.venv-celery/.package: requirements/celery.txt dev/install.sh pyproject.toml
	@echo 'Installing Airflow with Celery into .venv-celery (once, about a minute)'
	@dev/install.sh .venv-celery requirements/celery.txt .cache/logs/install-celery.log
	@.venv-celery/bin/python -m pip install --no-deps --no-build-isolation --editable . >>.cache/logs/install-celery.log 2>&1
	@touch $@

# Material for MkDocs announces its successor at every start.
export NO_MKDOCS_2_WARNING := 1
DOCS_PORT ?= 8000

docs: .venv-docs/.pins
	@mkdir -p .cache/logs
	@.venv-docs/bin/python -m mkdocs build --strict >.cache/logs/docs.log 2>&1 || { cat .cache/logs/docs.log; exit 1; }
	@echo 'site/: built, and every link leads somewhere'

docs-serve: .venv-docs/.pins
	@exec .venv-docs/bin/python -m mkdocs serve --dev-addr 127.0.0.1:$(DOCS_PORT)

.venv-docs/.pins: requirements/docs.txt dev/install.sh
	@echo 'Installing MkDocs into .venv-docs (once)'
	@dev/install.sh .venv-docs requirements/docs.txt .cache/logs/install-docs.log
	@touch $@

.PHONY: lint-ruff lint-types hooks dist test-dist test-lowest pins-release pins-lowest

# The hooks of .pre-commit-config.yaml are lint-ruff and lint-types.
lint: lint-ruff lint-types

lint-ruff: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

lint-types: install
	$(PY) -m mypy
	$(PY) -m mypy --strict -p dev -p benchmarks

hooks: .venv-release/.pins
	@.venv-release/bin/python -m pre_commit install

format: install
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# Without build isolation, so nothing is downloaded. What a tag asks for is checked last: the files of an untagged
# commit are good for trying out.
dist: .venv-release/.pins
	@rm -rf dist
	@.venv-release/bin/python -m hatchling build -d dist
	@.venv-release/bin/python -m twine check --strict dist/*
	@.venv-release/bin/python -m dev.release

test-dist: dist
	@exec .venv-release/bin/python -m pytest -n 2 --dist loadgroup tests/release $(ARGS)

# With the oldest versions that pyproject.toml allows, of those that one Airflow takes together.
test-lowest: .venv-lowest/.package
	@exec .venv-lowest/bin/python -m pytest tests/unit $(ARGS)

.venv-lowest/.package: requirements/lowest.txt dev/install.sh pyproject.toml airflow_provider_kumo/__init__.py
	@echo 'Installing the oldest versions allowed into .venv-lowest (once, about a minute)'
	@dev/install.sh .venv-lowest requirements/lowest.txt .cache/logs/install-lowest.log
	@.venv-lowest/bin/python -m pip install --no-deps --no-build-isolation --disable-pip-version-check --editable . \
		>.cache/logs/package.log 2>&1 || { cat .cache/logs/package.log; exit 1; }
	@.venv-lowest/bin/python -m pip check
	@touch $@

.venv-release/.pins: requirements/release.txt dev/install.sh
	@echo 'Installing the tools of a release into .venv-release (once)'
	@dev/install.sh .venv-release requirements/release.txt .cache/logs/install-release.log
	@touch $@

install: $(VENV)/.package

$(VENV)/.pins: $(PINS) dev/install.sh
	@echo 'Installing Airflow $(AIRFLOW) into $(VENV) (once, about a minute)'
	@dev/install.sh $(VENV) $(PINS) .cache/logs/install-$(AIRFLOW).log
	@$(PY) -m pip check >.cache/logs/check-$(AIRFLOW).log 2>&1 || { cat .cache/logs/check-$(AIRFLOW).log; echo '$(PINS) is not complete: make pins'; exit 1; }
	@touch $@

# hatchling is among the pins: without build isolation nothing else is downloaded.
$(VENV)/.package: $(VENV)/.pins pyproject.toml airflow_provider_kumo/__init__.py
	@$(PY) -m pip install --no-deps --no-build-isolation --disable-pip-version-check --editable . \
		>.cache/logs/package-$(AIRFLOW).log 2>&1 || { cat .cache/logs/package-$(AIRFLOW).log; exit 1; }
	@touch $@

# Kumo's own client and three versions of its schema, for the contract tests; see requirements/README.md.
kumo-clients: .venv-kumoai/.pins $(KUMO_API_STAMPS)

.venv-kumoai/.pins: requirements/kumoai.txt dev/install.sh
	@echo "Installing Kumo's own Python client into .venv-kumoai (once)"
	@dev/install.sh .venv-kumoai requirements/kumoai.txt .cache/logs/install-kumoai.log
	@touch $@

.cache/kumo-api/.%: requirements/kumo-api-%.txt $(VENV)/.pins
	@version=$$(sed -n 's/^kumo-api==//p' $<) && rm -rf ".cache/kumo-api/$$version" && mkdir -p .cache/kumo-api .cache/logs && \
	{ $(PY) -m pip install --no-deps --disable-pip-version-check --target ".cache/kumo-api/$$version" -r $< \
		>.cache/logs/kumo-api.log 2>&1 || { cat .cache/logs/kumo-api.log; exit 1; }; }
	@touch $@

pins:
	@dev/pins.sh $(PINS) 'apache-airflow==$(AIRFLOW)' $(WITH) --editable '.[emulator]' -r requirements/tools.in

pins-kumoai:
	@dev/pins.sh requirements/kumoai.txt kumoai

pins-docs:
	@dev/pins.sh requirements/docs.txt mkdocs mkdocs-material 'mkdocstrings[python]' ruff

pins-release:
	@dev/pins.sh requirements/release.txt -c requirements/airflow-$(DEFAULT_AIRFLOW).txt \
		hatchling hatch-fancy-pypi-readme twine 'readme-renderer[md]' uv pytest pytest-asyncio pytest-xdist jsonschema mypy types-requests pre-commit

pins-lowest:
	@dev/pins.sh requirements/lowest.txt apache-airflow==3.0.6 cadwyn==5.4.5 fastapi==0.116.1 \
		requests==2.31.0 aiohttp==3.11.0 apache-airflow-providers-common-compat==1.23.0 kumo-api==0.92.0 \
		--editable '.[emulator]' -r requirements/tools.in

clean:
	rm -rf .demo .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site
	find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-airflow-* .venv-openlineage .venv-kumoai .venv-docs .venv-release .venv-lowest .venv-bench .venv-celery
