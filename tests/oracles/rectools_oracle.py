"""Write what RecTools says of a small case: an independent judge for our measures.

RecTools wants an older numpy than ours on some Pythons: this runs in an environment of its own, and imports nothing of
ours:

    python3 -m venv oracle && oracle/bin/pip install "rectools==0.19.*"
    oracle/bin/python tests/oracles/rectools_oracle.py tests/retrieval/evaluation/rectools.json
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Lists of eight items, "i0" to "i7": one full, one that holds little of what is relevant, one short, one of items that
# nobody met. "i0" was met twice by one user, "i1" and "i2" equally often.
CASE: dict[str, Any] = {
    "items": [f"i{number}" for number in range(8)],
    "vectors": [[1, 0, 0], [2, 1, 0], [0, 1, 0], [0, 3, 4], [-1, 0, 1], [1, 1, 1], [5, 0, 0.5], [0, -2, 1]],
    "lists": {
        "ann": ["i0", "i1", "i2", "i3"],
        "bob": ["i5", "i3", "i0", "i7"],
        "cem": ["i6", "i1"],
        "dee": ["i4", "i7", "i6", "i2"],
    },
    "relevant": {
        "ann": ["i1", "i3"],
        "bob": ["i5", "i7", "i4", "i6", "i2"],
        "cem": ["i6", "i4"],
        "dee": ["i2"],
    },
    "past": [
        ["ann", "i0"],
        ["ann", "i0"],
        ["ann", "i5"],
        ["bob", "i0"],
        ["bob", "i1"],
        ["bob", "i2"],
        ["cem", "i0"],
        ["cem", "i2"],
        ["eve", "i1"],
        ["eve", "i3"],
        ["eve", "elsewhere"],
    ],
    "depths": [1, 2, 4],
}


def expected() -> dict[str, dict[str, float]]:
    """Give for each measure the value of each user that RecTools gives one."""
    import numpy as np
    import pandas as pd
    from rectools import metrics
    from rectools.metrics.distances import PairwiseDistanceCalculator

    lists = CASE["lists"].items()
    shown = pd.DataFrame(
        [(user, item, rank) for user, items in lists for rank, item in enumerate(items, start=1)],
        columns=["user_id", "item_id", "rank"],
    )
    wanted = pd.DataFrame(
        [(user, item) for user, items in CASE["relevant"].items() for item in items], columns=["user_id", "item_id"]
    )
    past = pd.DataFrame(CASE["past"], columns=["user_id", "item_id"])
    vectors = {name: np.array(vector, float) for name, vector in zip(CASE["items"], CASE["vectors"], strict=True)}

    class Cosine(PairwiseDistanceCalculator):  # type: ignore[misc]
        def _get_distances_for_item_pairs(self, items_0: Any, items_1: Any) -> Any:  # noqa: ANN401
            pairs = [(vectors[one], vectors[other]) for one, other in zip(items_0, items_1, strict=True)]
            return np.array([1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])

    found: dict[str, Mapping[str, float]] = {}
    for k in CASE["depths"]:
        found |= {
            f"recall@{k}": metrics.Recall(k=k).calc_per_user(shown, wanted),
            f"precision@{k}": metrics.Precision(k=k).calc_per_user(shown, wanted),
            f"hit_rate@{k}": metrics.HitRate(k=k).calc_per_user(shown, wanted),
            f"mrr@{k}": metrics.MRR(k=k).calc_per_user(shown, wanted),
            f"map@{k}": metrics.MAP(k=k).calc_per_user(shown, wanted),
            f"ndcg@{k}": metrics.NDCG(k=k, divide_by_achievable=True).calc_per_user(shown, wanted),
            f"novelty@{k}": metrics.MeanInvUserFreq(k=k).calc_per_user(shown, past),
            f"popularity@{k}": metrics.AvgRecPopularity(k=k).calc_per_user(shown, past),
            f"serendipity@{k}": metrics.Serendipity(k=k).calc_per_user(shown, wanted, past, CASE["items"]),
        }
        if k > 1:
            ild = metrics.IntraListDiversity(k=k, distance_calculator=Cosine())
            found[f"diversity@{k}"] = ild.calc_per_user(shown)
        coverage = metrics.CatalogCoverage(k=k, normalize=True).calc(shown, CASE["items"])
        found[f"coverage@{k}"] = {"all": coverage}
    return {name: {user: float(values[user]) for user in values.keys()} for name, values in found.items()}  # noqa: SIM118


def main() -> None:
    """Write the case, the values and the version into the file named on the command line."""
    import rectools

    data = {"rectools": rectools.__version__, "case": CASE, "expected": expected()}
    Path(sys.argv[1]).write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
