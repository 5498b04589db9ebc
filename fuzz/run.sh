#!/usr/bin/env bash
# Runs every fuzz target, or those of FUZZ_TARGETS, for FUZZ_SECONDS seconds, on the ordinary toolchain: the instrumentation is what `cargo fuzz`
# asks of the compiler, without the address sanitizer, which only a nightly toolchain has.
set -euo pipefail
cd "$(dirname "$0")"

host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-target}
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
# Naming the target keeps the flags away from build scripts, which are not linked with the fuzzer.
cargo build --quiet --release --target "$host" --target-dir "$target_dir"

for target in ${FUZZ_TARGETS:-checkpoint config state npz jsonl babi png archive resume metrics}; do
  mkdir -p "corpus/$target" "artifacts/$target"
  echo "fuzzing $target for ${FUZZ_SECONDS:-30} seconds"
  "$target_dir/$host/release/$target" -max_total_time="${FUZZ_SECONDS:-30}" -rss_limit_mb=1024 -timeout=10 \
    -max_len=65536 -verbosity=0 -print_final_stats=1 -artifact_prefix="artifacts/$target/" "corpus/$target" $(if [ -d "seeds/$target" ]; then echo "seeds/$target"; fi)
done
