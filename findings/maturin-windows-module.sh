#!/usr/bin/env bash
# maturin 1.16.0, a PyO3 module inside a package (module-name "pair._core"), cross-compiled with --zig for
# x86_64-pc-windows-gnu.
# Guess: the library exports PyInit__core, which is where Python looks for the module pair._core, as it does for Linux.
# Seen: linking fails. The file of exports that maturin passes to the linker names PyInit_pair._core, which no source has;
# the same sources link for Linux. A module that is a package of its own (module-name "core") would not show it.
# Needs cargo, rustup and python3; leaves nothing behind but rustup's target.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/pip install --quiet maturin==1.16.0 ziglang==0.17.1
rustup target add x86_64-pc-windows-gnu >/dev/null 2>&1

mkdir -p src python/pair
touch python/pair/__init__.py
cat >Cargo.toml <<'TOML'
[package]
name = "pair"
version = "0.1.0"
edition = "2021"

[lib]
name = "_core"
crate-type = ["cdylib"]

[dependencies]
pyo3 = { version = "=0.30.1", features = ["abi3-py310"] }
TOML
cat >pyproject.toml <<'TOML'
[build-system]
requires = ["maturin==1.16.0"]
build-backend = "maturin"

[project]
name = "pair"
version = "0.1.0"

[tool.maturin]
module-name = "pair._core"
python-source = "python"
TOML
cat >src/lib.rs <<'RUST'
use pyo3::prelude::*;

#[pyfunction]
fn twice(number: u64) -> u64 {
    2 * number
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(twice, module)?)
}
RUST

export PATH="$folder/tools/bin:$PATH"
maturin build --quiet --zig --target x86_64-unknown-linux-gnu --compatibility manylinux2014 --out linux
if maturin build --zig --target x86_64-pc-windows-gnu --out windows >log 2>&1; then
  echo "changed: maturin $(maturin --version) now links the module for Windows"
  exit 1
fi
grep -q 'PyInit_pair\._core' log || { tail -20 log; echo "changed: it fails in another way"; exit 1; }
echo "as seen: $(maturin --version); Linux: $(ls linux); Windows: $(grep -o 'undefined symbol: PyInit_pair\._core' log | head -1)"
