# Everything the project does, each target with its own set-up.
PYTHON ?= python3
PROFILE ?=
VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/ready

.PHONY: reproduce test lint unit notebooks texts refresh slow benchmark board triton lab docs doors clean

reproduce: $(READY)  ## the notebooks and figures of PROFILE; by default of the best recorded one
	$(BIN)/python -m ubalkit notebooks --publish $(if $(PROFILE),--profile $(PROFILE))

test: lint unit notebooks  ## every check

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

unit: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# A folder of its own, made anew, so that nothing left by earlier runs can pass for a result. Notebooks 1 and 2
# make what the others read; then the longest runs beside the rest, a process a core.
NBVAL = UBALKIT_RUNS=$(CURDIR)/runs/nbval $(BIN)/python -m pytest --nbval --nbval-current-env \
	--nbval-cell-timeout 600 --nbval-kernel-startup-timeout 180 -p no:cacheprovider

notebooks: $(READY)
	rm -rf runs/nbval
	$(NBVAL) notebooks/01_*.ipynb notebooks/02_*.ipynb
	$(NBVAL) notebooks/03_*.ipynb notebooks/08_*.ipynb notebooks/10_*.ipynb > runs/nbval/beside.log 2>&1 & beside=$$!; \
	$(NBVAL) notebooks/00_*.ipynb notebooks/0[45679]_*.ipynb; rest=$$?; \
	wait $$beside; other=$$?; cat runs/nbval/beside.log; exit $$((rest + other))

# The committed notebooks, executed anew with their default parameters.
refresh: $(READY)
	UBALKIT_RUNS=$(CURDIR)/runs/refresh $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		notebooks/*.ipynb
	$(BIN)/nbstripout --keep-output --keep-count --extra-keys "metadata.papermill cell.metadata.papermill \
		cell.metadata.execution metadata.language_info.version" notebooks/*.ipynb

texts: $(READY)  ## the numbers in README, the pages and the notebooks' texts, from data/results
	$(BIN)/python docs/texts.py

slow: $(READY)  ## the calibration of the intervals, minutes
	$(BIN)/python -m pytest tests -o addopts="" -m slow -s

benchmark: $(READY)  ## speed, as ratios; and what a device makes of its own
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable -s -o addopts=""
	$(BIN)/python tests/benchmarks/device.py

# For the tests of the kernels for CUDA devices, on Linux. Torch for CUDA requires this version and brings it.
triton: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check triton==3.7.1

board: $(READY)  ## known functions by every method, where it was left off: hours of a core in all
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/board.py
	$(BIN)/python tests/benchmarks/board.py --publish
	$(BIN)/python docs/texts.py

lab: $(READY)  ## the notebooks, interactively
	$(BIN)/jupyter lab notebooks

docs: $(READY)  ## the pages of docs/, a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "Open runs/site/index.html"

doors: $(READY)  ## three new users with a stopwatch, each in a fresh environment
	$(BIN)/python tests/doors.py

# A change of the lock or the package's metadata installs anew; nothing else does.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

clean:
	rm -rf $(VENV) runs
