# openMosix in user space.  `make` alone lists the targets.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup check test browser demo conformance faults install uninstall deb rpm clean

BIN := .venv/bin
PREFIX ?= /usr/local
DESTDIR ?=
PYTEST_ARGS ?=
FAST_TESTS := $(wildcard tests/test_architecture.py tests/unit tests/sim tests/model)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## packages, .venv and CRIU, only what is missing (root)
	@sh setup/setup.sh

check: setup ## format, lint, types, import rules, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(FAST_TESTS) $(PYTEST_ARGS)

test: setup ## every test; as root none may be missing (set OPENMOSIX_CI=1 to insist)
	$(BIN)/pytest $(PYTEST_ARGS)

browser: setup ## the view in a real Chromium (root; packages chromium, chromium-driver)
	$(BIN)/pytest tests/browser/walkthrough.py $(PYTEST_ARGS)

faults: setup ## every fault at every step of a move, as a table; about ten minutes (root)
	$(BIN)/python -m tests.e2e.fault_matrix

demo: setup ## three virtual nodes, six jobs, about a minute (root)
	$(BIN)/python -m omlab.demo

conformance: setup ## what holds when a process moves; ARGS=--write renews docs/TRANSPARENCY.md (root, minutes)
	$(BIN)/python -m tests.conformance $(ARGS)

install: setup ## install below PREFIX (default /usr/local), honours DESTDIR
	@sh setup/install.sh install "$(PREFIX)" "$(DESTDIR)"

uninstall: ## remove what `make install` put there
	@sh setup/install.sh uninstall "$(PREFIX)" "$(DESTDIR)"

deb: setup ## a Debian package in dist (root or fakeroot, dpkg-dev)
	@sh packaging/deb/build.sh dist

rpm: setup ## an RPM package in dist (Debian's package rpm)
	@sh packaging/rpm/build.sh dist

clean: ## remove caches and build results, not .venv and .criu
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
