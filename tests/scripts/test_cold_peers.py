"""Peers for films that nobody has seen: the ridge regression worked out anew, and films hidden once each."""

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from retrieval import Interactions
from retrieval.evaluation.splits.queries import EvaluationQueries
from scripts.benchmarks.recommend.cold_peers import Hidden, parted
from scripts.benchmarks.recommend.peer_models import Known

COUNT, HIDDEN = 12, 3


@pytest.fixture(scope="module")
def hidden() -> Hidden:
    rng = np.random.default_rng(0)
    items = ItemIds([f"x{row:02}" for row in range(COUNT)])
    texts, images = (rng.normal(size=(COUNT, 4)).astype(np.float32) for _ in range(2))
    genres = (rng.random((COUNT, 3)) < 0.5).astype(np.float32)
    bumps = rng.random((COUNT, 2)).astype(np.float32)
    known = Known(items, texts, {"text_vector": texts, "image_vector": images}, genres, np.arange(1990.0, 2002), bumps)
    users = [f"u{line}" for line in range(6)]
    lines = [(user, row, rating) for user in range(6) for row in range(COUNT - HIDDEN) if (rating := (user + row) % 6)]
    log = {
        "user": [users[user] for user, _, _ in lines],
        "item": [items[row] for _, row, _ in lines],
        "rating": [float(rating) for _, _, rating in lines],
        "time": list(range(len(lines))),
    }
    histories = [np.array([row for user, row, _ in lines if user == one]) for one in range(6)]
    weights = [np.array([rating for user, _, rating in lines if user == one], np.float32) for one in range(6)]
    asked = EvaluationQueries(
        items=items,
        query_ids=tuple(users),
        user_ids=tuple(users),
        histories=tuple(histories),
        weights=tuple(weights),
        relevant=(frozenset({items[COUNT - 1]}),) * 6,
    )
    return Hidden(known, Interactions.from_arrow(pa.table(log)), asked, np.arange(COUNT) >= COUNT - HIDDEN)


@pytest.mark.parametrize("features", ["texts", "texts, genres, years", "all"])
def test_the_ridge_regression_is_that_of_weighted_least_squares(hidden: Hidden, features: str) -> None:
    read, wanted = hidden.read(features), np.arange(COUNT, dtype=np.float64)
    weights = np.log1p(hidden.counts)
    rows, ends = np.sqrt(weights)[:, None] * read, np.sqrt(weights) * wanted
    strong = np.sqrt(5.0) * np.eye(read.shape[1])
    solved = np.linalg.lstsq(np.concatenate([rows, strong]), np.concatenate([ends, np.zeros(len(strong))]), rcond=None)
    np.testing.assert_allclose(
        hidden.says(features, 5.0) @ wanted, read[hidden.hidden] @ solved[0], rtol=1e-6, atol=1e-8
    )


def test_hidden_films_say_nothing_and_are_all_that_is_ranked(hidden: Hidden) -> None:
    assert (hidden.counts[hidden.hidden] == 0).all()
    np.testing.assert_array_equal(hidden.says("all", 5.0)[:, hidden.hidden], 0.0)
    rows, _ = hidden.ranked(np.tile(np.array([0.1, 0.3, 0.2], np.float32), (6, 1)))
    assert rows[:, :HIDDEN].tolist() == [[10, 11, 9]] * 6
    assert hidden.gains.tolist() == [[0, 0, 1]] * 6


def test_every_user_and_hidden_film_has_all_facts(hidden: Hidden) -> None:
    facts = hidden.facts()
    assert {one.shape for one in facts.values()} == {(6, HIDDEN)}
    assert all(np.isfinite(one).all() for one in facts.values())
    np.testing.assert_array_equal(facts["year"][0], [1999.0, 2000.0, 2001.0])


def test_each_film_is_hidden_once() -> None:
    log = Interactions.from_arrow(pa.table({"user": ["a"] * 8, "item": [f"x{n}" for n in range(8)]}))
    parts = parted(log, 3)
    assert sorted(item for part in parts for item in part) == [f"x{n}" for n in range(8)]
    assert sorted(map(len, parts)) == [2, 3, 3]
    assert parted(log, 3) == parts != parted(log, 3, draw=1)
