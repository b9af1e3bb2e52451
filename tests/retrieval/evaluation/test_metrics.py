"""Every measure by hand, and against an independent computation in a few lines of numpy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.evaluation import metrics
from retrieval.evaluation.metrics import coverage, cutoffs, per_query

ITEMS = ItemIds(["a", "b", "c", "d", "e", "f", "g", "h"])


def measure(name: str, line: list[int], relevant: set[str]) -> float:
    rows = np.array([line], np.int64)
    return float(per_query(rows, [relevant], ITEMS, [name])[name][0])


LOG2_3, LOG2_5 = np.log2(3), np.log2(5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The list is b, a, d, c, e; relevant are a (rank 2), c (rank 4) and h (not found).
        ("recall@1", 0 / 3),
        ("recall@2", 1 / 3),
        ("recall@4", 2 / 3),
        ("recall@5", 2 / 3),
        ("recall@100", 2 / 3),
        ("precision@1", 0 / 1),
        ("precision@2", 1 / 2),
        ("precision@4", 2 / 4),
        ("precision@5", 2 / 5),
        ("precision@10", 2 / 10),  # the list holds 5, and is still divided by 10
        ("mrr@1", 0.0),
        ("mrr@2", 1 / 2),
        ("mrr@5", 1 / 2),
        ("hit_rate@1", 0.0),
        ("hit_rate@2", 1.0),
        # Gain 1/log2(1+2) for a, 1/log2(1+4) for c; the best list has three relevant items on top.
        ("ndcg@1", 0.0),
        ("ndcg@2", (1 / LOG2_3) / (1 + 1 / LOG2_3)),
        ("ndcg@4", (1 / LOG2_3 + 1 / LOG2_5) / (1 + 1 / LOG2_3 + 1 / 2)),
        ("ndcg@5", (1 / LOG2_3 + 1 / LOG2_5) / (1 + 1 / LOG2_3 + 1 / 2)),
        # Precision 1/2 at a, 2/4 at c, over three relevant items.
        ("map@2", (1 / 2) / 3),
        ("map@5", (1 / 2 + 2 / 4) / 3),
    ],
)
def test_by_hand(name: str, expected: float) -> None:
    assert measure(name, [1, 0, 3, 2, 4], {"a", "c", "h"}) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["recall@3", "ndcg@3", "mrr@3", "hit_rate@3", "map@3", "precision@3"])
def test_a_perfect_list_has_one_and_an_empty_list_nothing(name: str) -> None:
    assert measure(name, [2, 0, 1], {"a", "b", "c"}) == pytest.approx(1)
    assert measure(name, [-1, -1, -1], {"a", "b", "c"}) == 0
    assert per_query(np.empty((1, 0), np.int64), [{"a"}], ITEMS, [name])[name].tolist() == [0.0]


def test_recall_is_divided_by_the_relevant_items_also_when_k_is_smaller() -> None:
    assert measure("recall@2", [0, 1], {"a", "b", "c", "d"}) == pytest.approx(2 / 4)


def test_short_lists_are_judged_as_they_are() -> None:
    assert measure("recall@3", [4, 0, -1, -1], {"a", "b"}) == pytest.approx(1 / 2)
    assert measure("ndcg@3", [4, 0, -1, -1], {"a", "b"}) == pytest.approx((1 / LOG2_3) / (1 + 1 / LOG2_3))


def test_relevant_items_outside_the_catalogue_count_and_cannot_be_found() -> None:
    assert measure("recall@3", [0, 1, 2], {"a", "gone", "also gone", "absent 0"}) == pytest.approx(1 / 4)
    assert measure("ndcg@2", [0, 1], {"a", "gone"}) == pytest.approx(1 / (1 + 1 / LOG2_3))
    assert measure("recall@3", [0, 1, 2], {"gone"}) == 0


def test_a_repeated_row_takes_its_place_and_counts_once() -> None:
    assert measure("recall@3", [0, 0, 1], {"a", "b"}) == pytest.approx(1)
    assert measure("precision@3", [0, 0, 1], {"a", "b"}) == pytest.approx(2 / 3)
    assert measure("mrr@3", [2, 2, 1], {"b"}) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "short", "repeated"),
    [
        # Relevant are a, c and h. The short list is d, a and nothing more; the repeated one b, c, c, a.
        ("recall@4", 1 / 3, 2 / 3),
        ("precision@4", 1 / 4, 2 / 4),
        ("hit_rate@4", 1, 1),
        ("mrr@4", 1 / 2, 1 / 2),
        ("ndcg@4", (1 / LOG2_3) / (1 + 1 / LOG2_3 + 1 / 2), (1 / LOG2_3 + 1 / LOG2_5) / (1 + 1 / LOG2_3 + 1 / 2)),
        ("map@4", (1 / 2) / 3, (1 / 2 + 2 / 4) / 3),
    ],
)
def test_short_lists_and_repeats_by_hand(name: str, short: float, repeated: float) -> None:
    assert measure(name, [3, 0, -1, -1], {"a", "c", "h"}) == pytest.approx(short, abs=1e-12)
    assert measure(name, [3, 0], {"a", "c", "h"}) == pytest.approx(short, abs=1e-12)
    assert measure(name, [1, 2, 2, 0], {"a", "c", "h"}) == pytest.approx(repeated, abs=1e-12)


def test_a_relevant_item_named_twice_counts_once() -> None:
    assert per_query(np.array([[0, 1]]), [["a", "a", "c"]], ITEMS, ["recall@2"])["recall@2"].tolist() == [0.5]


def test_order_counts_and_names_do_not() -> None:
    """trec_eval puts equal scores in the order of their names, and rows 10 and 9 differ as text and as numbers."""
    items = ItemIds([f"item {number}" for number in range(12)])
    for line in ([10, 9, 2], [9, 10, 2], [2, 9, 10], [2, 10, 9]):
        for rank, row in enumerate(line, start=1):
            found = per_query(np.array([line]), [{f"item {row}"}], items, ["mrr@3", "ndcg@3"])
            assert found["mrr@3"][0] == pytest.approx(1 / rank)
            assert found["ndcg@3"][0] == pytest.approx(1 / np.log2(1 + rank))


def independent(line: NDArray[np.int64], relevant: set[int], unreachable: int, k: int) -> dict[str, float]:
    hits = np.array([row in relevant for row in line[line >= 0][:k].tolist()], float)
    count = len(relevant) + unreachable
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ranks = np.flatnonzero(hits) + 1
    return {
        f"recall@{k}": hits.sum() / count,
        f"precision@{k}": hits.sum() / k,
        f"ndcg@{k}": (hits * discounts[: len(hits)]).sum() / discounts[:count].sum(),
        f"mrr@{k}": 1 / ranks[0] if len(ranks) else 0.0,
        f"hit_rate@{k}": float(hits.any()),
        f"map@{k}": sum(hits[:rank].sum() / rank for rank in ranks) / count,
    }


def random_lists(seed: int) -> tuple[Rows, list[set[int]], list[int]]:
    """200 lists of a 40-item catalogue, some short, some empty."""
    rng = np.random.default_rng(seed)
    rows = np.array([rng.permutation(40)[:25] for _ in range(200)], np.int64)
    for line, length in zip(rows, rng.integers(0, 40, 200), strict=True):
        line[length:] = -1
    relevant = [set(rng.choice(40, rng.integers(1, 30), replace=False).tolist()) for _ in rows]
    return rows, relevant, rng.integers(0, 3, 200).tolist()


def test_agrees_with_an_independent_computation() -> None:
    rows, relevant, unreachable = random_lists(7)
    items = ItemIds([f"item-{number}" for number in range(40)])
    asked = [
        {f"item-{row}" for row in wanted} | {f"gone-{number}" for number in range(gone)}
        for wanted, gone in zip(relevant, unreachable, strict=True)
    ]
    for k in (1, 3, 10, 25, 50):
        expected = [independent(*one, k) for one in zip(rows, relevant, unreachable, strict=True)]
        found = per_query(rows, asked, items, expected[0])
        assert found.keys() == expected[0].keys()
        for name, values in found.items():
            np.testing.assert_allclose(values, [one[name] for one in expected], atol=1e-12, err_msg=name)


def test_all_measures_at_once_equal_one_at_a_time() -> None:
    rows, relevant, _ = random_lists(8)
    items = ItemIds([str(number) for number in range(40)])
    asked = [{str(row) for row in wanted} for wanted in relevant]
    names = ["recall@5", "recall@20", "ndcg@5", "ndcg@20", "mrr@5", "mrr@20", "precision@5", "map@20", "hit_rate@1"]
    together = per_query(rows, asked, items, names)
    assert list(together) == names
    for name in names:
        np.testing.assert_array_equal(together[name], per_query(rows, asked, items, [name])[name])


def test_batches_do_not_change_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, relevant, _ = random_lists(9)
    items = ItemIds([str(number) for number in range(40)])
    asked = [{str(row) for row in wanted} for wanted in relevant]
    whole = per_query(rows, asked, items, ["ndcg@10"])["ndcg@10"]
    monkeypatch.setattr(metrics, "_BATCH", 7)
    np.testing.assert_array_equal(per_query(rows, asked, items, ["ndcg@10"])["ndcg@10"], whole)


def test_no_queries_give_no_values() -> None:
    assert per_query(np.empty((0, 5), np.int64), [], ITEMS, ["recall@5"])["recall@5"].shape == (0,)


def test_coverage_by_hand() -> None:
    rows = np.array([[0, 1, 2], [0, 3, -1], [-1, -1, -1]])
    assert coverage(rows, 8, 1) == pytest.approx(1 / 8)  # item 0 alone is on top of a list
    assert coverage(rows, 8, 2) == pytest.approx(3 / 8)  # 0, 1, 3
    assert coverage(rows, 8, 3) == pytest.approx(4 / 8)  # 0, 1, 2, 3
    assert coverage(rows, 8, 99) == pytest.approx(4 / 8)
    assert coverage(rows[:0], 8, 3) == 0


@pytest.mark.parametrize(
    "name",
    ["recall", "recall@", "recall@0", "recall@-1", "recall@1.5", "recall@ten", "auc@10", "R@10", "coverage@10", ""],
)
def test_unknown_measures_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"there is no measure .*recall@k, ndcg@k, mrr@k, precision@k"):
        cutoffs([name])


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to measure"):
        cutoffs([])
