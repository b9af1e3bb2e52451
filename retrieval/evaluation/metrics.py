"""What is measured of a ranked list, query by query: through ir-measures, and coverage."""

import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError

# Queries handed over at a time: ir-measures wants a dictionary a query, which is large beside our arrays.
_BATCH = 5000

# Our name -> the name ir-measures knows it by.
_IR_NAMES = {"recall": "R", "ndcg": "nDCG", "mrr": "RR", "precision": "P", "hit_rate": "Success", "map": "AP"}
KNOWN_MEASURES = tuple(f"{name}@k" for name in _IR_NAMES)
"""The measures there are, each at any cutoff k of 1 and more.

- ``recall@k``: relevant items in the top k, divided by the number of relevant items (also when k is smaller);
- ``ndcg@k``: 1 / log2(1 + rank) summed over relevant items in the top k, divided by that of the best list;
- ``mrr@k``: 1 / rank of the first relevant item, 0 when it is not in the top k;
- ``precision@k``: relevant items in the top k, divided by k, also when the list is shorter;
- ``hit_rate@k``: 1 when any relevant item is in the top k;
- ``map@k``: precision at the rank of each relevant item in the top k, summed, divided by the number of
  relevant items.
"""


def cutoffs(measures: Iterable[str]) -> dict[str, int]:
    """Give the k of each measure, each measure once, in the order given.

    >>> cutoffs(["recall@10", "ndcg@20", "recall@10"])
    {'recall@10': 10, 'ndcg@20': 20}

    Raises:
        InputError: For a measure that is not known.
    """
    found = {}
    for measure in measures:
        match = re.fullmatch(r"([a-z_]+)@([1-9][0-9]{0,8})", measure)
        if match is None or match[1] not in _IR_NAMES:
            raise InputError(
                f"there is no measure {measure!r}; those known are {', '.join(KNOWN_MEASURES)} with a whole "
                "number for k (coverage is given for every k without being asked for)"
            )
        found[measure] = int(match[2])
    if not found:
        raise InputError(f"there is nothing to measure; name some of {', '.join(KNOWN_MEASURES)}")
    return found


def per_query(
    rows: Rows, relevant: Sequence[Collection[str]], items: ItemIds, measures: Iterable[str]
) -> dict[str, NDArray[np.float64]]:
    """Measure each ranked list.

    Args:
        rows: (B, K) int64, ranked rows of items; a line may end in -1. A row that was in the line before
            takes up its place and counts for nothing.
        relevant: B collections of item_ids, none empty. Ids that are not among the items count as relevant
            and cannot be found.
        items: The item_ids that the rows point into.
        measures: What to measure, as in ``recall@10``.

    Returns:
        (B,) float64 for each measure.
    """
    import ir_measures  # here, so that importing retrieval stays quick

    depths = cutoffs(measures)
    theirs = {ir_measures.parse_measure(f"{_IR_NAMES[m.partition('@')[0]]}@{k}"): m for m, k in depths.items()}
    values = {measure: np.zeros(len(rows)) for measure in depths}
    for start in range(0, len(rows), _BATCH):
        batch = range(start, min(start + _BATCH, len(rows)))
        # Queries and items go by numbers of our own: ids may be anything, and two queries may share one.
        judged = {str(query): _judgements(relevant[query], items) for query in batch}
        ranked = {str(query): _ranking(rows[query, : max(depths.values())]) for query in batch}
        for found in ir_measures.iter_calc(list(theirs), judged, ranked):
            values[theirs[found.measure]][int(found.query_id)] = found.value
    return values


def coverage(rows: Rows, catalogue_size: int, k: int) -> float:
    """Give the share of the catalogue that is in anybody's top k.

    >>> coverage(np.array([[0, 1, 2], [0, 3, -1]]), catalogue_size=8, k=2)
    0.375
    """
    shown = np.unique(rows[:, :k])
    return float(np.sum(shown >= 0) / max(catalogue_size, 1))


def _judgements(relevant: Collection[str], items: ItemIds) -> dict[str, int]:
    known = items.rows(items.known(set(relevant)))
    judged = {str(row): 1 for row in known}
    # One name for each that is not in the catalogue: no ranking holds it, yet it counts as something to find.
    judged |= {f"absent {number}": 1 for number in range(len(set(relevant)) - len(known))}
    return judged


def _ranking(line: Rows) -> dict[str, float]:
    # Scores fall strictly with the rank, for trec_eval orders equal scores by name and would undo our order.
    ranking: dict[str, float] = {}
    for place, row in enumerate(line.tolist()):
        name = str(row) if row >= 0 and str(row) not in ranking else f"nothing {place}"
        ranking[name] = float(-place)
    return ranking
