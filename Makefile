# make demo   train, evaluate and report on synthetic streets, from nothing
# make test   lint, layering, types, tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: env demo test lint types unit coverage bench clean

env: $(VENV)/.native

# torch first: the native ops are built against the torch that will run them. They are built in a
# step of their own, so that a change of one C++ file compiles that file alone.
$(VENV)/.installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip setuptools wheel -c constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt torch 'numpy<2.4'
	PERCEPTION_NATIVE=off PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

$(VENV)/.native: $(VENV)/.installed $(shell find perception/ops/csrc -type f)
	$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

demo: env
	$(BIN)/perception synthesize data/demo --frames 700 --val-frames 80 --size 416x128
	$(BIN)/perception train experiment=demo

test: lint types unit

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --verbose

types: env
	$(BIN)/mypy

unit: env
	$(BIN)/python -m pytest -n auto -m 'not slow'

coverage: env  # a report in htmlcov/, no gate
	$(BIN)/python -m pytest -m 'not slow' --cov --cov-report=term --cov-report=html

bench: env
	@for script in scripts/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean:
	rm -rf perception/ops/*.so perception/ops/native.json $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
