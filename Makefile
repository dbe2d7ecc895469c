# Every target sets up what it needs. uv where it is on PATH, else venv and pip.
VENV := .venv
BIN := $(VENV)/bin
STAMP = $(VENV)/.installed-$(1)
.DEFAULT_GOAL := help

MINUTES ?= 5

.PHONY: help demo test lint types fuzz bench bench-scale soak fleet man pictures clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/python:
	@if command -v uv >/dev/null 2>&1; then uv venv -q --seed $(VENV); \
	elif python3 -c 'import ensurepip' 2>/dev/null; then python3 -m venv $(VENV); \
	else echo "python3 -m venv is not usable here: install the package python3-venv (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; fi

# The editable install needs doing again only when pyproject.toml changes, so the second run starts at once.
$(call STAMP,demo) $(call STAMP,dev): $(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	@echo "installing psu-agent and what it needs into $(VENV) (once)"
	@if command -v uv >/dev/null 2>&1; then uv pip install -q --python $(BIN)/python -e '.[$*]'; \
	else $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$*]'; fi
	@touch $@

demo: $(call STAMP,demo)  ## a broker, a simulated supply and the agent, live in this terminal
	@exec $(BIN)/psu-agent demo

# Five at a time also on two cores: the tests wait for units and brokers much of their time. More gain little, and slow each other down.
test: $(call STAMP,dev)  ## the test suite
	@$(BIN)/python -m pytest -q -n 5 --dist loadscope

lint: $(call STAMP,dev)  ## ruff, and which part of agent/ may import which
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

types: $(call STAMP,dev)  ## mypy --strict
	@$(BIN)/mypy

fuzz: $(call STAMP,dev)  ## the property tests, with 20,000 examples each: EXAMPLES=20000
	@PSU_AGENT_FUZZ=$(or $(EXAMPLES),20000) $(BIN)/python -m pytest -q -n 2 -m hypothesis --hypothesis-profile=fuzz --timeout=7200

bench: $(call STAMP,dev)  ## the figures of benchmarks/README.md, each against a floor of the same run; NAMES="polling fleet" for some
	@$(BIN)/python -m benchmarks $(NAMES)

bench-scale: $(call STAMP,dev)  ## 1 to 1,000 units in one agent, and commands meanwhile: table and plot in benchmarks/ (some ten minutes)
	@$(BIN)/python -m benchmarks.scale --write

soak: $(call STAMP,dev)  ## random commands and faults, and rules that must hold: MINUTES=5 SEED= UNITS= PACE=
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(UNITS),--units $(UNITS)) $(if $(PACE),--pace $(PACE))

fleet: $(call STAMP,dev)  ## the long tests of several agents on hosts of their own, then random faults of hosts and links: MINUTES=5 SEED=
	@PSU_AGENT_FLEET=1 $(BIN)/python -m pytest -q -n 2 -m long tests/fleet
	@$(BIN)/python -m tests.fleet --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

man: $(call STAMP,dev)  ## the manual page docs/psu-agent.1, made from the help
	@$(BIN)/psu-agent man >docs/psu-agent.1

pictures: $(call STAMP,dev)  ## the pictures of docs/images, of terminals and dashboards, some 15 minutes: NAMES="watch fleet" for some
	@$(BIN)/python scripts/pictures.py $(NAMES)

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

include stack.mk
include packaging.mk
