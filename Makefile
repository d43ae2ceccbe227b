# Every target may be run again at any time, after a crash too.
.PHONY: help demo test lint bench

help:
	@echo 'make demo [KEEP=1]  the main job on a sandbox of real engines; KEEP=1 leaves it up'
	@echo 'make test           lint, types and every test, sandbox and interop included'
	@echo 'make lint           ruff and mypy only'
	@echo 'make bench          how long the things take that a user waits for'

demo:
	@.ci/bootstrap
	@KEEP='$(KEEP)' .ci/demo

test:
	@.ci/bootstrap
	@.ci/peers
	@.ci/test

lint:
	@.ci/bootstrap
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench:
	@.ci/bootstrap
	@.ci/bench
