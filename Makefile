# `make` lists what there is. Every target first brings .venv up to date with the pinned requirements.

PYTHON ?= python3
BIN := .venv/bin
# TORCH=cpu takes torch from its index of builds without CUDA: `make install TORCH=cpu`, `make demo TORCH=cpu`.
TORCH ?= default
CPU_INDEX := https://download.pytorch.org/whl/cpu
# The arithmetic of a processor without AVX-512 and bfloat16, on one that has them.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 NUMBA_CPU_NAME=haswell \
    NUMBA_CPU_FEATURES=+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt NUMBA_CACHE_DIR=$(CURDIR)/.venv/numba-avx2

.PHONY: help install demo lab test test-fast test-all test-avx2 browser-test lint docs sounds bench bench-avx2 golden torture clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.installed ## make .venv (PYTHON=/path/to/python3.11 chooses the Python, 3.10 to 3.14, unless .venv is there)

# The stamp is touched last, so that an install that broke off is taken up again. A .venv that has pip is kept.
.venv/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' || { \
	    echo "dacformer needs Python 3.10 to 3.14, and '$(PYTHON)' is not one." \
	         "Name another: make install PYTHON=/path/to/python3.11"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv || { \
	    echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
ifeq ($(TORCH),cpu)
	@echo "Installing torch's build without CUDA."
	grep -vE '^(nvidia|cuda|triton)' requirements.txt > .venv/requirements-cpu.txt
	$(BIN)/python -m pip install -r .venv/requirements-cpu.txt --extra-index-url $(CPU_INDEX)
else
	@echo "Installing. On Linux: 3.1 GB to download, 6.2 GB on disk, two thirds of it for GPUs." \
	     "Without a GPU, 'make $(or $(MAKECMDGOALS),install) TORCH=cpu' leaves these out."
	$(BIN)/python -m pip install -r requirements.txt
endif
	$(BIN)/python -m pip install --no-deps -e .
	@touch $@

DEMO := runs/sm
# What `make sounds` plays.
RUN ?= runs/med

demo: .venv/.installed ## train a tiny model, steer it, write codes, sound and a picture
	$(BIN)/dacformer train params/params_sm.yaml --overwrite
	$(BIN)/dacformer generate $(DEMO) --seconds 8 --seed 1 \
	    --control class=wind --control strength=0:0,3:1,5:1,8:0 \
	    --out $(DEMO)/demo.wav --out $(DEMO)/demo.dac --plot $(DEMO)/demo_spectrogram_and_controls.png
	@echo "Listen and look:"; ls $(DEMO)/demo*

lab: .venv/.installed ## open JupyterLab here (Train.ipynb first)
	$(BIN)/jupyter lab

test: .venv/.installed ## the suite, notebooks and browser included: at most ten minutes on two cores
	$(BIN)/pytest -m "not heavy"

test-fast: .venv/.installed ## the tests that take no time: neither slow ones nor notebooks nor a browser
	$(BIN)/pytest -m "not heavy and not slow and not notebook and not browser"

test-all: .venv/.installed ## what `make test` leaves out: fresh process trees, a wheel in an empty environment, long ones
	$(BIN)/pytest -m heavy

test-avx2: ## `make test` in the arithmetic of a processor without AVX-512 and bfloat16
	$(AVX2) $(MAKE) test

browser-test: .venv/.installed ## the notebooks and the player in a real JupyterLab, seen with Chromium
	$(BIN)/pytest -m browser -s -v

lint: .venv/.installed ## style, types, notebooks without outputs, Dockerfile, workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/nbstripout --verify --keep-id *.ipynb
	$(BIN)/hadolint Dockerfile.txt
	$(BIN)/actionlint

docs: .venv/.installed ## the documentation site, in site/ (`mkdocs serve` shows it while you write)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

sounds: .venv/.installed ## make the sounds of docs/sounds.md anew from RUN (make sounds RUN=runs/med)
	$(BIN)/python docs/make_sounds.py $(RUN)

bench: .venv/.installed ## the speed table
	$(BIN)/python -m benchmarks

bench-avx2: ## `make bench` in the arithmetic of a processor without AVX-512 and bfloat16
	$(AVX2) $(MAKE) bench

FROM ?= HEAD

golden: .venv/.installed ## is all equal bit for bit to another commit? `make golden FROM=v0.1.0`; default: the last one
	rm -rf runs/golden && git worktree prune
	git worktree add --detach runs/golden/tree $(FROM)
	cd runs/golden/tree && PYTHONPATH=. $(CURDIR)/$(BIN)/python test/golden.py write ../before
	PYTHONPATH=. $(BIN)/python test/golden.py write runs/golden/after
	git worktree remove --force runs/golden/tree
	$(BIN)/python test/golden.py compare runs/golden/before runs/golden/after

torture: .venv/.installed ## 300 kills, 80 full disks, 100,000 mutated inputs (25 minutes; goes on where it was broken off)
	$(BIN)/python -m torture

clean: ## remove caches and build leftovers (.venv, runs/ and data/ stay)
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
