#!/usr/bin/env bash
# usearch 2.26.6: a batch of queries that asks for more neighbours than there are entries.
# Guess: rows as long as there are entries, as a single query gets, or -1 in the places that are left, as FAISS has it.
# Seen: rows as long as was asked for, with the key 0 in the places that are left, though no entry has this key; the distance
# there is not a number, and `counts` alone tells how many are meant.
# Needs python3; leaves nothing behind.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet usearch==2.26.6 numpy==2.4.6

"$folder/bin/python" - <<'PYTHON'
import numpy
import usearch
from usearch.index import Index

vectors = numpy.random.default_rng(0).standard_normal((3, 16)).astype("float32")
index = Index(ndim=16, metric="ip", dtype="f32")
index.add(numpy.arange(10, 13), vectors)
one, batch = index.search(vectors[0], 5), index.search(vectors[:2], 5)
alone, rows, counts = one.keys.tolist(), batch.keys.tolist(), batch.counts.tolist()
if len(alone) != 3 or any(row[3:] != [0, 0] for row in rows) or counts != [3, 3]:
    raise SystemExit(f"changed: a query alone {alone}, a batch {rows}, {counts}")
if not numpy.isnan(batch.distances[:, 3:]).all():
    raise SystemExit(f"changed: distances of a batch {batch.distances.tolist()}")
print(f"as seen: usearch {usearch.__version__}: a query alone gets {alone}, in a batch {rows[0]}, counts {counts}")
PYTHON
