#!/usr/bin/env bash
# Runs the README's commands: every line of a block that begins with ```sh test, in order, in a folder of its own.
# Training and benchmarks are cut short; the rest runs as it stands.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# Built where the project builds, though the commands run elsewhere.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
count=0
while IFS= read -r line; do
  line=${line%%#*}
  [ -z "${line// /}" ] && continue
  case $line in
    *" train "*--resume*) line="$line --batches 30" ;;
    *" train "*) line="$line --batches 20 --evaluate-every 10" ;;
  *" bench "*) line="$line --sizes 64,1k" ;;
  esac
  echo "README: $line"
  line=${line/cargo run --release/cargo run --quiet --locked --release --manifest-path "$root/Cargo.toml"}
  bash -euo pipefail -c "$line" </dev/null
  count=$((count + 1))
done < <(awk '/^```sh test/ { inside = 1; next } /^```/ { inside = 0 } inside' "$root/README.md")

if [ "$count" -eq 0 ]; then
  echo "README.md has no block that begins with \`\`\`sh test" >&2
  exit 1
fi
echo "README: $count commands ran"
