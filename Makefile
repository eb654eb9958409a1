# Needs python3 (3.8 to 3.12, with venv), git and make. Everything is installed into .venv of this checkout.
FITS := import sys, venv, ensurepip; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for name in python3 python3.12 python3.11 python3.10 python3.9 python3.8; do \
	"$$name" -c '$(FITS)' >/dev/null 2>&1 && echo "$$name" && break; done)
ENV := .venv
BIN := $(ENV)/bin
DOCS_ENV := .venv-docs
PIPELINER_ENV := .venv-pipeliner
TOOLS_ENV := .venv-tools
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints-ci.txt

QUICK := tests/core/formats tests/core/images tests/core/maps tests/core/results tests/core/evaluation tests/core/views \
	tests/core/workers/test_local_executor.py tests/core/test_api.py tests/test_docs.py tests/test_docs_code.py -m "not slow"

.PHONY: help env pipeliner-env demo test quick fuzz lint types imports check docs release pythons mutants default-model gpu-check screenshots clean

help:
	@echo "make demo           screen simulated micrographs in a real Scipion project; or your own:"
	@echo "                    make demo MICROGRAPHS='folder/*.mrc' PICKS=folder PIXEL_SIZE=1.1 DEMO_ARGS='--box-size 200'"
	@echo "make test           run the whole test suite (PYTEST_ARGS='-k words' for a part of it)"
	@echo "make pipeliner-env  install CCP-EM Pipeliner, for the tests of its job, which are skipped without it"
	@echo "make quick          the fast tests, under 2 minutes: no Scipion project, no training, no killed processes"
	@echo "make fuzz           give 40,000 damaged files to each reader (FUZZ_ARGS='--number 1000 --only .star')"
	@echo "make check          lint, types and imports"
	@echo "make docs           build the documentation into site; it executes the notebook, and fails on a dead link"
	@echo "make release        build source distribution and wheel into dist, and the documentation; check and install them"
	@echo "make pythons        run the tests with Python 3.8 to 3.12, the oldest and the newest packages (hours, 8 GB each)"
	@echo "                    (a part of it: make pythons PYTHONS=3.8 PACKAGES=highest:test-core PYTEST_ARGS='-k words')"
	@echo "make mutants        change the code of maps, formats and journal, and see whether tests notice (MUTANTS_ARGS)"
	@echo "make default-model  train the model that is shipped"
	@echo "make gpu-check      check the shipped model on a GPU, without network, in at most 8 minutes; it uses PYTHON as it is"
	@echo "                    (rehearse it with GPU_ARGS='--device cpu --quick')"
	@echo "make screenshots    make the pictures of README and docs anew; needs Xvfb and Chromium"
	@echo "make clean          remove what the tools left here; environments stay"

env: $(ENV)/.installed

$(BIN)/pip:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(FITS)' || { echo "make: Python 3.8 to 3.12 with venv is needed;" \
		"name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "make: an environment for $$($(PYTHON) --version) in $(ENV)"
	@$(PYTHON) -m venv $(ENV)

$(ENV)/.installed: setup.py requirements-core.txt constraints-ci.txt cryoice_scipion/constants.py | $(BIN)/pip
	@echo "make: installing the package and what it needs into $(ENV) (minutes, the first time)"
	@$(INSTALL) --editable '.[scipion,test]'
	@touch $@

$(ENV)/.installed-lint: $(ENV)/.installed
	@$(INSTALL) --editable '.[scipion,test,lint]'
	@touch $@

# CCP-EM Pipeliner needs other versions of numpy and scipy than scipion-em pins. The tests of its job use this environment.
pipeliner-env: $(PIPELINER_ENV)/.installed

$(PIPELINER_ENV)/.installed: tests/core/integrations/requirements-pipeliner.txt | $(BIN)/pip
	@echo "make: installing CCP-EM Pipeliner into $(PIPELINER_ENV)"
	@$(BIN)/python -m venv $(PIPELINER_ENV)
	@$(PIPELINER_ENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

demo: env
	@$(BIN)/python -m cryoice_scipion.demo \
		$(if $(MICROGRAPHS),--micrographs $(MICROGRAPHS)) $(if $(PICKS),--picks $(PICKS)) \
		$(if $(PIXEL_SIZE),--pixel-size $(PIXEL_SIZE)) $(DEMO_ARGS)

# Three processes on two cores: many tests wait for other processes.
test: env
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile $(PYTEST_ARGS)

quick: env
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(QUICK) $(PYTEST_ARGS)

# The tests try 110 damaged files of each format of coordinates, 40 of each other kind, and those on which a reader once
# failed. benchmarks/fuzz_guided.py chooses inputs by the code that they reach; it needs atheris.
fuzz: env
	@$(BIN)/python benchmarks/fuzz_readers.py $(FUZZ_ARGS)

lint: $(ENV)/.installed-lint
	@$(BIN)/ruff check .
	@$(BIN)/vermin --quiet --target=3.8- --violations --no-tips --backport typing \
		--exclude str.decode --exclude long cryoice_scipion

types: $(ENV)/.installed-lint
	@$(BIN)/mypy

imports: $(ENV)/.installed-lint
	@$(BIN)/lint-imports

check: lint types imports

# The programs that make the site need other versions of some packages than scipion-em pins.
$(DOCS_ENV)/.installed: docs/requirements.txt | $(BIN)/pip
	@echo "make: installing what makes the site into $(DOCS_ENV)"
	@$(BIN)/python -m venv $(DOCS_ENV)
	@$(DOCS_ENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement docs/requirements.txt
	@touch $@

docs: env $(DOCS_ENV)/.installed
	@PYTHONPATH=docs $(BIN)/python -m site_builder build/docs
	@NO_MKDOCS_2_WARNING=1 $(DOCS_ENV)/bin/mkdocs build --strict
	@echo "make: the documentation is in site/index.html"

$(TOOLS_ENV)/.installed: | $(BIN)/pip
	@echo "make: installing what builds releases and environments into $(TOOLS_ENV)"
	@$(BIN)/python -m venv $(TOOLS_ENV)
	@$(TOOLS_ENV)/bin/python -m pip install --quiet --disable-pip-version-check build check-manifest 'twine>=6.1' uv
	@touch $@

# Uploads nothing. check-manifest fails on a file that is in the source distribution and not in git, or the other way.
release: env docs $(TOOLS_ENV)/.installed
	@rm -rf dist
	@$(TOOLS_ENV)/bin/check-manifest
	@$(TOOLS_ENV)/bin/python -m build > /dev/null
	@$(TOOLS_ENV)/bin/twine check --strict dist/*
	@CRYOICE_DIST=dist $(BIN)/python -m pytest tests/test_installed.py tests/test_package.py
	@du -h dist/*

# uv finds interpreters on the PATH, those of pyenv, and its own (uv python install 3.8). scipion-em pins versions; without
# it, a Python gets the oldest and the newest ones that the metadata allows.
PYTHONS ?= 3.8 3.9 3.10 3.11 3.12
PACKAGES ?= lowest-direct:scipion,test lowest-direct:test-core highest:test-core
pythons: $(TOOLS_ENV)/.installed
	@for python in $(PYTHONS); do for packages in $(PACKAGES); do \
		echo "make: Python $$python, $$packages"; \
		$(TOOLS_ENV)/bin/uv venv --quiet --clear --seed --python $$python .venv-other && \
		$(TOOLS_ENV)/bin/uv pip install --quiet --compile-bytecode --python .venv-other --resolution $${packages%%:*} \
			--editable ".[$${packages#*:}]" && \
		.venv-other/bin/python -m pytest --numprocesses 3 --dist loadfile $(PYTEST_ARGS) || exit 1; \
	done; done

mutants: env
	@$(INSTALL) 'mutmut>=3.8'
	@OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py $(MUTANTS_ARGS)

default-model: env
	@$(BIN)/python benchmarks/train_default_model.py --mixed-precision $(TRAIN_ARGS)

# Not in .venv: the machine has no network, and torch for its GPU is in an environment of its own.
gpu-check:
	@PYTHONPATH=. $(PYTHON) benchmarks/gpu_check.py --output gpu_check.json $(GPU_ARGS)

screenshots: env
	@$(BIN)/python docs/make_screenshots.py

clean:
	@rm -rf build dist site mutants .venv-other *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find cryoice_scipion tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
