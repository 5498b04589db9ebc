#!/usr/bin/env bash
# faiss-cpu 1.15.1: IndexIDMap2 around IndexIVFFlat, from which ten of two thousand entries are removed.
# Guess: the entries that stay are found under the numbers that they were added with, as where IndexIDMap2 is around
# IndexFlatL2.
# Seen: no error, and as many entries as expected; but entry 500 is found as 510. The map moves its numbers up into the gap, as
# flat indexes do with their entries, and inverted lists do not.
# Needs python3; leaves nothing behind.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet faiss-cpu==1.15.1 numpy==2.4.6

"$folder/bin/python" - <<'PYTHON'
import faiss
import numpy

vectors = numpy.random.default_rng(0).standard_normal((2000, 8)).astype("float32")


def found_after_removal(inner):
    index = faiss.IndexIDMap2(inner)
    index.add_with_ids(vectors, numpy.arange(2000))
    before = int(index.search(vectors[500:501], 1)[1][0, 0])
    removed = index.remove_ids(numpy.arange(10))
    distances, numbers = index.search(vectors[500:501], 1)
    return before, removed, index.ntotal, float(distances[0, 0]), int(numbers[0, 0])


lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(8), 8, 16)
lists.train(vectors)
flat, inverted = found_after_removal(faiss.IndexFlatL2(8)), found_after_removal(lists)
if flat != (500, 10, 1990, 0.0, 500) or inverted != (500, 10, 1990, 0.0, 510):
    raise SystemExit(f"changed: flat {flat}, inverted lists {inverted}")
print(f"as seen: faiss {faiss.__version__}: entry 500 is {flat[-1]} in a flat index, {inverted[-1]} in inverted lists")
PYTHON
