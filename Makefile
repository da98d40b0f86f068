# Everything a fresh machine needs, and the two commands: `make demo`, `make test`.
UV_VERSION := 0.13.9
UV ?= $(or $(shell command -v uv 2>/dev/null),$(CURDIR)/.tools/bin/uv)
PY := .venv/bin/python
RUN := .venv/bin/creditlab

DATA ?=
MODE ?= both
RECIPE ?= boosting
BANKS ?= one
OUT ?= demo-out

# Both environments are compiled when they are made, since a sandbox can write nothing. Where a machine forbids bytecode,
# every process would compile all of ours anew: two to four times the CPU of a start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup environments system assets demo up test lint bench lock clean

help:
	@echo "make demo [DATA=DIR] [MODE=federated|zone|both] [RECIPE=boosting|logistic|both] [BANKS=one|split] [OUT=DIR]"
	@echo "make up | test | lint | bench | setup | lock"

setup: system | $(UV)
	@$(MAKE) --no-print-directory -j 3 environments

environments: .venv/.ready federated/engine/.venv/.ready assets
	@:

# bubblewrap and libseccomp build the sandbox; Chromium and a CJK font are needed by the page tests only
system:
	@sh scripts/system-packages.sh bwrap:bubblewrap libseccomp.so.2:libseccomp2 libcrypto.so.3:libssl3 node:nodejs npm

# what the portal's pages load from our own host; a package's scripts are never run
assets: api/portal/node_modules/.package-lock.json

api/portal/node_modules/.package-lock.json: api/portal/package-lock.json | system
	npm ci --prefix api/portal --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(CURDIR)/.tools/bin/uv:
	cd / && python3 -m venv $(CURDIR)/.tools && $(CURDIR)/.tools/bin/pip install -q uv==$(UV_VERSION)

.venv/.ready: requirements.lock pyproject.toml | $(UV)
	$(UV) venv -q --allow-existing
	$(UV) pip sync -q --compile-bytecode --require-hashes requirements.lock
	$(UV) pip install -q --no-deps --no-build-isolation --editable .
	@touch $@

federated/engine/.venv/.ready: federated/engine/requirements.lock | $(UV)
	$(UV) --directory federated/engine venv -q --allow-existing
	$(UV) --directory federated/engine pip sync -q --compile-bytecode --require-hashes requirements.lock
	@touch $@

demo: setup
	$(RUN) demo run --mode $(MODE) --recipe $(RECIPE) --banks $(BANKS) --out $(OUT) $(if $(DATA),--data $(DATA))

up: setup
	$(RUN) demo up --out $(OUT) $(if $(DATA),--data $(DATA))

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy

test: setup lint
	@sh scripts/system-packages.sh chromium:chromium fonts-noto-cjk
	.venv/bin/pytest -q -n 3 --dist loadfile --no-loadscope-reorder

bench: setup
	$(PY) -m benchmarks --out benchmarks/out

lock: | $(UV)
	$(UV) pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.12 --extra dev --extra bench pyproject.toml -o requirements.lock
	$(UV) --directory federated/engine pip compile -q --universal --generate-hashes --no-header --no-annotate --prerelease=if-necessary-or-explicit --python-version 3.10 pyproject.toml -o requirements.lock

clean:
	rm -rf .venv federated/engine/.venv api/portal/node_modules .tools build *.egg-info demo-out
