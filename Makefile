# make run    set up, then play a first look at personalized shopping: 12 tasks of 4 users
# make test   set up, then lint, check types and run the whole suite, in WORKERS processes
# make lint   set up, then lint and check types
# make venv   set up only: .venv with trimtab (editable) and the versions of constraints.txt

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2
FIRST_LOOK := --episodes 12 --spread 4
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: run test suite lint models venv

run: venv
	$(BIN)/trimtab models pull
	$(BIN)/trimtab run $(or $(ARGS),$(FIRST_LOOK))
	@test -n "$(ARGS)" || echo 'a first look; the full comparison: .venv/bin/trimtab run'

# Types are checked while tests run, which wait for servers and browsers.
test: venv
	$(MAKE) --jobs=2 lint suite

suite: models
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

models: venv
	$(BIN)/trimtab models pull smollm2-135m-instruct qwen2.5-coder-0.5b-instruct

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "trimtab needs Python 3.11 or later: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing trimtab and its dependencies into .venv: some minutes the first time"
	@# Modules are compiled when they are first imported; of most installed ones that is never.
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[dev,lance,lora,mcp,plots,postgres,ray]'
	mkdir -p .venv/src
	ln -sfn "$(CURDIR)" .venv/src/trimtab
	touch $@
