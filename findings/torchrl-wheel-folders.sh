#!/usr/bin/env bash
# torchrl 0.14.1: what its wheel puts beside other packages.
# Guess: the package torchrl and its metadata alone.
# Seen: three more folders of its repository, `benchmarks`, `sota-check` and `sota-implementations`, straight in
# site-packages. So `import benchmarks` finds that of torchrl in every project that has no package of this name
# on its path before, and a module of them may be imported in place of one's own that is missing.
# Needs python3; leaves nothing behind.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --no-deps torchrl==0.14.1

cd "$folder"
"$folder/bin/python" - <<'PYTHON'
import importlib.metadata
import importlib.util

files = importlib.metadata.files("torchrl") or []
folders = {file.parts[0] for file in files if len(file.parts) > 1 and ".." not in file.parts}
others = sorted(folder for folder in folders if not folder.startswith("torchrl"))
if others != ["benchmarks", "sota-check", "sota-implementations"]:
    raise SystemExit(f"changed: beside torchrl the wheel has {others}")
found = importlib.util.find_spec("benchmarks")
if found is None or not any("site-packages" in place for place in found.submodule_search_locations or []):
    raise SystemExit(f"changed: `import benchmarks` finds {found}")
print(f"as seen: torchrl {importlib.metadata.version('torchrl')} puts {', '.join(others)} beside itself")
PYTHON
