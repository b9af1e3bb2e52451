"""Paired comparisons against scipy and against hand-made cases."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from indexing.errors import InputError
from retrieval.evaluation import Comparison, Evaluation, compare
from retrieval.evaluation.statistics import bootstrap_intervals, holm, randomisation_test


def evaluation(values: dict[str, list[float]], ids: str | None = None) -> Evaluation:
    count = len(next(iter(values.values())))
    names = tuple(ids or "abcdefghijklmnopqrstuvwxyz"[:count])
    return Evaluation(names, {name: np.array(one, float) for name, one in values.items()}, {}, 0)


def theirs(differences: NDArray[np.float64], resamples: int) -> float:
    """scipy's own test, one query at a time."""
    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def test_few_queries_are_tried_with_every_sign_and_agree_with_scipy() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, (10, 4))
    differences[:, 2] = 0
    differences[:, 3] = np.round(differences[:, 3])  # with ties among the sums
    expected = [theirs(column, 5000) for column in differences.T]
    np.testing.assert_allclose(randomisation_test(differences, resamples=5000), expected, atol=1e-12)


def test_three_queries_by_hand() -> None:
    # Of eight sign patterns of 3, 2 and 1 only two sum to 6 or -6; of 1, 1, 0 four reach 2 or -2.
    p = randomisation_test(np.array([[3.0, 1], [2, 1], [1, 0]]))
    assert p.tolist() == [2 / 8, 4 / 8]


def test_many_queries_are_sampled_and_come_near_the_t_test() -> None:
    differences = np.random.default_rng(3).normal(0.1, 1, (400, 2))
    p = randomisation_test(differences, resamples=4000)
    for column, found in zip(differences.T, p, strict=True):
        assert found == pytest.approx(stats.ttest_1samp(column, 0).pvalue, abs=0.02)
    np.testing.assert_array_equal(p, randomisation_test(differences, resamples=4000))
    assert randomisation_test(np.ones((50, 1)), resamples=99).tolist() == [1 / 100]


def test_equal_systems_are_called_different_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(4)
    columns = rng.normal(size=(30, 400))  # 400 comparisons of equals, tested at once
    share = float(np.mean(randomisation_test(columns, resamples=1000) < 0.05))
    assert 0.02 < share < 0.085


def test_what_is_not_defined_says_nothing() -> None:
    values = np.random.default_rng(5).normal(size=(9, 1))
    with_gaps = np.concatenate([values, np.full((3, 1), np.nan)])
    np.testing.assert_allclose(randomisation_test(with_gaps), randomisation_test(values))


def test_holm_by_hand() -> None:
    # Sorted .005, .01, .03, .04 times 4, 3, 2, 1 is .02, .03, .06, .04; the last may not be below the one before.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([0.2])).tolist() == [0.2]


def test_queries_are_paired_by_id() -> None:
    a = evaluation({"mrr@5": [0.0, 0.5, 1.0, 0.25]}, "abcd")
    b = evaluation({"mrr@5": [1.0, 0.75, 0.5]}, "cbx")
    found = compare(a, b)
    assert (found.queries, found.only_a, found.only_b) == (2, 2, 1)
    (row,) = found.rows
    # b: .5 and .75, c: 1 and 1.
    assert (row.measure, row.mean_a, row.mean_b, row.difference) == ("mrr@5", 0.75, 0.875, 0.125)
    assert (row.low, row.high, row.queries) == (0, 0.25, 2)
    assert row.p == row.p_corrected == 1.0  # both signs of the one difference are as large
    assert compare(b, a).rows[0].difference == -0.125


def test_identical_systems() -> None:
    values = np.random.default_rng(0).random((300, 2))
    one = Evaluation(tuple(map(str, range(300))), {"mrr@5": values[:, 0], "recall@5": values[:, 1]}, {}, 0)
    for row in compare(one, one, resamples=500).rows:
        assert (row.difference, row.low, row.high, row.p, row.p_corrected) == (0, 0, 0, 1, 1)


def test_rows_are_the_parts_put_together() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.random((2, 60, 3))
    second += [0, 0.05, 0.2]
    names, ids = ("recall@5", "ndcg@5", "mrr@5"), tuple(map(str, range(60)))
    a, b = (Evaluation(ids, dict(zip(names, one.T, strict=True)), {}, 0) for one in (first, second))
    found = compare(a, b, seed=3, resamples=800, level=0.9)
    intervals = bootstrap_intervals(second - first, level=0.9, seed=3, resamples=800)
    p = randomisation_test(second - first, seed=3, resamples=800)
    for line, row in enumerate(found.rows):
        assert row.difference == pytest.approx(second[:, line].mean() - first[:, line].mean())
        assert (row.low, row.high) == tuple(intervals[line])
        assert (row.p, row.p_corrected) == (p[line], holm(p)[line])
    assert found.rows[2].p_corrected < 0.05 < found.rows[0].p_corrected
    assert [row.measure for row in compare(a, b, measures=["mrr@5"], resamples=99).rows] == ["mrr@5"]
    assert found.table() == list(found.rows)


def shown(found: Comparison) -> list[list[str]]:
    return [line.split() for line in str(found).splitlines()]


def test_text_and_json() -> None:
    nan = float("nan")
    a = evaluation({"mrr@5": [0.0, 0.5, 1.0], "novelty@5": [1.0, nan, 3.0], "diversity@5": [nan, nan, nan]})
    b = evaluation({"mrr@5": [0.5, 0.5, 1.0], "novelty@5": [2.0, 5.0, nan], "diversity@5": [1.0, 1.0, 1.0]})
    found = compare(a, b)
    as_json = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {name: as_json[name] for name in ("queries", "only_a", "only_b", "level")} == {
        "queries": 3,
        "only_a": 0,
        "only_b": 0,
        "level": 0.95,
    }
    assert [row["queries"] for row in as_json["rows"]] == [3, 1, 0]
    assert as_json["rows"][1] == {
        "measure": "novelty@5",
        "mean_a": 1.0,
        "mean_b": 2.0,
        "difference": 1.0,
        "low": 1.0,
        "high": 1.0,
        "p": 1.0,
        "p_corrected": 1.0,
        "queries": 1,
    }
    assert as_json["rows"][2]["difference"] is None
    lines = shown(found)
    assert lines[0][:7] == ["measure", "a", "b", "b", "-", "a", "95"]
    assert lines[1][:4] == ["mrr@5", "0.5000", "0.6667", "+0.1667"]
    assert lines[-1] == ["3", "queries"]
    assert shown(compare(a, evaluation({"mrr@5": [1.0]}, "a")))[-1] == [
        "1",
        "queries;",
        "2",
        "only",
        "in",
        "a,",
        "0",
        "only",
        "in",
        "b",
    ]


def test_what_cannot_be_compared_is_refused() -> None:
    a = evaluation({"mrr@5": [1.0, 0.0]}, "ab")
    with pytest.raises(InputError, match="no query in common: 'a', 'b' and 'x', 'y'"):
        compare(a, evaluation({"mrr@5": [1.0, 0.0]}, "xy"))
    with pytest.raises(InputError, match="no measure was taken of both: 'mrr@5' and 'mrr@9'"):
        compare(a, evaluation({"mrr@9": [1.0, 0.0]}, "ab"))
    with pytest.raises(InputError, match=r"'recall@5' was not measured of both; 'mrr@5' were"):
        compare(a, a, measures=["mrr@5", "recall@5"])
    with pytest.raises(InputError, match="1 query ids appear more than once"):
        compare(a, evaluation({"mrr@5": [1.0, 0.0]}, "aa"))
