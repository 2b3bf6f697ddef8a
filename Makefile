# What each target does is told by `make help`.
.PHONY: help setup run test check bench lock clean

help:
	@echo "make setup   make .venv with everything development needs"
	@echo "make run     serve on http://127.0.0.1:8080/v1, with a model on this machine (ARGS are for gateway serve)"
	@echo "make test    everything: make check, then all tests (ARGS are for pytest)"
	@echo "make check   lint, format, types, import contracts"
	@echo "make bench   measure beside nginx (about eight minutes)"
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

bench: setup
	@scripts/install-bench
	.venv/bin/python -m benchmarks $(ARGS)

lock: setup
	@scripts/lock

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
