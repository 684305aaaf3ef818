# The front door. Each target sets up what it needs; nothing relies on what someone installed by hand.
#   make artifact [RECIPE=recipes/shop.toml] [OUT=artifacts]

RECIPE ?= recipes/shop.toml
OUT ?= artifacts
# The interpreter that .venv is made with: the first of these that is 3.11 or newer, or PYTHON=… when given.
PYTHON ?=
PYTHONS := $(or $(PYTHON),python3 python3.11 python3.12 python3.13 python3.14)
TESTS ?=
PART ?=

# .venv is made anew when the declared tools, the interpreter asked for, or the checkout's place have changed. The stamp is written
# last: a run that was interrupted half-way leaves none, and the next one starts over.
STAMP := .venv/.made-$(shell { echo '$(CURDIR) $(PYTHON)'; cat pyproject.toml; } | git hash-object --stdin)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: artifact venv test lint faults bench bench-large bench-store packages clean help

artifact: $(STAMP)  ## build the release of RECIPE into OUT
	.venv/bin/build-release $(RECIPE) -o $(OUT)

venv: $(STAMP)  ## make .venv, with build-release and install-release in .venv/bin

test: packages $(STAMP)  ## run every test (TESTS=path picks some); installs the Debian packages they need when it may
	.venv/bin/pytest $(TESTS)

lint: $(STAMP)  ## ruff and mypy --strict
	.venv/bin/ruff check .
	.venv/bin/ruff format --check --quiet .
	.venv/bin/mypy

faults: packages $(STAMP)  ## prove that nothing breaks it: kills, errors, power cuts, hostile input, races; half an hour, goes on where it was interrupted (PART=kill picks one)
	.venv/bin/python -m tests.faults $(PART)

bench: bench/$(STAMP)  ## compare with other tools, half an hour: RUNS=5, ONLY=build,rebuild,dependency,wheels,install,source,wheel,durable,start
	rm -rf build  # what setuptools left of an older tree would be installed too
	bench/.venv/bin/python -m pip --disable-pip-version-check install -qq --no-deps --force-reinstall .
	bench/.venv/bin/python -m bench --runs $(or $(RUNS),5) --only "$(ONLY)"

bench-large: bench/$(STAMP)  ## the installer's memory and time up to 200 000 files and 5 GiB: ten minutes
	rm -rf build  # what setuptools left of an older tree would be installed too
	bench/.venv/bin/python -m pip --disable-pip-version-check install -qq --no-deps --force-reinstall .
	bench/.venv/bin/python -m bench.large

bench-store: bench/$(STAMP)  ## push and pull beside aws s3 cp, and what small changes cost: a quarter of an hour, 29 GiB of a disk
	rm -rf build  # what setuptools left of an older tree would be installed too
	bench/.venv/bin/python -m pip --disable-pip-version-check install -qq --no-deps --force-reinstall .
	bench/.venv/bin/python -m bench.store

packages:
	@.ci/packages

clean:  ## remove .venv, caches of the tools, and what was built into artifacts/
	rm -rf .venv bench/.venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .faults
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find artifacts -mindepth 1 ! -name .gitkeep -delete

help:  ## show this
	@awk -F '  ## ' '/^[a-z-]+:.*  ## / { sub(/:.*/, "", $$1); printf "make %-11s %s\n", $$1, $$2 }' Makefile

$(STAMP):
	@set -eu; \
	for python in $(PYTHONS); do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    $$python -c 'import ensurepip, venv' 2>/dev/null || { without_venv="$${without_venv:-} $$python"; continue; }; \
	    found=$$python; break; \
	done; \
	if [ -z "$${found:-}" ]; then \
	    if [ -n "$${without_venv:-}" ]; then \
	        echo "make: no Python with its venv module:$$without_venv cannot make a virtual environment. On Debian: apt-get install python3-venv." >&2; \
	    else \
	        echo "make: no Python 3.11 or newer among: $(PYTHONS). Install one, or name it: make PYTHON=/path/to/python3." >&2; \
	    fi; \
	    exit 3; \
	fi; \
	echo "making .venv with $$($$found --version), some seconds"; \
	rm -rf .venv; \
	$$found -m venv .venv; \
	.venv/bin/python -m pip --disable-pip-version-check install -qq --editable '.[dev]'; \
	touch $@

# The wheels of bench/requirements.txt are for CPython 3.11.
bench/$(STAMP):
	rm -rf bench/.venv
	$(or $(PYTHON),python3.11) -m venv bench/.venv
	bench/.venv/bin/python -m pip --disable-pip-version-check install -qq '.[bench]'
	touch $@
