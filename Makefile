# securelight. `make serve` and `make test` need nothing but make and Python 3.11 or newer: each makes its own virtual
# environment, installs what it needs into it and runs. Where nothing has changed, a second run starts at once.
#
#   make serve              the example site on https://localhost:8443   (DIR=folder, ARGS="--listen localhost:9443")
#   make test               the test suite                               (ARGS="-k ranges -x")
#   make check              ruff, mypy --strict, the import rule
#   make test-py313         the test suite on Python 3.13 too, where there is one
#   make bench              this server beside its peers, two hours or so (QUICK=1: five minutes; ARGS="--groups 1,2")
#   make compare            this server and its peers before `securelight conform`, half an hour; writes the table of
#                           docs/conformance.md (ARGS=--check: only says whether a verdict has changed)
#   make fuzz               the parsers on mutated input       (TARGET=http1 SECONDS=60, for each target; ARGS=--keep)
#   make docs               the documents that are generated from the code
#   make clean              away with all that the above has made; never touches certs/
#
# PYTHON=/path/to/python chooses the interpreter, VENV=folder the environment.

SHELL = /bin/sh
VENV ?= .venv
PYTHON ?=
DIR ?= examples/site
ARGS ?=
TARGET ?= all
SECONDS ?= 60
RUN = $(VENV)/bin

.DEFAULT_GOAL = help
.PHONY: help serve test test-py313 check peers bench compare fuzz docs clean

help:
	@sed -n 's/^#   //p' Makefile

serve: $(VENV)/.installed-serve examples/site/long.html
	@$(RUN)/securelight serve $(DIR) $(ARGS)

# Compiled first: the tests start hundreds of servers, and where PYTHONDONTWRITEBYTECODE is set each would compile it all.
test: $(VENV)/.installed-dev examples/site/long.html
	@$(RUN)/python -m compileall -q securelight
	@$(RUN)/python -m pytest $(ARGS)

check: $(VENV)/.installed-dev
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/python -m pytest -q tests/test_layers.py

# Servers from PyPI to compare with are installed apart, so that nothing of ours ever depends on them; without them the
# benchmark and the comparison take what Debian has. More of that: docs/performance.md and docs/conformance.md.
peers: $(VENV)/.installed-dev
	@test .venv-bench/.installed -nt benchmarks/peers/requirements.txt || { \
	    echo 'Installing servers to compare with into .venv-bench' && \
	    $(RUN)/python -m venv .venv-bench && \
	    .venv-bench/bin/python -m pip install -qq --disable-pip-version-check -r benchmarks/peers/requirements.txt && \
	    touch .venv-bench/.installed; } || echo 'They could not be installed, and are left out.' >&2

bench: peers
	@$(RUN)/python -m benchmarks $(ARGS)

compare: peers
	@$(RUN)/python -m tests.conformance.compare $(ARGS)

# Without atheris, which has no wheel for every machine, mutations are random; the fuzzer says so.
fuzz: $(VENV)/.installed-dev
	@test $(VENV)/.tried-fuzz -nt pyproject.toml || { $(PIP_INSTALL) -e '.[fuzz]'; touch $(VENV)/.tried-fuzz; }
	@$(RUN)/python -m tests.fuzz $(TARGET) --seconds $(SECONDS) $(ARGS)

docs: $(VENV)/.installed-dev
	$(RUN)/python docs/generate_limits.py

# A Python 3.13 that is named so but does not run (a pyenv shim) does not count; pyenv's own copies do.
test-py313:
	@for python in python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13*/bin/python3.13; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
	        exec $(MAKE) --no-print-directory test VENV=.venv-3.13 PYTHON="$$python" ARGS='$(ARGS)'; \
	    fi; \
	done; echo 'There is no Python 3.13 that works on this machine: the tests were not run on it.'

clean:
	rm -rf .venv .venv-3.13 .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov dist build
	rm -rf benchmarks/results examples/site/long.html
	find securelight tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

examples/site/long.html: examples/build_long_page.py | $(VENV)/.made
	@$(RUN)/python examples/build_long_page.py

# The stamps. An environment counts as made only once all of it succeeded.

$(VENV)/.made:
	@missing=; \
	for python in $(if $(PYTHON),'$(PYTHON)',python3.13 python3.12 python3.11 python3); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    if "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
	        echo "Making $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv $(VENV) && touch $@; exit; \
	    fi; \
	    [ -n "$$missing" ] || missing=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "This Python cannot make virtual environments yet. On Debian or Ubuntu:" >&2; \
	    echo "    sudo apt-get install -y $$missing" >&2; \
	else \
	    echo "securelight needs Python 3.11 or newer, and none was found$(if $(PYTHON), at $(PYTHON)). On Debian 12 or newer, or Ubuntu 24.04 or newer:" >&2; \
	    echo "    sudo apt-get install -y python3 python3-venv" >&2; \
	fi; exit 1

PIP_INSTALL = $(RUN)/python -m pip install -qq --disable-pip-version-check

# Where the fast engines have no wheel for this machine, the reference engines serve alone.
$(VENV)/.installed-serve: pyproject.toml | $(VENV)/.made
	@echo 'Installing securelight into $(VENV)'
	@$(PIP_INSTALL) -e '.[fast]' || { \
	    echo 'The fast engines could not be installed; going on with h2 and h11 alone.' >&2; $(PIP_INSTALL) -e .; }
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.made
	@echo 'Installing securelight and what its tests need into $(VENV)'
	@$(PIP_INSTALL) -e '.[fast,dev]'
	@touch $@ $(VENV)/.installed-serve
