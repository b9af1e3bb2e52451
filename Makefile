PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-portable check fix bench

help:  ## say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about a minute, 6 GB with the CUDA build of torch"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: $(INSTALLED)  ## build, search, learn, recommend and rerank on the shipped sample
	$(BIN)/python -m scripts.quickstart

test: $(INSTALLED)  ## all tests, with doctests, on several cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# Tests of numbers: what another processor's routines could change.
NUMERIC := tests/contracts/test_indexes.py tests/contracts/test_families.py tests/indexing/index tests/indexing/alignment \
	tests/indexing/encoders/test_pocket.py tests/indexing/encoders/test_vectors.py tests/indexing/store/test_mapped_vectors.py \
	$(addprefix tests/retrieval/,baselines diversify rules ranking training models fitting postprocess \
	evaluation/test_crossmodal.py evaluation/test_metrics.py evaluation/test_intervals.py retriever/test_retriever.py)

# Beside them, in the same folders: tests of processes, files and commands. That a killed fit goes on to the same bits is shown by two others.
LEFT_OUT := $(addprefix --ignore=tests/,indexing/index/test_forks.py indexing/index/test_faiss_io.py retrieval/diversify/test_cli.py \
	retrieval/diversify/test_page.py retrieval/rules/test_frequency.py retrieval/fitting/test_fit_config.py) \
	--deselect=tests/retrieval/fitting/test_refresh.py::test_a_killed_fit_goes_on_and_publishes_the_same_bits

test-portable: $(INSTALLED)  ## tests of numbers as on an old processor, without AVX
	ATEN_CPU_CAPABILITY=default OPENBLAS_CORETYPE=Nehalem OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal \
		$(NUMERIC) $(LEFT_OUT)

check: $(INSTALLED)  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED)  ## mend what a tool can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## benchmarks that need no data of yours; the others say what they need with --help
	for name in imports encode.pocket encode.encode_memory; do $(BIN)/python -m scripts.benchmarks.$$name || exit 1; done
