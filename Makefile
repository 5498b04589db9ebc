# make test     everything that must hold: formatting, lints, tests, documentation, the README's commands
# make bench    what a step costs on this machine
# make docs     the library's documentation, in target/doc
# make fuzz     damaged files for FUZZ_SECONDS seconds a target
# make python   a Python with the packages that some tests compare with; those tests are skipped without it

CARGO ?= cargo
FUZZ_SECONDS ?= 30

PYTHON_FOLDER := target/python
# Only a Python that `make python` finished, unless the environment names one.
SPARSAM_PYTHON ?= $(if $(wildcard $(PYTHON_FOLDER)/ready),$(CURDIR)/$(PYTHON_FOLDER)/bin/python)
ifneq ($(SPARSAM_PYTHON),)
export SPARSAM_PYTHON
endif

.PHONY: test format lint unit docs readme bench fuzz python

# One after another, whatever -j says: they share the build folder.
.NOTPARALLEL:

test: format lint unit docs readme

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# Documentation tests among them. The dev profile is optimised: tests train networks.
unit:
	$(CARGO) test --locked --workspace

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

readme:
	bash tests/readme.sh

bench:
	$(CARGO) bench --locked -p sparsam

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) bash fuzz/run.sh

python: $(PYTHON_FOLDER)/ready

$(PYTHON_FOLDER)/ready: tests/requirements.txt
	python3 -m venv $(PYTHON_FOLDER)
	$(PYTHON_FOLDER)/bin/pip install --quiet --requirement tests/requirements.txt
	touch $@
