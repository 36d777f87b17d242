# Two commands matter: `make join` researches, `make test` proves. Both set everything up first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: join test quick check bench soak search zoo setup system light clean

join: setup            ## set up, then become a node and research until stopped (ARGS="--experiments 6")
	@$(BIN)/autoresearch join $(ARGS)

test: setup light      ## set up, then run the test suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not bench and not soak" $(ARGS)

quick: setup light     ## the tests that train nothing
	@$(BIN)/python -m pytest -m "not bench and not soak and not slow" $(ARGS)

check: setup           ## style, types, layering and size
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_structure.py $(ARGS)

bench: setup           ## measured figures for docs/benchmarks.md
	@$(BIN)/python -m pytest -m bench -s --timeout 14400 $(ARGS)

soak: setup            ## long fault injection
	@$(BIN)/python -m pytest -m soak -s --timeout 7200 $(ARGS)

search: setup          ## the property tests with thousands of new random examples each
	@$(BIN)/python -m pytest -m "not bench and not soak and not slow" --hypothesis-profile search --timeout 3600 $(ARGS)

zoo: setup             ## the whole zoo of hostile and honest scripts (an hour); writes docs/zoo.md
	@OMP_NUM_THREADS=1 ZOO_SCORINGS=$${ZOO_SCORINGS:-50} ZOO_REPORT=docs/zoo.md $(BIN)/python -m pytest tests/bench/test_zoo.py -m bench -s --timeout 14400 $(ARGS)

setup: $(VENV)/.ready system

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"autoresearch needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: run make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing autoresearch and what it needs into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

system:
	@PYTHON=$(PYTHON) sh .ci/system

light: $(VENV)/.light  ## what the light client needs, which only tests use here

$(VENV)/.light: $(VENV)/.ready
	@PYTHON=$(PYTHON) sh .ci/system test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,light]' || echo "note: py-libp2p could not be built (it needs a C compiler and the headers of libgmp and Python), so the light client is not tested" >&2
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
