# The front page: `make` lists the verbs. Each sets up what it needs, once; all that is asked for is
# Python >= 3.11, git and make. Another Python than the first found: make setup PYTHON=/path/to/it

PY := .venv/bin/python
# One more than there are cores, since tests wait for processes that they start
PARALLEL := -n $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 4))) --dist loadgroup
SECONDS ?= 60
EXAMPLES ?= 2000

help:
	@sed -n 's/^\([a-z]*\):.* ## /  make \1	/p' Makefile | expand -t 16

setup: .venv/.ready ## create .venv with the versions in constraints.txt (the other verbs do it too)

demo: .venv/.ready ## an agent repairs a real library, is killed, resumes (DEMO="its options")
	$(PY) -m examples.repair $(DEMO)

test: .venv/.ready ## all that is tested by running it, in parallel (a part: ARGS="-k fork")
	$(PY) -m pytest $(PARALLEL) --ignore tests/tidy --ignore tests/console $(ARGS)
	@# one browser and one server; 5: none asked for. What fails is run once more, and both are shown
	$(PY) -m pytest -n 0 tests/console $(ARGS) || [ $$? -eq 5 ] || $(PY) -m pytest -n 0 --last-failed tests/console $(ARGS)

check: .venv/.ready ## style, types, layers, tidiness (tests/tidy): what must hold before a commit
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright
	$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	$(PY) -m pytest -q tests/tidy

sim: .venv/.ready ## seeded simulation with faults (SECONDS=60; SEED= repeats one)
	$(PY) -m holdfast.testing.sim --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

fuzz: .venv/.ready ## the property tests with many examples each (EXAMPLES=2000)
	HYPOTHESIS_PROFILE=fuzz HOLDFAST_EXAMPLES=$(EXAMPLES) $(PY) -m pytest -m hypothesis --timeout 0 $(PARALLEL) $(ARGS)

bench: .venv-bench/.ready ## measurements beside peers, in an environment of their own (ARGS=)
	.venv-bench/bin/python -m bench $(ARGS)

frameworks: .venv/.ready .venv-frameworks/.ready ## test the adapters of ADK, Strands, Agent Framework, in their own
	$(PY) -m pyright -p pyright-frameworks.json
	$(PY) -m pytest -q tests/adapters/test_other_frameworks.py $(ARGS)

docs: .venv/.ready ## check the documents and run their examples
	$(PY) -m pytest -q tests/tidy/test_documents.py $(wildcard tests/docs)
	@echo "The documents are in docs/; start with docs/architecture.md"

clean: ## remove what these verbs made (never a .holdfast store)
	rm -rf .venv .venv-bench .venv-frameworks .demo .cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist

.PHONY: help setup demo test check sim fuzz bench frameworks docs clean

# ---- setting up ------------------------------------------------------------------------------

# The first Python that is new enough and can make virtual environments.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,$(shell $(p) -c '$(USABLE)' 2>/dev/null && echo $(p))))
UNUSABLE := holdfast needs Python 3.11 or newer with its venv module: install it (Debian, Ubuntu: apt install python3-venv) or name one: make PYTHON=/path/to/python
PIP_INSTALL := -m pip install -q --disable-pip-version-check

# $(call environment,folder,dependency groups,constraints): made once, completed when a list changes
define environment
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || { \
	  chosen="$(PYTHON)"; \
	  "$${chosen:-false}" -c '$(USABLE)' 2>/dev/null || { echo '$(UNUSABLE)' >&2; exit 1; }; \
	  echo "creating $(1) with $$chosen"; \
	  "$$chosen" -m venv --clear $(1) && echo '*' > $(1)/.gitignore; }
	@echo "installing the $(2) dependencies into $(1)"
	@$(1)/bin/python $(PIP_INSTALL) $(3) pip
	@$(1)/bin/python $(PIP_INSTALL) $(3) --build-constraint constraints.txt $(foreach group,$(2),--group $(group)) -e .
	@touch $@
endef

.venv/.ready: pyproject.toml constraints.txt tests/proxy/package-lock.json
	$(call environment,.venv,dev frameworks,-c constraints.txt)
	@$(PY) -m tests.proxy.packages || echo 'the tests that need them will be skipped, and say so' >&2

.venv-bench/.ready: pyproject.toml constraints.txt constraints-bench.txt
	$(call environment,.venv-bench,bench frameworks,-c constraints.txt -c constraints-bench.txt)

.venv-frameworks/.ready: pyproject.toml constraints.txt constraints-frameworks.txt
	$(call environment,.venv-frameworks,apart,-c constraints-frameworks.txt)
