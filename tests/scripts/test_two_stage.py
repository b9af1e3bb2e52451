"""How lists become tables: rows of ours beside the best peer, users apart, and what new films cost the others."""

import numpy as np
import pytest

from indexing.catalogue.item_ids import ItemIds
from retrieval.evaluation.baselines.recommender import Ranked
from retrieval.evaluation.splits.queries import EvaluationQueries
from scripts.benchmarks.recommend.kept_lists import as_ranked
from scripts.benchmarks.recommend.two_stage import among_all, asked_for, compared

ITEMS = ItemIds([f"x{row}" for row in range(6)])


def questions(relevant: list[set[str]], histories: list[list[int]], window: int = 1) -> EvaluationQueries:
    names = tuple(f"u{line}" for line in range(len(relevant)))
    return EvaluationQueries(
        items=ITEMS,
        query_ids=tuple(f"{name}@{window}" for name in names),
        user_ids=names,
        histories=tuple(np.array(rows, np.int64) for rows in histories),
        weights=tuple(np.ones(len(rows), np.float32) for rows in histories),
        relevant=tuple(map(frozenset, relevant)),
    )


def lists(*rows: list[int]) -> list[Ranked]:
    return [as_ranked(np.array(rows, np.int64))]


def test_ours_are_compared_with_the_best_peer_of_the_very_users() -> None:
    asked = questions([{"x0"}, {"x1"}], [[5], []])
    answers = {
        "two stages": lists([0], [1]),
        "good for those with a history": lists([0], [2]),
        "good for new users": lists([2], [1]),
    }
    table = compared([(asked, answers)])
    ours = table["two stages"]
    assert ours["all"]["recall@20"][0] == 1.0
    assert ours["all"]["recall@20 above the best peer"][0] == 0.5
    assert ours["new"]["best peer by recall@20"] == "good for new users"
    assert ours["new"]["recall@20 above the best peer"] == [0.0, 0.0, 0.0]
    assert "best peer by recall@20" not in table["good for new users"]["all"]
    assert table["two stages, each seed"][0]["with a history"] == {"recall@20": 1.0, "ndcg@20": 1.0}


def test_windows_are_judged_as_one_and_seeds_as_their_mean() -> None:
    first, second = questions([{"x0"}], [[5]]), questions([{"x1"}], [[5]], window=2)
    hit, miss = lists([0]), lists([2])
    cuts = [
        (first, {"two stages": [*hit, *miss], "peer": miss}),
        (second, {"two stages": [*miss, *lists([1])], "peer": lists([1])}),
    ]
    table = compared(cuts)
    assert table["two stages"]["all"]["recall@20"][0] == 0.5
    assert table["peer"]["all"]["recall@20"][0] == 0.5
    assert [one["all"]["recall@20"] for one in table["two stages, each seed"]] == [0.5, 0.5]


def test_what_new_films_cost_is_reported_of_the_other_films() -> None:
    """The new film x0 stands where x1 was: who likes x1 loses it, who likes x0 wins."""
    asked = questions([{"x0"}, {"x1"}], [[5], [5]])
    both = {
        f"{row}, {way}": found
        for row in ("two stages", "retrieval alone")
        for way, found in {"with new films": lists([0], [0]), "without new films": lists([1], [1])}.items()
    }
    table = among_all(asked, both, {"x0"})
    assert table["two stages, with new films"]["places of new films"] == 1.0
    assert table["two stages, without new films"]["places of new films"] == 0.0
    assert table["two stages, with new films"]["recall@20"][0] == 0.5
    assert table["two stages, what new films cost the others"]["recall@20"] == pytest.approx([-1.0, -1.0, -1.0])


def test_questions_can_be_about_some_films_only() -> None:
    asked = questions([{"x0", "x1"}, {"x0"}], [[5], [4]])
    some = asked_for(asked, [0], {"x0"})
    assert (some.user_ids, some.relevant) == (("u0",), (frozenset({"x1"}),))
