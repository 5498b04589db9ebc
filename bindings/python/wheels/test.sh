#!/usr/bin/env bash
# What `make wheels` left in dist: wheels run where their names say, and one trains on a machine without a compiler.
# Then tests of the library on AArch64, whose instructions no test elsewhere runs, in QEMU.
set -euo pipefail
cd "$(dirname "$0")/../../.."

fail() {
  echo "make wheels-test: $1" >&2
  exit 1
}

shopt -s nullglob
wheel_of() {
  local found=(dist/sparsam-*"$1".whl)
  [ "${#found[@]}" -eq 1 ] || fail "dist has ${#found[@]} wheels for $1 instead of one: run make wheels first"
  echo "${found[0]}"
}

for platform in manylinux_2_17_x86_64 manylinux_2_17_aarch64; do
  wheel=$(wheel_of "$platform")
  auditwheel show "$wheel" | tr -s '\n ' ' ' | grep -q "following platform tag: \"$platform\"" ||
    fail "$wheel does not run wherever its name says: see auditwheel show $wheel"
  echo "$wheel: $platform"
done
# auditwheel reads no wheel for musl where libc.so is that of glibc, a script of its linker.
for platform in musllinux_1_2_x86_64 musllinux_1_2_aarch64; do
  wheel_of "$platform"
done

# For Windows: Python finds the module in it, and needs nothing beside itself and what every Windows has.
wheel=$(wheel_of win_amd64)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m zipfile -e "$wheel" "$folder"
library=$folder/sparsam/_core.pyd
tables=$(x86_64-w64-mingw32-objdump -p "$library")
grep -q '\bPyInit__core$' <<<"$tables" || fail "$wheel has no PyInit__core: Python does not find the module"
foreign=$(sed -n 's/^\tDLL Name: //p' <<<"$tables" |
  grep -viE '^(python3|kernel32|ntdll|advapi32|bcrypt|bcryptprimitives|userenv|ws2_32|msvcrt|api-ms-win-[a-z0-9-]+)\.dll$' || true)
[ -z "$foreign" ] || fail "$wheel needs libraries that Windows does not have: $foreign"
echo "$wheel: exports PyInit__core, imports Python and Windows alone"

# PATH has Python's own folder alone: no compiler, no Rust.
wheel=$(wheel_of manylinux_2_17_x86_64)
python3 -m venv --clear "$folder"
start=$SECONDS
env PATH="$folder/bin" "$folder/bin/python" -m pip install --quiet --only-binary :all: "$wheel"
timeout 30 env PATH="$folder/bin" "$folder/bin/python" bindings/python/wheels/train.py
echo "$wheel: installed and trained in $((SECONDS - start)) s"

qemu=${QEMU:-$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)}
[ -n "$qemu" ] || fail "qemu-aarch64 is missing: install it (qemu-user in Debian), or name it by QEMU=PATH"
# Linked with all of its libraries, for there is no AArch64 system here to find them in; by Rust's own linker and musl, as users of
# the crate link it.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=$qemu
# Those that compute; QEMU needs memory for every page that a test reserves, and some reserve a billion words.
cargo test --locked --package sparsam --lib --target aarch64-unknown-linux-musl -- \
  kernels:: memory::dense memory::interface index::linear
