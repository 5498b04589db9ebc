# make test     everything that must hold: formatting, lints, tests, documentation, the README's commands, the Python package
# make bench    what a step costs on this machine
# make docs     the library's documentation, in target/doc
# make recipes  what each model needs to learn copy and recall, five seeds each (an hour; goes on where it was stopped)
# make fuzz     damaged files for FUZZ_SECONDS seconds a target
# make page     the pages of `sparsam inspect`, built from their sources into one file each, which are committed
# make page-test   those files are what their sources build, and a browser shows them as it should
# make python   a Python with the packages that some tests compare with, and that checks Python files
# make python-package  the Python package's wheel (in target/python-package/wheels), its checks and its tests, with PyTorch
# make agents-test  sparsam.torchrl and the masks of docs/agents.md, against the libraries for agents themselves
# make wheels   the Python package for users: wheels for Linux on x86-64 and AArch64 and for Windows, and the sources, in dist
# make wheels-test  those wheels say what they run on, train without a compiler, and the library's tests pass on AArch64 (in QEMU)

CARGO ?= cargo
FUZZ_SECONDS ?= 30

PYTHON_FOLDER := target/python
# Only a Python that `make python` finished, unless the environment names one.
SPARSAM_PYTHON ?= $(if $(wildcard $(PYTHON_FOLDER)/ready),$(CURDIR)/$(PYTHON_FOLDER)/bin/python)
ifneq ($(SPARSAM_PYTHON),)
export SPARSAM_PYTHON
endif

PACKAGE := bindings/python
PACKAGE_FOLDER := target/python-package
PACKAGE_PYTHON := $(CURDIR)/$(PACKAGE_FOLDER)/bin/python

AGENTS_FOLDER := target/agents
AGENTS_PYTHON := $(CURDIR)/$(AGENTS_FOLDER)/bin/python

WHEELS_FOLDER := target/wheels-tools
WHEELS_PATH := $(CURDIR)/$(WHEELS_FOLDER)/bin
WHEELS_TARGETS := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-unknown-linux-musl \
	x86_64-pc-windows-gnu

PYTHON_SOURCES := benchmarks/recipes.py benchmarks/indexes.py crates/sparsam-train/tests/read_events.py \
	crates/sparsam-cli/tests/terminal.py

PAGE := crates/sparsam-page/page

.PHONY: test format lint unit docs readme page page-test bench recipes fuzz python python-package python-install agents-test wheels wheels-test

# One after another, whatever -j says: they share the build folder.
.NOTPARALLEL:

# What cannot be set up, as without a network, is skipped, and the last lines say so; what is set up and fails is a
# failure. The second make sees the Python that the first one made.
test:
	-@$(MAKE) --no-print-directory python
	@$(MAKE) --no-print-directory format lint unit docs readme
	@if $(MAKE) --no-print-directory $(PACKAGE_FOLDER)/ready; then $(MAKE) --no-print-directory python-package; fi
	@if $(MAKE) --no-print-directory $(AGENTS_FOLDER)/ready; then $(MAKE) --no-print-directory agents-test; fi
	@if $(MAKE) --no-print-directory $(PAGE)/node_modules/browser; then $(MAKE) --no-print-directory page-test; fi
	@test -e $(PACKAGE_FOLDER)/ready || \
	echo "make test: skipped the Python package, whose tools or PyTorch could not be installed (above)"
	@test -e $(AGENTS_FOLDER)/ready || \
	echo "make test: skipped the libraries for agents, which could not be installed (above)"
	@test -e $(PAGE)/node_modules/browser || \
	echo "make test: skipped the page of sparsam inspect: Node.js, its packages or a browser could not be set up (above)"
	@test -n "$(SPARSAM_PYTHON)" -o -e $(PYTHON_FOLDER)/ready || \
	echo "make test: skipped what needs the Python packages of tests/requirements.txt, which could not be installed (above)"

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

# The dev profile is optimised: tests train networks. Examples are part of a test, and are not built once more.
unit:
	$(CARGO) test --locked --workspace --lib --bins --tests
	$(CARGO) test --locked --workspace --doc

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

readme:
	bash tests/readme.sh

page: $(PAGE)/node_modules/ready
	cd $(PAGE) && npm run --silent build

# SPARSAM_CHROMIUM names another browser than that of the npm packages.
page-test: $(PAGE)/node_modules/browser
	$(CARGO) build --locked --release
	cd $(PAGE) && npm run --silent check
	cd $(PAGE) && SPARSAM="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/sparsam" npm test

# The versions and checksums are those of package-lock.json; no package runs a script of its own.
$(PAGE)/node_modules/ready: $(PAGE)/package-lock.json
	@command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' || \
	{ echo "Node.js 20 or later is missing, or npm, which comes with it: install them" >&2; exit 1; }
	cd $(PAGE) && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# A browser that starts.
$(PAGE)/node_modules/browser: $(PAGE)/node_modules/ready $(PAGE)/test/browser.mjs
	rm -f $@
	cd $(PAGE) && npm run --silent browser
	touch $@

bench:
	$(CARGO) bench --locked -p sparsam

recipes:
	$(CARGO) build --locked --release
	python3 benchmarks/recipes.py

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) bash fuzz/run.sh

python: $(PYTHON_FOLDER)/ready

$(PYTHON_FOLDER)/ready: tests/requirements.txt
	python3 -m venv $(PYTHON_FOLDER)
	$(PYTHON_FOLDER)/bin/pip install --quiet --requirement tests/requirements.txt
	touch $@

python-package: $(PACKAGE_FOLDER)/ready
	cd $(PACKAGE) && $(PACKAGE_PYTHON) -m ruff check . && $(PACKAGE_PYTHON) -m ruff format --check .
	@$(MAKE) --no-print-directory python-install
	cd $(PACKAGE) && $(PACKAGE_PYTHON) -m mypy python tests examples benchmarks wheels agents
	cd $(PACKAGE) && $(PACKAGE_PYTHON) -m pytest

# The wheel is what users get; the package's folder, which has no library in it, must not stand in its place.
python-install: $(PACKAGE_FOLDER)/ready
	rm -rf $(PACKAGE_FOLDER)/wheels
	$(PACKAGE_PYTHON) -m maturin build --release --locked --quiet --manifest-path $(PACKAGE)/Cargo.toml --out $(PACKAGE_FOLDER)/wheels
	$(PACKAGE_PYTHON) -m pip install --quiet --no-deps --force-reinstall $(PACKAGE_FOLDER)/wheels/*.whl

agents-test: $(AGENTS_FOLDER)/ready python-install
	cd $(PACKAGE)/agents && OMP_NUM_THREADS=1 $(AGENTS_PYTHON) -m pytest

# Beside the package's Python, whose packages, PyTorch among them, are seen after the folder's own: nothing of what the
# package is tested with changes.
$(AGENTS_FOLDER)/ready: $(PACKAGE)/agents/requirements.txt $(PACKAGE_FOLDER)/ready
	python3 -m venv --clear $(AGENTS_FOLDER)
	$(AGENTS_PYTHON) -m pip install --quiet --no-deps --requirement $<
	packages=$$($(PACKAGE_PYTHON) -c "import site; print(site.getsitepackages()[0])"); \
		{ echo "$$packages"; cat "$$packages/torch.pth"; } \
		>$$($(AGENTS_PYTHON) -c "import site; print(site.getsitepackages()[0])")/package.pth
	touch $@

# PyTorch as users get it, unless python3 has one already: then its packages are seen after the folder's own.
$(PACKAGE_FOLDER)/ready: $(PACKAGE)/tests/requirements.txt
	python3 -m venv --clear $(PACKAGE_FOLDER)
	$(PACKAGE_PYTHON) -m pip install --quiet --requirement $<
	python3 -c "import os, torch; print(os.path.dirname(torch.__path__[0]))" 2>/dev/null \
		>$$($(PACKAGE_PYTHON) -c "import site; print(site.getsitepackages()[0])")/torch.pth \
		|| $(PACKAGE_PYTHON) -m pip install --quiet torch
	touch $@

# One wheel for each system serves all versions of Python from 3.10. Zig links for Linux: against the glibc of 2014
# (manylinux2014 is 2.17), and against musl 1.2. MinGW links for Windows: with Zig maturin 1.16 tells the linker to export
# PyInit_sparsam._core, which is no function of the library, where Python looks for PyInit__core.
wheels: $(WHEELS_FOLDER)/ready
	rm -rf dist
	$(WHEELS_PATH)/maturin sdist --manifest-path $(PACKAGE)/Cargo.toml --out dist
	for target in $(WHEELS_TARGETS); do \
		case $$target in \
			*-windows-*) platform=;; \
			*-musl) platform="--zig --compatibility musllinux_1_2";; \
			*) platform="--zig --compatibility manylinux2014";; \
		esac; \
		PATH=$(WHEELS_PATH):$$PATH maturin build --release --locked --quiet --target $$target $$platform \
			--manifest-path $(PACKAGE)/Cargo.toml --out dist || exit 1; \
	done
	ls -l dist

wheels-test: $(WHEELS_FOLDER)/ready
	PATH=$(WHEELS_PATH):$$PATH bash $(PACKAGE)/wheels/test.sh

# The targets are those of the toolchain that builds; rustup says so if they are there.
$(WHEELS_FOLDER)/ready: $(PACKAGE)/wheels/requirements.txt Makefile
	@command -v rustup >/dev/null || { echo "rustup is missing, which brings Rust's libraries for other systems: see https://rustup.rs" >&2; exit 1; }
	@command -v x86_64-w64-mingw32-gcc >/dev/null || { echo "x86_64-w64-mingw32-gcc is missing, which links for Windows: install it (gcc-mingw-w64-x86-64 in Debian)" >&2; exit 1; }
	rustup target add $(WHEELS_TARGETS)
	python3 -m venv --clear $(WHEELS_FOLDER)
	$(WHEELS_FOLDER)/bin/pip install --quiet --requirement $<
	touch $@
