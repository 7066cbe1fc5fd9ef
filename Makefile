# Each command prepares .venv for itself (tools/install.py), so `make demo` is all that is typed.

.DEFAULT_GOAL := help
.PHONY: help install demo test quick torture fuzz sanitize interop bench lint docs wheels \
	generate clean

# The first interpreter that is new enough. `make PYTHON=/path/to/python3.12 …` names another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && \
	{ command -v $$p; exit; }; done)
export VENV := $(or $(VENV),$(CURDIR)/.venv)
RUN := $(VENV)/bin/python
PREPARE = @test -n "$(PYTHON)" || { echo "faultplane needs Python 3.11 or newer: install one," \
	"or make PYTHON=/path/to/it" >&2; exit 1; }; $(PYTHON) tools/install.py
ARGS ?=

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make .venv with the package, its compiled core and its native kernels in place
	$(PREPARE) install

demo: ## a real service that fails for real, watched from outside (ARGS="--seconds 60 --keep")
	$(PREPARE) demo
	@$(VENV)/bin/faultplane demo $(ARGS)

test: ## the whole suite, on each core that is there (ARGS="-k fork", COVERAGE=1)
	$(PREPARE) test
	@$(RUN) tools/tests.py $(if $(COVERAGE),coverage,all) $(ARGS)

quick: ## unit and architecture tests, in a few minutes
	$(PREPARE) test
	@$(RUN) tools/tests.py quick $(ARGS)

torture: ## the store under fire, at length (ARGS="kill --kills 1000 --core python --seed 7")
	$(PREPARE) test
	@cd tests/fault && $(RUN) -m torture $(ARGS)

fuzz: ## damaged files through all readers (ARGS="--kind segment --executions 1000000 --seed 1")
	$(PREPARE) fuzz
	@cd tests && $(RUN) -m fuzz $(ARGS)

sanitize: ## the compiled core under AddressSanitizer, UBSan and ThreadSanitizer (ARGS="thread")
	$(PREPARE) test
	@$(RUN) tools/sanitizers.py $(ARGS)

interop: ## the real frameworks, servers, drivers and tools: nothing may be missing
	$(PREPARE) interop
	@$(RUN) -m pytest -q -n 2 --dist loadgroup --no-skip tests/interop \
		tests/unit/capture/test_hooks.py \
		tests/architecture/test_examples.py \
		tests/unit/integrations tests/unit/classify/test_libraries.py \
		tests/unit/classify/test_services_data.py tests/unit/classify/test_services_http.py \
		tests/unit/resilience/test_waits.py \
		-k "(opentelemetry_instrument or ddtrace or greenlet or protobuf or uvloop or beside or \
		test_frameworks or test_tasks or test_wiring or integrations or services or libraries or \
		test_waits) and not mysqldb" $(ARGS)

bench: ## one table: compiled core, pure core, peers, ratios
	$(PREPARE) bench
	@$(VENV)/bin/faultplane bench $(ARGS)

lint: ## ruff, mypy, pyright, stubtest, cython-lint, clippy, rustfmt
	$(PREPARE) lint
	@$(RUN) tools/lint.py

docs: ## the documentation, with its examples run and every warning an error
	$(PREPARE) docs
	@$(RUN) -m sphinx -q -W --keep-going -b doctest -d build/docs/trees docs build/docs/doctest
	@$(RUN) -m sphinx -q -W --keep-going -b html -d build/docs/trees docs build/docs/html
	@echo "build/docs/html/index.html"

wheels: ## manylinux wheels in dist/, tested where no source is (ARGS="--target musllinux")
	$(if $(PYTHON),,$(PREPARE))
	@$(PYTHON) tools/wheels.py $(ARGS)

generate: ## write the files that follow from schema.py and settings.py
	@$(PYTHON) tools/generate.py

clean: ## remove what the other commands made
	rm -rf .venv build dist native/target .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f .coverage .coverage.* src/faultplane/_core/*.so
	rm -rf src/faultplane.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
