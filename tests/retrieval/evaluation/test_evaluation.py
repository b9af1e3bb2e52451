"""The judge as a whole: which queries count, what is reported, and what is refused."""

import json

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.evaluation import Evaluation, evaluate

ITEMS = ItemIds(["a", "b", "c", "d", "e"])


def ranked(
    lines: list[list[int]], items: ItemIds = ITEMS, scores: Vectors | None = None, query_ids: tuple[str, ...] = ()
) -> Candidates:
    rows = np.array(lines, np.int64).reshape(len(lines), -1)
    if scores is None:
        scores = np.where(rows >= 0, -np.arange(rows.shape[1]), -np.inf).astype(np.float32)
    return Candidates(np.zeros((len(rows), 2), np.float32), rows, scores, items, "retrieve", query_ids=query_ids)


def test_means_are_over_queries_with_relevant_items() -> None:
    found = evaluate(
        ranked([[0, 1], [0, 1], [2, 3]], query_ids=("ann", "bob", "cem")),
        [{"a"}, set(), {"d", "e"}],
        measures=["recall@2", "mrr@2"],
    )
    assert found.query_ids == ("ann", "cem")
    assert found.skipped == 1
    assert found.per_query["recall@2"].tolist() == [1.0, 0.5]
    assert found.per_query["mrr@2"].tolist() == [1.0, 0.5]
    assert found.means == {"recall@2": 0.75, "mrr@2": 0.75}


def test_coverage_is_of_the_judged_queries_for_every_k() -> None:
    found = evaluate(
        ranked([[0, 1, 2], [0, 3, -1], [4, 4, 4]]), [{"a"}, {"b"}, set()], measures=["recall@2", "ndcg@1", "mrr@2"]
    )
    assert found.coverage == {"coverage@1": 1 / 5, "coverage@2": 3 / 5}


def test_the_order_of_equal_scores_is_kept() -> None:
    even = np.zeros((1, 5), np.float32)
    for line in ([4, 3, 2, 1, 0], [0, 1, 2, 3, 4], [2, 0, 4, 1, 3]):
        # Relevant are the second, the fourth and one that is not there.
        found = evaluate(
            ranked([line], scores=even),
            [{ITEMS[line[1]], ITEMS[line[3]], "gone"}],
            measures=["mrr@5", "recall@3", "precision@3", "hit_rate@1", "ndcg@3", "map@5"],
        )
        third = 1 / np.log2(3)
        expected = [1 / 2, 1 / 3, 1 / 3, 0, third / (1 + third + 1 / 2), (1 / 2 + 2 / 4) / 3]
        np.testing.assert_allclose(list(found.means.values()), expected, atol=1e-12)


def test_query_ids_that_look_alike_are_kept_apart() -> None:
    names = ("1", "01", "1 ", "1", "é", "e\u0301")
    relevant = [{"a"}, {"b"}, {"c"}, {"d"}, {"e"}, {"gone"}]
    found = evaluate(ranked([[0, 1, 2, 3, 4]] * 6, query_ids=names), relevant, measures=["mrr@5"])
    assert found.query_ids == names
    np.testing.assert_allclose(found.per_query["mrr@5"], [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 0])


def test_item_ids_may_hold_anything_printable() -> None:
    items = ItemIds(["a b", "a\u00a0b".replace("\u00a0", "\u2010"), "-1", "0", "nothing 0", "absent 0"])
    for row, item_id in enumerate(items):
        line = [row, *(other for other in range(len(items)) if other != row)]
        found = evaluate(ranked([line], items), [{item_id, "elsewhere"}], measures=["mrr@1", "recall@6"])
        assert found.means == {"mrr@1": 1.0, "recall@6": 0.5}


def test_a_random_rankers_interval_covers_the_expected_value() -> None:
    rng = np.random.default_rng(11)
    items = ItemIds([f"item-{number}" for number in range(50)])
    lines = [rng.permutation(50)[:10].tolist() for _ in range(400)]
    relevant = [{items[row] for row in rng.choice(50, 4, replace=False).tolist()} for _ in lines]
    found = evaluate(ranked(lines, items), relevant, measures=["recall@10", "precision@10", "hit_rate@1"])
    # Each relevant item is in a random tenth-of-fifty with chance 10/50, and on top with chance 4/50.
    for measure, expected in {"recall@10": 10 / 50, "precision@10": 4 / 50, "hit_rate@1": 4 / 50}.items():
        low, high = found.interval(measure)
        assert low < expected < high
        assert high - low < 0.06


def test_the_interval_of_a_random_ranker_covers_the_expected_value_about_as_often_as_it_says() -> None:
    """Of a random order of N items, each relevant one is in the top k with chance k / N: recall k / N on average."""
    rng = np.random.default_rng(12)
    items = ItemIds([f"item-{number}" for number in range(20)])
    lines = rng.permuted(np.tile(np.arange(20), (200 * 40, 1)), axis=1)[:, :5]
    relevant = [{items[row] for row in rng.choice(20, 3, replace=False).tolist()} for _ in lines]
    values = evaluate(ranked(lines.tolist(), items), relevant, measures=["recall@5"]).per_query["recall@5"]
    covered = 0
    for repetition, some in enumerate(values.reshape(200, 40)):
        one = Evaluation(tuple(map(str, range(40))), {"recall@5": some}, {}, 0)
        low, high = one.interval("recall@5", seed=repetition, resamples=300)
        covered += low <= 5 / 20 <= high
    assert 0.90 * 200 <= covered <= 0.99 * 200


def some_evaluation() -> Evaluation:
    rng = np.random.default_rng(0)
    lines = [rng.permutation(5)[:3].tolist() for _ in range(40)]
    return evaluate(ranked(lines), [{"a", "b"}] * 39 + [set()], measures=["recall@3", "ndcg@3"])


def test_table_json_and_intervals_agree() -> None:
    found = some_evaluation()
    assert [row.measure for row in found.table()] == ["recall@3", "ndcg@3"]
    for row in found.table():
        assert row.mean == found.means[row.measure]
        assert (row.low, row.high) == found.interval(row.measure)
        assert row.low < row.mean < row.high
    as_json = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert as_json == {
        "queries": 39,
        "skipped": 1,
        "means": found.means,
        "intervals": {measure: list(found.interval(measure)) for measure in found.means},
        "undefined": {},
        "coverage": {"coverage@3": 1.0},
        "catalogue": {},
    }


def test_text_shows_every_figure_once() -> None:
    found = some_evaluation()
    lines = str(found).splitlines()
    low, high = found.interval("recall@3")
    assert lines[1].split() == ["recall@3", f"{found.means['recall@3']:.4f}", f"{low:.4f}", "to", f"{high:.4f}"]
    assert lines[3].split() == ["coverage@3", "1.0000"]
    assert lines[-1] == "39 queries; 1 without relevant items left out"
    assert repr(found).startswith("<Evaluation 39 queries: recall@3 0.")


def test_default_measures() -> None:
    found = evaluate(ranked([[0, 1]]), [["b"]])
    assert list(found.means) == ["recall@10", "recall@20", "ndcg@10", "ndcg@20", "mrr@10", "precision@10"]
    assert list(found.coverage) == ["coverage@10", "coverage@20"]
    assert found.means["precision@10"] == pytest.approx(0.1)


def test_lists_without_any_candidate_find_nothing() -> None:
    found = evaluate(ranked([[], []]), [{"a"}, {"b"}])
    assert set(found.means.values()) == {0.0}
    assert set(found.coverage.values()) == {0.0}


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(ShapeError, match="1 collections of relevant items for 2 queries"):
        evaluate(ranked([[0], [1]]), [{"a"}])
    with pytest.raises(InputError, match="not text such as 'a'"):
        evaluate(ranked([[0]]), ["a"])
    with pytest.raises(InputError, match="none of 2 queries has relevant items"):
        evaluate(ranked([[0], [1]]), [set(), []])
    with pytest.raises(InputError, match=r"no measure 'auc@10'; those known are recall@k"):
        evaluate(ranked([[0]]), [{"a"}], measures=["recall@10", "auc@10"])
    with pytest.raises(InputError, match=r"'recall@7' was not measured; 'recall@3', 'ndcg@3' were"):
        some_evaluation().interval("recall@7")
