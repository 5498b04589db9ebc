#!/usr/bin/env bash
# hnswlib 0.8.0: entries that are marked as deleted, and added again under their own labels in the places that so became free.
# Guess: the entries of the new vectors under the old labels, as if each had been replaced alone; at worst a lower recall.
# Seen: of 20 labels given in one call 13 are gone: queries return them, with distance 0, but `get_items`, `mark_deleted` and
# `get_ids_list` know them no more ("Label not found"), so that they can never be replaced again. One call for each label loses none.
# Needs python3 and a C++ compiler; leaves nothing behind.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet hnswlib==0.8.0 numpy==2.4.6

"$folder/bin/python" - <<'PYTHON'
import hnswlib
import numpy

random = numpy.random.default_rng(0)
old, new = (random.standard_normal((count, 16)).astype("float32") for count in (1000, 20))


def known_after_replacing(count: int) -> tuple[list[int], list[int]]:
    """Labels that are known, of the first 20, and those that queries for their new vectors find; so many in a call."""
    index = hnswlib.Index("l2", 16)
    index.init_index(1000, ef_construction=100, M=16, allow_replace_deleted=True)
    index.set_num_threads(1)
    index.add_items(old, numpy.arange(1000))
    for first in range(0, 20, count):
        labels = numpy.arange(first, first + count)
        for label in labels:
            index.mark_deleted(label)
        index.add_items(new[labels], labels, replace_deleted=True)
    found, distances = index.knn_query(new, 1)
    if distances.max() != 0:
        raise SystemExit(f"changed: new vectors are not found, {distances.max()}")
    return sorted(set(index.get_ids_list()) & set(range(20))), found[:, 0].tolist()


together, alone = known_after_replacing(20), known_after_replacing(1)
if together[1] != list(range(20)) or alone != (list(range(20)), list(range(20))):
    raise SystemExit(f"changed: in one call {together}, one by one {alone}")
if together[0] != list(range(13, 20)):
    raise SystemExit(f"changed: in one call {together[0]} are known afterwards")
print(f"as seen: hnswlib 0.8.0 finds {len(together[1])} replaced entries and knows {len(together[0])} of their labels")
PYTHON
