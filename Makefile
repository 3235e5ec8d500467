# make demo, make test, make check, make docs, make bench, make scaling: each sets up its own .venv first; nothing else to remember.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check docs bench scaling clean

demo: $(STAMP)
	$(BIN)/netjac demo -o demo-output

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vulture

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[bench]"
	$(BIN)/python -m pip install --quiet --no-deps "curvlinops-for-pytorch==3.0.*"
	$(BIN)/python -m pip install --quiet --no-deps "neuralsens==0.0.26"
	# By itself: it pins an old requests, and asks for torchvision, which its attacks do not use.
	$(BIN)/python -m pip install --quiet --no-deps "torchattacks==3.5.*"
	$(BIN)/python -m benchmarks --page docs/benchmarks-latest.md
	$(BIN)/python -m benchmarks.parameters
	$(BIN)/python -m benchmarks.bounds
	$(BIN)/python -m benchmarks.selection
	$(BIN)/python -m benchmarks.fit
	$(BIN)/python -m benchmarks.sensitivity
	$(BIN)/python -m benchmarks.attacks
	$(BIN)/python -m benchmarks.flow
	$(BIN)/python -m benchmarks.report

scaling: $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[bench]"
	$(BIN)/python -m benchmarks.scaling

clean:
	rm -rf $(VENV) demo-output

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet -e ".[all,docs]"
	# By itself: it asks for torchvision, which it needs for its examples alone, and which there is for CUDA only.
	$(BIN)/python -m pip install --quiet --no-deps "backpack-for-pytorch==1.7.*"
	touch $(STAMP)
