# What each target does is told by `make help`.
.PHONY: help setup run test check compiled test-compiled kills soak bench scorecard matrix lock clean

help:
	@echo "make setup   make .venv with everything development needs"
	@echo "make run     serve on http://127.0.0.1:8080/v1, with a model on this machine (ARGS are for gateway serve)"
	@echo "make test    everything: make check, then all tests (ARGS are for pytest)"
	@echo "make check   lint, format, types, import contracts"
	@echo "make compiled       compile the hot path into build/compiled, a minute; run build/compiled/bin/gateway"
	@echo "make test-compiled  the tests of what is compiled, over the compiled modules"
	@echo "make kills   kill 100 processes of each deployment under load, and hold the ledger against the provider"
	@echo "make soak    random faults under load for ten minutes, and what is left of them (ARGS: --seconds 60 --seed 7)"
	@echo "make bench   compile, and measure beside nginx (about ten minutes)"
	@echo "make scorecard  let upstreams fail in every way, and write docs/resilience.md's table (two minutes)"
	@echo "make matrix  ask every kind of provider by every client's SDK, and write docs/protocols.md's table (a minute)"
	@echo "make lock    compile the locks anew from pyproject.toml: base, dev, image, bench and local"
	@echo "make clean   remove what the other targets made"

setup:
	@scripts/setup dev

run:
	@scripts/setup base
	@exec scripts/run $(ARGS)

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: setup
	@.venv/bin/python scripts/install_local.py
	@scripts/install-clients
	@scripts/install-redis
	@$(MAKE) --no-print-directory check
	.venv/bin/python -m pytest -n 2 $(ARGS)

compiled: setup
	@rm -rf build/compiled
	.venv/bin/python scripts/compile.py build/compiled

test-compiled: compiled
	PYTHONPATH=$(CURDIR)/build/compiled:$(CURDIR) .venv/bin/pytest -n 2 tests/unit/bus tests/unit/dataplane \
		tests/unit/plugin tests/unit/routing/test_[dfp]*.py tests/scenarios plugins $(ARGS)

kills: setup
	@scripts/install-redis
	.venv/bin/python -m tests.faults.kills $(ARGS)

soak: setup
	.venv/bin/python -m tests.faults.soak $(ARGS)

bench: compiled
	@scripts/install-bench
	.venv/bin/python -m benchmarks --compiled $(ARGS)

scorecard: setup
	.venv/bin/python -m pytest -q -n 2 -p tests.faults.scorecard --scorecard docs/resilience.md tests/faults/resilience \
		--deselect tests/faults/resilience/test_scorecard.py $(ARGS)

matrix: setup
	.venv/bin/python -m pytest -q -p tests.scenarios.protocols.matrix.table --matrix docs/protocols.md \
		tests/scenarios/protocols/matrix/test_matrix.py $(ARGS)

lock: setup
	@scripts/lock

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
