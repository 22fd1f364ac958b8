# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
OUT    ?= demo-run

.PHONY: demo test test-all lint typecheck clean

# Installs only when the pinned list or the project's own metadata changed.
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(STAMP)
	$(BIN)/edge-lstm demo --out $(OUT) --force

test: $(STAMP) lint
	$(BIN)/python -m pytest -n auto -m "not slow"

test-all: $(STAMP) lint
	$(BIN)/python -m pytest -n auto

lint: $(STAMP) typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# export/ and firmware_sim/ install as edge_lstm.export and edge_lstm.firmware_sim:
# mypy sees them there through a tree of links.
typecheck: $(STAMP)
	rm -rf build/types && mkdir -p build/types
	cp -rs $(CURDIR)/edge_lstm build/types/edge_lstm
	cp -rs $(CURDIR)/export build/types/edge_lstm/export
	cp -rs $(CURDIR)/firmware_sim build/types/edge_lstm/firmware_sim
	cd build/types && ../../$(BIN)/python -m mypy --config-file ../../pyproject.toml --cache-dir ../mypy-cache -p edge_lstm

clean:
	rm -rf $(VENV) build dist demo-run *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
