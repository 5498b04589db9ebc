# make test     everything that must hold: formatting, lints, tests, documentation, the README's commands
# make bench    what a step costs on this machine
# make docs     the library's documentation, in target/doc
# make learning how many sequences each model needs to learn copy (hours)
# make fuzz     damaged files for FUZZ_SECONDS seconds a target
# make python   a Python with the packages that some tests compare with, and that checks Python files
# make python-package  the Python package's wheel (in target/python-package/wheels), its checks and its tests, with PyTorch

CARGO ?= cargo
FUZZ_SECONDS ?= 30

PYTHON_FOLDER := target/python
# Only a Python that `make python` finished, unless the environment names one.
SPARSAM_PYTHON ?= $(if $(wildcard $(PYTHON_FOLDER)/ready),$(CURDIR)/$(PYTHON_FOLDER)/bin/python)
ifneq ($(SPARSAM_PYTHON),)
export SPARSAM_PYTHON
endif

PYTHON_SOURCES := benchmarks/learning.py benchmarks/indexes.py crates/sparsam-train/tests/read_events.py

.PHONY: test format lint unit docs readme bench learning fuzz python python-package

# One after another, whatever -j says: they share the build folder.
.NOTPARALLEL:

# The second make sees the Python that the first one made.
test:
	@$(MAKE) --no-print-directory python || echo "no Python with the packages of tests/requirements.txt: what needs it is skipped"
	@$(MAKE) --no-print-directory format lint unit docs readme

format:
	$(CARGO) fmt --all --check
	cd fuzz && $(CARGO) fmt --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
ifneq ($(SPARSAM_PYTHON),)
	$(SPARSAM_PYTHON) -m ruff check $(PYTHON_SOURCES)
	$(SPARSAM_PYTHON) -m ruff format --check $(PYTHON_SOURCES)
	$(SPARSAM_PYTHON) -m mypy $(PYTHON_SOURCES)
endif

# Documentation tests among them. The dev profile is optimised: tests train networks.
unit:
	$(CARGO) test --locked --workspace

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

readme:
	bash tests/readme.sh

bench:
	$(CARGO) bench --locked -p sparsam

learning:
	$(CARGO) build --locked --release
	python3 benchmarks/learning.py

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) bash fuzz/run.sh

python: $(PYTHON_FOLDER)/ready

$(PYTHON_FOLDER)/ready: tests/requirements.txt
	python3 -m venv $(PYTHON_FOLDER)
	$(PYTHON_FOLDER)/bin/pip install --quiet --requirement tests/requirements.txt
	touch $@

PACKAGE := bindings/python
PACKAGE_FOLDER := target/python-package
PACKAGE_PYTHON := $(CURDIR)/$(PACKAGE_FOLDER)/bin/python

# The wheel is what users get; the package's folder, which has no library in it, must not stand in its place.
python-package: $(PACKAGE_FOLDER)/ready
	cd $(PACKAGE) && $(PACKAGE_PYTHON) -m ruff check . && $(PACKAGE_PYTHON) -m ruff format --check .
	rm -rf $(PACKAGE_FOLDER)/wheels
	$(PACKAGE_PYTHON) -m maturin build --release --locked --quiet --manifest-path $(PACKAGE)/Cargo.toml --out $(PACKAGE_FOLDER)/wheels
	$(PACKAGE_PYTHON) -m pip install --quiet --no-deps --force-reinstall $(PACKAGE_FOLDER)/wheels/*.whl
	cd $(PACKAGE) && $(PACKAGE_PYTHON) -m mypy python tests examples benchmarks
	cd $(PACKAGE) && $(PACKAGE_PYTHON) -m pytest

# PyTorch from PyPI, as users get it, unless one is there already.
$(PACKAGE_FOLDER)/ready: $(PACKAGE)/tests/requirements.txt
	if python3 -c "import torch" 2>/dev/null; then python3 -m venv --system-site-packages $(PACKAGE_FOLDER); \
	else python3 -m venv $(PACKAGE_FOLDER); fi
	$(PACKAGE_PYTHON) -m pip install --quiet --requirement $<
	$(PACKAGE_PYTHON) -c "import torch" 2>/dev/null || $(PACKAGE_PYTHON) -m pip install --quiet torch
	touch $@
