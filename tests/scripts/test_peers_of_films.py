"""What two stages are compared with: lists read from a file, sums worked out by hand, and the best by each measure."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from retrieval import Interactions
from retrieval.evaluation import Evaluation
from retrieval.evaluation.baselines.recommender import Ranked
from retrieval.evaluation.splits.queries import EvaluationQueries
from retrieval.evaluation.splits.splits import Split
from scripts.benchmarks.recommend import peers_of_films
from scripts.benchmarks.recommend.kept_lists import as_ranked
from scripts.benchmarks.recommend.peer_models import (
    FAMILIES,
    Fits,
    Key,
    Known,
    Setting,
    is_random,
    matrix,
    named,
    silent,
    z_scores,
)
from scripts.benchmarks.recommend.peers_of_films import Measured, Peers, against, best, by_settings, listed

NOBODY = np.empty(0, np.int64)


def questions(histories: list[list[int]], weights: list[list[float]], items: int = 4) -> EvaluationQueries:
    names = tuple(f"u{line}" for line in range(len(histories)))
    return EvaluationQueries(
        items=ItemIds([f"x{row}" for row in range(items)]),
        query_ids=tuple(f"{name}@1" for name in names),
        user_ids=names,
        histories=tuple(np.array(rows, np.int64) for rows in histories),
        weights=tuple(np.array(line, np.float32) for line in weights),
        relevant=(frozenset({"x1"}),) * len(histories),
    )


def known(items: ItemIds) -> Known:
    count = len(items)
    sides = {"text_vector": np.eye(count, dtype=np.float32), "image_vector": np.eye(count, dtype=np.float32)}
    nothing = np.zeros((count, 1), np.float32)
    return Known(items, np.eye(count, dtype=np.float32), sides, nothing, np.zeros(count), nothing)


def test_z_scores_are_over_what_a_user_has_not_had() -> None:
    given = np.array([[-np.inf, 1, 2, 3], [-np.inf] * 4], np.float32)
    expected = [[-np.inf, -np.sqrt(1.5), 0, np.sqrt(1.5)], [0, 0, 0, 0]]
    np.testing.assert_allclose(z_scores(given), expected, rtol=1e-6)


def test_a_setting_is_the_sum_of_its_weighted_z_scores() -> None:
    asked = questions([[0]], [[5.0]])
    fits = Fits(known(asked.items), Interactions.from_arrow(pa.table({"user": ["a"], "item": ["x0"]})), asked)
    first: Key = ("popularity", 1.0)
    second: Key = ("popularity", 2.0)
    fits._scores[first] = np.array([[-np.inf, 1, 2, 3]], np.float32)
    fits._scores[second] = np.array([[-np.inf, 30, 0, 0]], np.float32)
    rows, scores = fits.ranked(((1.0, first), (2.0, second)), seed=0)
    assert rows[0, :4].tolist() == [1, 3, 2, -1]
    # z-scores (-1.22, 0, 1.22), and twice (1.41, -.71, -.71)
    expected = [2 * np.sqrt(2) - np.sqrt(1.5), np.sqrt(1.5) - np.sqrt(2), -np.sqrt(2)]
    np.testing.assert_allclose(scores[0, :3], expected, rtol=1e-6)


def test_content_as_side_information_says_what_users_do_not() -> None:
    items = ItemIds(["x0", "x1", "x2"])
    log = {"user": ["a", "b"], "item": ["x0", "x2"], "rating": [4.0, 4.0], "time": [1, 2]}
    alike = np.array([[1, 0], [1, 0], [0, 1]], np.float32)  # x1 is as x0
    nothing = np.zeros((3, 1), np.float32)
    films = Known(items, alike, {"text_vector": alike, "image_vector": alike}, nothing, np.zeros(3), nothing)
    asked = questions([[0]], [[4.0]], items=3)
    fits = Fits(films, Interactions.from_arrow(pa.table(log)), asked)
    assert fits.ranked(((1.0, ("EASE, content", 10.0, 1.0, None)),), 0).rows[0, 0] == 1


def test_who_has_no_history_or_liked_nothing_is_unheard() -> None:
    asked = questions([[], [0], [0]], [[], [2.0], [5.0]])
    for key, expected in {
        ("EASE, liked", 200.0, None): [True, True, False],
        ("iALS", 1.0, 32): [True, False, False],
        ("popularity", 5.0): [False, False, False],
    }.items():
        assert silent(((1.0, key),), asked).tolist() == expected


def test_the_best_setting_is_that_of_the_users_who_are_asked_about() -> None:
    one: Setting = ((1.0, ("popularity", 1.0)),)
    other: Setting = ((1.0, ("popularity", 2.0)),)
    asked = questions([[], [0]], [[], [5.0]])
    measured = Measured(asked, {}, {one: np.array([0.1, 0.9]), other: np.array([0.2, 0.3])})
    assert best([one, other], [measured], [np.array([True, False])]) == other
    assert best([one, other], [measured], [np.array([False, True])]) == one
    assert best([one, other], [measured], [np.array([False, False])]) == one  # nobody: all


def test_settings_have_names_of_their_own_and_families_one_kind_of_seeds() -> None:
    every = [one for settings in FAMILIES.values() for one in settings]
    assert len({named(one) for one in every}) == len(every)
    for settings in FAMILIES.values():
        assert len({is_random(one) for one in settings}) == 1


def test_ratings_stand_where_users_and_items_meet() -> None:
    log = Interactions.from_arrow(pa.table({"user": ["b", "a"], "item": ["x1", "x0"], "rating": [4.0, 2.0]}))
    found = matrix(log, ItemIds(["x0", "x1"]), ["a", "b", "c"])
    assert found.tolist() == [[2.0, 0.0], [0.0, 4.0], [0.0, 0.0]]


def test_lists_are_read_by_user_and_window(tmp_path: Path) -> None:
    columns = {
        "user_id": ["u1", "u1", "u1", "u2"],
        "item_id": ["x2", "x0", "x1", "x1"],
        "rank": [2, 1, 1, 1],
        "window": [1, 1, 2, 1],
        "settings": ["few"] * 4,
    }
    file = tmp_path / "rolling-0.parquet"
    pq.write_table(pa.table(columns), file)
    asked = questions([[], [0]], [[], [1.0]], items=3)
    otherwise: Rows = np.tile(np.array([1, 2, 0]), (2, 1))
    rows, scores = listed(file, 1, asked, as_ranked(otherwise))
    assert rows.tolist() == [[1, 2, 0], [0, 2, -1]]
    assert (np.diff(scores[1, :2]) < 0).all()
    assert by_settings([file]) == {"few": [file]}


def test_each_measure_has_its_best_peer() -> None:
    def of(recall: list[float], ndcg: list[float]) -> Evaluation:
        each = {"recall@20": np.array(recall), "ndcg@20": np.array(ndcg)}
        return Evaluation(("q1", "q2"), each, {"coverage@20": 1.0}, 0)

    peers = {"one": of([0.5, 0.5], [0.1, 0.2]), "other": of([0.2, 0.3], [0.3, 0.2])}
    summary = against(peers, of([0.6, 0.8], [0.2, 0.2]))
    assert (summary["best peer by recall@20"], summary["best peer by ndcg@20"]) == ("one", "other")
    assert summary["recall@20 above the best peer"][0] == 0.2
    assert summary["recall@20 as a multiple of the best peer"] == 1.4
    assert summary["ndcg@20 above the best peer"][0] == -0.05


def test_peers_are_chosen_before_and_fitted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On valid the second setting is the better one; on test each user is answered by it, new ones by popularity."""
    items = ItemIds(["x0", "x1", "x2"])
    first: Setting = ((1.0, ("iALS", 1.0, 32)),)
    second: Setting = ((1.0, ("iALS", 2.0, 32)),)
    popular: Setting = ((1.0, ("popularity", None)),)
    tops = {first: 0, second: 1, popular: 2}
    fits: list[Setting] = []

    def lists(_: Fits, setting: Setting) -> list[Ranked]:
        fits.append(setting)
        return [as_ranked(np.full((2, 1), tops[setting]))]

    monkeypatch.setattr(Fits, "lists", lists)
    monkeypatch.setattr(peers_of_films, "ask", lambda *_: questions([[], [0]], [[], [5.0]], items=3))
    log = Interactions.from_arrow(pa.table({"user": ["u1"], "item": ["x0"], "rating": [5.0], "time": [1]}))
    split = Split("any", log, log)
    families = {"popularity": [popular], "iALS": [first, second]}
    for _ in range(2):
        films: Any = SimpleNamespace(items=items)
        peers = Peers(films, known(items), tmp_path, families)
        found, chosen = peers.answers("test", split, {"valid": split})
        assert chosen["iALS"] == "1 x iALS, 2.0, 32"  # x1 is what is wanted
        assert found["iALS"][0].rows.tolist() == [[2], [1]]
        assert found["popularity"][0].rows.tolist() == [[2], [2]]
    assert len(fits) == 2 * 3
