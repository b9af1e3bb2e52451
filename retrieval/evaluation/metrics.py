"""Ranking measures per query, computed by ir-measures, and catalogue coverage."""

import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError

# Queries per call: ir-measures takes one dictionary per query, which needs more memory than our arrays.
_BATCH = 5000

# Our name -> the name in ir-measures.
_IR_NAMES = {"recall": "R", "ndcg": "nDCG", "mrr": "RR", "precision": "P", "hit_rate": "Success", "map": "AP"}
KNOWN_MEASURES = tuple(f"{name}@k" for name in _IR_NAMES)
"""The measures, each at any cutoff k of at least 1.

- ``recall@k``: relevant items in the top k, divided by the number of relevant items (also when k is smaller);
- ``ndcg@k``: 1 / log2(1 + rank) summed over relevant items in the top k, divided by that of the best list;
- ``mrr@k``: 1 / rank of the first relevant item, 0 when it is not in the top k;
- ``precision@k``: relevant items in the top k, divided by k, also when the list is shorter;
- ``hit_rate@k``: 1 when any relevant item is in the top k;
- ``map@k``: precision at the rank of each relevant item in the top k, summed, divided by the number of
  relevant items.
"""


def cutoffs(measures: Iterable[str]) -> dict[str, int]:
    """Return the k of each measure, in the order given; repeated measures count once.

    >>> cutoffs(["recall@10", "ndcg@20", "recall@10"])
    {'recall@10': 10, 'ndcg@20': 20}

    Raises:
        InputError: For an unknown measure, or none.
    """
    ks = {}
    for measure in measures:
        match = re.fullmatch(r"([a-z_]+)@([1-9][0-9]{0,8})", measure)
        if match is None or match[1] not in _IR_NAMES:
            raise InputError(
                f"there is no measure {measure!r}; those known are {', '.join(KNOWN_MEASURES)} with a whole "
                "number for k (coverage is computed for every k)"
            )
        ks[measure] = int(match[2])
    if not ks:
        raise InputError(f"there is nothing to measure; name some of {', '.join(KNOWN_MEASURES)}")
    return ks


def per_query(
    rows: Rows, relevant: Sequence[Collection[str]], items: ItemIds, measures: Iterable[str]
) -> dict[str, NDArray[np.float64]]:
    """Measure each ranked list.

    Args:
        rows: (B, K) int64, ranked rows of items, padded with -1. A repeated row keeps its position and counts as not
            relevant.
        relevant: B collections of item_ids, none empty. Ids that are not among the items count as relevant
            and are never retrieved.
        items: The item_ids that the rows refer to.
        measures: Names of measures, such as ``recall@10``.

    Returns:
        (B,) float64 for each measure.
    """
    import ir_measures  # here, so that importing retrieval stays quick

    ks = cutoffs(measures)
    measure_of = {ir_measures.parse_measure(f"{_IR_NAMES[m.partition('@')[0]]}@{k}"): m for m, k in ks.items()}
    values = {measure: np.zeros(len(rows)) for measure in ks}
    for start in range(0, len(rows), _BATCH):
        batch = range(start, min(start + _BATCH, len(rows)))
        # Queries and items are named by numbers: ids may be any text, and query ids may repeat.
        judgements = {str(query): _judgements(relevant[query], items) for query in batch}
        rankings = {str(query): _ranking(rows[query, : max(ks.values())]) for query in batch}
        for result in ir_measures.iter_calc(list(measure_of), judgements, rankings):
            values[measure_of[result.measure]][int(result.query_id)] = result.value
    return values


def coverage(rows: Rows, catalogue_size: int, k: int) -> float:
    """Return the fraction of the catalogue that is in the top k of any query.

    >>> coverage(np.array([[0, 1, 2], [0, 3, -1]]), catalogue_size=8, k=2)
    0.375
    """
    recommended = np.unique(rows[:, :k])
    return float(np.sum(recommended >= 0) / max(catalogue_size, 1))


def _judgements(relevant: Collection[str], items: ItemIds) -> dict[str, int]:
    rows = items.rows(items.known(set(relevant)))
    judgements = {str(row): 1 for row in rows}
    # Each relevant item that is not in the catalogue gets a name that no ranking contains.
    judgements |= {f"absent {number}": 1 for number in range(len(set(relevant)) - len(rows))}
    return judgements


def _ranking(ranked_rows: Rows) -> dict[str, float]:
    # Scores decrease strictly with the rank: trec_eval orders equal scores by name.
    ranking: dict[str, float] = {}
    for position, row in enumerate(ranked_rows.tolist()):
        name = str(row) if row >= 0 and str(row) not in ranking else f"nothing {position}"
        ranking[name] = float(-position)
    return ranking
