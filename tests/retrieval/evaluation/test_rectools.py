"""Our measures against RecTools, whose values a script in an environment of its own has written down."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.evaluation import Beyond, Evaluation, evaluate
from retrieval.interactions.interactions import Interactions

ORACLE: dict[str, Any] = json.loads((Path(__file__).parent / "rectools.json").read_text())
CASE, EXPECTED = ORACLE["case"], ORACLE["expected"]
ACCURACY = ("recall", "precision", "hit_rate", "mrr", "map", "ndcg")


@pytest.fixture(scope="module")
def found() -> Evaluation:
    items = ItemIds(CASE["items"])
    rows = np.full((len(CASE["lists"]), 4), -1, np.int64)
    for line, names in enumerate(CASE["lists"].values()):
        rows[line, : len(names)] = items.rows(names)
    scores = np.where(rows >= 0, -np.arange(4), -np.inf).astype(np.float32)
    users = tuple(CASE["lists"])
    candidates = Candidates(np.zeros((len(users), 2), np.float32), rows, scores, items, "retrieve", users)
    names, met = zip(*CASE["past"], strict=True)
    past = Interactions.from_arrow(pa.table({"user": list(names), "item": list(met)}))
    return evaluate(
        candidates,
        [CASE["relevant"][user] for user in users],
        measures=[f"{name}@{k}" for name in ACCURACY for k in CASE["depths"]],
        beyond=Beyond(past, np.array(CASE["vectors"], np.float32)),
    )


@pytest.mark.parametrize("measure", EXPECTED)
def test_values_are_those_of_rectools(found: Evaluation, measure: str) -> None:
    name, _, k = measure.partition("@")
    if name == "coverage":
        assert found.coverage[measure] == pytest.approx(EXPECTED[measure]["all"], abs=1e-12)
        return
    values = dict(zip(found.query_ids, found.per_query[measure], strict=True))
    assert EXPECTED[measure].keys() == values.keys()
    for user, theirs in EXPECTED[measure].items():
        # Where a list is shorter than k, their code divides by its length, their documentation and ours by k.
        short = min(len(CASE["lists"][user]), int(k)) / int(k) if name == "serendipity" else 1
        assert values[user] == pytest.approx(theirs * short, abs=1e-6), user


def test_every_measure_that_both_have_was_compared(found: Evaluation) -> None:
    assert set(EXPECTED) == (found.per_query.keys() | found.coverage.keys()) - {"diversity@1"}
    assert np.isnan(found.per_query["diversity@1"]).all()
