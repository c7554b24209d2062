# Everything this project does, from nothing but Python and make.

PYTHON ?= python3
PYTEST ?=
BENCH ?=
# The tests of a file stay together: what they share is made once. Three at a time took two cores nearly as long.
AT_ONCE := -n 2 --dist loadfile
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install
CODE := app.py bench density pages tests
MODEL := smollm2-135m
RUNS ?= 100000

.DEFAULT_GOAL := help
.PHONY: help install app test test-all families bench bench-corpus bench-app soak fuzz examples check browser nginx clean

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \2/p' Makefile

install: $(VENV)/installed  ## the environment, in .venv

app: install  ## the explorer, in a browser; fetches the default model the first time
	$(RUN) -m density fetch $(MODEL)
	$(RUN) -m pages.parts.serve

test: $(VENV)/installed-test browser nginx  ## the tests; more arguments for pytest in PYTEST=...
	$(RUN) -m pytest $(AT_ONCE) $(PYTEST)

test-all: $(VENV)/installed-test browser nginx  ## the tests with the slow ones, which take minutes each
	$(RUN) -m pytest $(AT_ONCE) -m "slow or not slow" $(PYTEST)

families: $(VENV)/installed-test  ## every model family against its own model and the reference, a row each
	$(RUN) -m pytest -q tests/test_families.py

bench: $(VENV)/installed-test  ## the engine's speed and memory on this machine; arguments in BENCH=...
	$(RUN) -m density fetch $(MODEL)
	$(RUN) -m bench.engine $(BENCH)

bench-corpus: $(VENV)/installed-test  ## how a corpus run grows with its texts, in time and memory
	$(RUN) -m bench.corpus

bench-app: $(VENV)/installed-test browser  ## the page's speed in a browser on this machine; arguments in BENCH=...
	$(RUN) -m density fetch $(MODEL)
	$(RUN) -m bench.page $(BENCH)

soak: $(VENV)/installed-test  ## twenty people at the served app for three minutes; arguments in BENCH=...
	$(RUN) -m density fetch $(MODEL)
	$(RUN) -m bench.soak $(BENCH)

fuzz: $(VENV)/installed-test  ## 100,000 made inputs for each parser of what comes from outside; another number in RUNS=...
	$(RUN) -m tests.fuzz all --runs $(RUNS)

examples: $(VENV)/installed  ## the precomputed examples in assets/precomputed, measured anew
	$(RUN) -m density fetch $(MODEL)
	$(RUN) -m bench.examples

check: $(VENV)/installed-test  ## lint, format, types
	$(RUN) -m ruff check $(wildcard $(CODE))
	$(RUN) -m ruff format --check $(wildcard $(CODE))
	$(RUN) -m mypy

clean:  ## removes the environment and what the tests left
	rm -rf $(VENV) artefacts .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/installed-test: requirements-test.txt $(VENV)/installed
	$(PIP) -r requirements-test.txt
	@touch $@

# Debian's Chromium for the browser tests, where it may be installed; elsewhere they are skipped and say so.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core </dev/null \
			|| echo "Chromium could not be installed; the browser tests will be skipped."; \
	fi

# Debian's nginx for the tests of deploy/nginx.conf, likewise; not started as a service. After Chromium, as apt-get runs
# once at a time.
nginx: browser
	@if PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx openssl </dev/null \
			|| echo "nginx could not be installed; the tests behind a proxy will be skipped."; \
	fi
