# make run     start Nudge (PORT=8000 NUDGE_DATA=var NUDGE_DEMO=1; VERBOSE=1 shows every line)
# make test    run every test
# make lint    style, layers, types, migrations
# make bench   print the benchmark table
# make clean   remove caches and .venv; your data in var/ stays

PYTHON ?= python3
TESTS ?=
export PYTHON
# The many short processes would compile the whole product each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint bench clean

run:
	@sh scripts/bootstrap.sh requirements.txt
	@exec .venv/bin/python -m config.launch

test:
	@sh scripts/bootstrap.sh requirements-dev.txt
	@sh scripts/browsers.sh
	@exec .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(TESTS)

lint:
	@sh scripts/bootstrap.sh requirements-dev.txt
	@exec sh scripts/lint.sh

bench:
	@sh scripts/bootstrap.sh requirements-dev.txt
	@exec .venv/bin/python -m benchmarks

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis var/test
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +
