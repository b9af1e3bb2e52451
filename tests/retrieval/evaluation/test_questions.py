"""What a split asks: histories, what is to be found, and what is left out."""

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.evaluation import evaluate
from retrieval.evaluation.splits.leaks import check_answers
from retrieval.evaluation.splits.queries import evaluation_queries, pooled
from retrieval.evaluation.splits.splits import Split, at_time, rolling_windows
from retrieval.interactions.interactions import Interactions

ITEMS = ItemIds(["mug", "cup", "jar", "pot"])
LOG = [
    ("bob", "cup", 10, 5.0),
    ("ann", "jar", 20, 2.0),
    ("ann", "mug", 30, 4.0),
    ("ann", "jar", 40, 5.0),  # in the history already
    ("bob", "pot", 41, 3.0),  # weighs too little
    ("cem", "mug", 42, 4.0),  # a new user
    ("cem", "mug", 43, 5.0),  # asked for already
    ("ann", "pan", 44, 4.0),  # not in the catalogue
    ("dan", "mug", 45, 1.0),  # weighs too little
]


def made_of(rows: list[tuple[str, str, int, float]]) -> Interactions:
    columns = zip(*rows, strict=True)
    return Interactions.from_arrow(pa.table(dict(zip(("user", "item", "time", "weight"), columns, strict=True))))


@pytest.fixture
def split() -> Split:
    return at_time(made_of(LOG), 40)


def test_each_user_is_asked_once_for_what_is_new(split: Split) -> None:
    asked = evaluation_queries(split, ITEMS, min_weight=4)
    assert asked.user_ids == ("ann", "cem")
    assert asked.query_ids == ("ann@at_time", "cem@at_time")
    assert [history.tolist() for history in asked.histories] == [[2, 0], []]
    assert [weights.tolist() for weights in asked.weights] == [[2.0, 4.0], []]
    assert list(map(set, asked.relevant)) == [{"pan"}, {"mug"}]
    assert asked.new.tolist() == [False, True]
    assert asked.left_out == {"weighs too little": 2, "in the history already": 1, "asked for already": 1}
    seen = {q: [ITEMS[row] for row in rows] for q, rows in zip(asked.query_ids, asked.histories, strict=True)}
    check_answers(dict(zip(asked.query_ids, asked.relevant, strict=True)), seen)


def test_without_a_weight_everything_counts(split: Split) -> None:
    asked = evaluation_queries(split, ITEMS)
    assert dict(zip(asked.user_ids, asked.relevant, strict=True)) == {
        "ann": {"pan"},
        "bob": {"pot"},
        "cem": {"mug"},
        "dan": {"mug"},
    }


def test_nothing_to_find_is_refused(split: Split) -> None:
    with pytest.raises(InputError, match=r"no user of .* has relevant items; left out: {'weighs too little': 6"):
        evaluation_queries(split, ITEMS, min_weight=6)


def test_windows_are_judged_as_one() -> None:
    windows = rolling_windows(made_of([*LOG, ("cem", "pot", 50, 5.0)]), 2, 8)  # 35 to 42, 43 to 50
    asked = [evaluation_queries(window, ITEMS, min_weight=4) for window in windows]
    assert [one.query_ids for one in asked] == [("cem@window-1",), ("ann@window-2", "cem@window-2")]
    scores = np.array([[2.0, 1.0]], np.float32)
    first = asked[0].candidates(np.array([[0, 1]]), scores, "popularity")
    second = asked[1].candidates(np.array([[1, 2], [1, 3]]), np.tile(scores, (2, 1)), "popularity")
    together = pooled([first, second])
    assert together.query_ids == ("cem@window-1", "ann@window-2", "cem@window-2")
    # By then ann has liked the jar more than at first, after the mug.
    assert [history.tolist() for history in together.histories] == [[], [0, 2], [0]]
    found = evaluate(together, [one for part in asked for one in part.relevant], measures=["mrr@2"])
    assert found.per_query["mrr@2"].tolist() == [1.0, 0.0, 0.5]
    with pytest.raises(ShapeError, match="do not belong together"):
        pooled([first, second.top(1)])
