PYTHON ?= python3
BIN := .venv/bin

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help:            ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup:           ## Make .venv with the tools for development
	@$(PYTHON) scripts/setup_venv.py --dev

test: setup format-check lint types layers unit  ## All checks: format, lint, types, layers, tests

format-check: setup
	$(BIN)/ruff format --check .

format: setup    ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports --no-cache

unit: setup
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test-slow: setup ## The tests that take longer, and the property tests on new random examples
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -m "hypothesis and not slow" --hypothesis-profile "new examples"

guard: setup     ## Try what must never be wrong: models, damaged files, simultaneous starts; ten minutes
	$(BIN)/python scripts/guard.py

wheel: setup     ## Build the sdist and the wheel into dist/ and list the wheel's files
	$(BIN)/python scripts/make_wheel.py

weights: setup   ## Train the weights that ship and write docs/reference/models.md
	$(BIN)/python scripts/make_weights.py

answers: setup   ## Write the figures of the lab, of README and of docs/how_to/compare.md; three CPU minutes
	$(BIN)/python scripts/lab3_answers.py

docs: setup      ## Build the documentation site: docs/_build/html/index.html; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

keys: setup      ## Write machop/chop/actions/search_keys.json, the keys that are checked before torch is imported
	$(BIN)/python scripts/search_keys.py

exercises: setup ## Run the exercises, write the tables and pictures of docs/tutorials/exercises.md; four CPU minutes
	$(BIN)/python scripts/exercises.py

tables: setup    ## Write docs/reference/formats.md: formats, oracles, every format on every op
	$(BIN)/python scripts/format_tables.py

bench-formats: setup ## Time every number format against a plain copy
	$(BIN)/python benchmarks/formats.py

bench: setup     ## Time the evaluator against a plain loop
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python benchmarks/evaluator.py

bench-circuits: setup ## What costs of circuits take, and how near layers are to the whole: PART=tables or layers
	$(BIN)/python benchmarks/circuits.py $(PART)

bench-instead: setup ## What one would use instead, measured: Optuna, ModelOpt, AIMET, MCT; ten minutes
	$(BIN)/python benchmarks/instead $(PART)

bench-ladder: setup ## What a ladder of sample sizes saves, and that it gives up no winner
	$(BIN)/python benchmarks/ladder.py

bench-luts: setup ## Fronts of accuracy against LUTs, from spaces to Verilog: PART=exhaustive for one
	$(BIN)/python benchmarks/lut_fronts $(PART)

bench-onnx: setup ## How fast each form of an ONNX file runs beside float
	$(BIN)/python benchmarks/onnx_forms.py

bench-runners: setup ## What a slow runner costs the others: nothing
	$(BIN)/python benchmarks/runners.py

bench-strategies: setup ## Evaluations that strategies need on enumerated spaces; an hour and more
	$(BIN)/python benchmarks/strategies.py

bench-synthesis: setup ## LUTs that Yosys makes against what is said beforehand; ten minutes the first time
	$(BIN)/python -u benchmarks/synthesis.py

bench-training: setup ## What trainings reach, as tables: PART=space for one; an hour for all
	$(BIN)/python benchmarks/training $(PART)

scaling: setup   ## Draw docs/pictures/scaling.svg: networks a second by layers, choices and samples
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python benchmarks/scaling.py

pictures: setup  ## Draw the pictures of docs/concepts and write the tables of those pages: PART=optimism for one
	$(BIN)/python scripts/pictures $(PART)

screenshots: setup ## Draw docs/pictures/report.png in a browser
	$(BIN)/python scripts/screenshots.py

notebooks: setup ## Run the notebooks of docs/tutorials and store their outputs
	$(BIN)/python scripts/notebooks.py

clean:           ## Remove what was made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache mase_output
