"""How a benchmark asks what was fitted: by the log, rows in the catalogue's order, and nobody left out."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval import Interactions
from retrieval.evaluation.splits.queries import EvaluationQueries
from scripts.benchmarks.recommend.film_bundle import recommended

LOG = Interactions.from_arrow(pa.table({"user": ["ann"], "item": ["x0"], "rating": [5.0], "time": [1]}))
ASKED = EvaluationQueries(
    items=ItemIds(["x0", "x1", "x2"]),
    query_ids=("ann@1", "bob@1"),
    user_ids=("ann", "bob"),
    histories=(np.array([0]), np.empty(0, np.int64)),
    weights=(np.array([5.0], np.float32), np.empty(0, np.float32)),
    relevant=(frozenset({"x1"}), frozenset({"x1"})),
)


class Answering:
    """A bundle in another order that always finds its first item, for who has a history, or for all."""

    items = ItemIds(["x2", "x1", "x0"])

    def __init__(self, *, to_all: bool) -> None:
        self.to_all, self.asked = to_all, list[Any]()

    def recommend(self, given: Any, k: int, **wishes: Any) -> SimpleNamespace:  # noqa: ANN401
        self.asked.append((given, k, wishes))
        if isinstance(given, list) and not self.to_all:
            raise InputError("history 0 is empty")
        count = len(wishes["user_ids"])
        return SimpleNamespace(rows=np.tile([0, -1], (count, 1)), scores=np.tile([0.5, -np.inf], (count, 1)))


def test_the_log_asks_for_whom_it_knows_and_an_empty_history_for_others() -> None:
    bundle: Any = Answering(to_all=True)
    found = recommended(bundle, LOG, ASKED, 9, k=2, stages="all")
    assert found.rows.tolist() == [[2, -1], [2, -1]]  # x2
    (by_log, _, wishes), (by_nothing, _, _) = bundle.asked
    assert by_log is LOG
    assert wishes == {"user_ids": ["ann"], "times": 9, "stages": "all"}
    assert by_nothing == [[]]


def test_who_gets_nothing_has_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    bundle: Any = Answering(to_all=False)
    found = recommended(bundle, LOG, ASKED, k=2)
    assert found.rows.tolist() == [[2, -1], [-1, -1]]
    assert "users without a history get nothing: history 0 is empty" in capsys.readouterr().out
