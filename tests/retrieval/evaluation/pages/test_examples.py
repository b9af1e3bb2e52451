"""The best and the worst queries are those, and each reason is true."""

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexing.bundle.edits.edit import delete
from retrieval.candidates import Candidates
from retrieval.evaluation import Evaluation, evaluate
from retrieval.evaluation.report.examples import examples_of
from retrieval.retriever.retriever import Retriever
from tests.retrieval.evaluation.shop import Shop

K = 10


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def order_of(retriever: Retriever, query: int) -> list[int]:
    """All rows by exact score, best first."""
    return [int(row) for row in np.argsort(-(retriever.vectors @ retriever.vectors[query]), kind="stable")]


def listed(retriever: Retriever, query: int, rows: list[int], history: list[int]) -> Candidates:
    vector = retriever.vectors[[query]]
    scores = (vector @ retriever.vectors[rows].T).astype(np.float32)
    return Candidates(
        vector, np.array([rows]), scores, retriever.items, "retrieve", ("ann",), (np.array(history, np.int64),)
    )


def reasons(retriever: Retriever, found: Candidates, relevant: list[str], warm: set[str] | None = None) -> list[str]:
    measured = evaluate(found, [relevant], measures=[f"recall@{K}"])
    chosen = examples_of(retriever, found, [relevant], measured, measure=f"recall@{K}", warm=warm)
    assert chosen.worst == ()  # one query is not both
    (example,) = chosen.best
    assert example.value == measured.means[f"recall@{K}"]
    assert [hit.item_id for hit in example.hits] == [hit.item_id for hit in found[0][:K]]
    return list(example.reasons)


def test_every_way_to_miss_is_named(shop: Shop) -> None:
    retriever = shop.retriever
    order = order_of(retriever, 40)
    history = [order[29]]
    names = [retriever.items[row] for row in order]
    lost, below, beyond, seen = names[4], names[15], names[60], names[29]
    found = listed(retriever, 40, [row for row in order[:21] if row != order[4]], history)
    said = reasons(retriever, found, [names[2], lost, below, beyond, seen, "gone"], warm=set(retriever.items) - {below})
    score = float(retriever.vectors[order[2]] @ retriever.vectors[40])
    top = float(retriever.vectors[order[0]] @ retriever.vectors[40])
    assert said[:6] == [
        f"2 of 6 relevant items among the 20 listed; the first at rank 3 with score {score:.3f} "
        f"(the top has {top:.3f})",
        "1 not in the bundle, so no list can hold them: 'gone'",
        "1 listed below rank 10, the nearest at rank 15",  # 16th but for the one that is lost
        f"1 left out of the list because they were seen: '{seen}'",
        "1 lost by the index: by exact search the nearest would be at rank 5",
        "1 too far from the query: by exact search the nearest is at rank 60 of 99",
    ]
    # The 61st, but for the one that was seen; where seen items are shown, nothing counts as left out.
    kept = listed(retriever, 40, [*order[:20], order[29]], history)
    assert reasons(retriever, kept, [beyond])[1].endswith("by exact search the nearest is at rank 61 of 100")
    missed = [lost, below, beyond, seen]
    without = sum(name.startswith("white") for name in missed)
    expected = [f"of those missed, {without} without a picture that could be encoded"] if without else []
    expected.append("of those missed, 1 cold: nobody touched them in what was learned from")
    assert said[6:] == expected


def test_missing_pictures_are_named(shop: Shop) -> None:
    retriever = shop.retriever
    rows = [row for row in order_of(retriever, 0) if not retriever.items[row].startswith("white")][:K]
    said = reasons(retriever, listed(retriever, 0, rows, []), ["white-20", "white-21", "blue-20"])
    assert said[0] == "none of 3 relevant items is among the 10 listed"
    assert said[-1] == "of those missed, 2 without a picture that could be encoded"


def test_all_found_leaves_nothing_to_explain(shop: Shop) -> None:
    rows = order_of(shop.retriever, 7)[:K]
    said = reasons(shop.retriever, listed(shop.retriever, 7, rows, []), [shop.retriever.items[rows[0]]], warm=set())
    assert said == ["the one relevant item is listed at rank 1 with score 1.000 (the top itself)"]


def test_the_last_of_the_top_is_found_and_equals_share_a_rank(shop: Shop) -> None:
    retriever = shop.retriever
    rows = order_of(retriever, 7)
    said = reasons(retriever, listed(retriever, 7, rows[:20], []), [retriever.items[rows[K - 1]]])
    assert said[1:] == []
    twins = copy(retriever)
    twins.state = copy(retriever.state)
    twins.state.rows = copy(retriever.state.rows)
    twins.state.rows.space = replace(retriever.state.space, indexed=retriever.indexed.copy())
    twins.indexed = twins.state.indexed
    twins.indexed[rows[30:33]] = twins.indexed[rows[30]]
    said = reasons(twins, listed(twins, 7, rows[:K], []), [retriever.items[rows[32]]])
    assert said[1] == "1 too far from the query: by exact search the nearest is at rank 31 of 100"


def test_what_reranking_did_is_reported(shop: Shop) -> None:
    """The ninth by retrieval becomes the last: rank 20."""
    rows = order_of(shop.retriever, 3)[:20]
    found = listed(shop.retriever, 3, rows, [])
    scores = np.where(np.arange(20) == 8, -1, found.scores).astype(np.float32)
    said = reasons(shop.retriever, found.reordered(scores, "rerank"), [shop.retriever.items[rows[8]]])
    assert said[0].startswith("the one relevant item is listed at rank 20 with score -1.000")
    assert said[1] == "1 listed below rank 10, the nearest at rank 20 (9 before the rerank)"
    (gone,) = reasons(shop.retriever, listed(shop.retriever, 3, rows, []), ["gone"])[:1]
    assert gone == "the one relevant item is not among the 20 listed"


def test_what_was_deleted_is_no_rival(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    order = order_of(shop.retriever, 12)
    wanted = shop.retriever.items[order[30]]
    delete(shop.retriever.bundle.root, [shop.retriever.items[row] for row in order[20:25]])
    retriever = Retriever.load(shop.retriever.bundle.root)
    said = reasons(retriever, listed(retriever, 12, order[:K], []), [wanted])
    assert said[1] == "1 too far from the query: by exact search the nearest is at rank 26 of 95"


def test_best_and_worst_are_drawn_among_equals_and_skip_what_has_no_value(shop: Shop) -> None:
    found = shop.found()
    values = np.array([0.5, 1, 0, 0.25, 1, 0, 1, np.nan, 0, 0.75])
    measured = Evaluation(found.query_ids, {"recall@10": values}, {}, 0)

    def chosen(seed: int, count: int = 2) -> tuple[list[float], list[float], list[str]]:
        both = examples_of(shop.retriever, found, shop.relevant, measured, measure="recall@10", count=count, seed=seed)
        names = [example.query_id for example in (*both.best, *both.worst)]
        return [e.value for e in both.best], [e.value for e in both.worst], names

    assert chosen(0)[:2] == ([1, 1], [0, 0])
    assert chosen(0) == chosen(0)
    assert len({tuple(chosen(seed)[2]) for seed in range(8)}) > 1
    best, worst, names = chosen(0, count=50)
    assert sorted(best + worst) == sorted(values[np.isfinite(values)].tolist())
    assert len(set(names)) == 9
    assert worst == sorted(worst)


def test_queries_without_anything_relevant_do_not_shift_the_others(shop: Shop) -> None:
    found = shop.found()
    relevant = [[] if user % 2 else wanted for user, wanted in enumerate(shop.relevant)]
    measured = evaluate(found, relevant, measures=["recall@10"])
    both = examples_of(shop.retriever, found, relevant, measured, measure="recall@10")
    by_name = dict(zip(measured.query_ids, measured.per_query["recall@10"], strict=True))
    assert len(both.best) + len(both.worst) == 5
    for example in (*both.best, *both.worst):
        line = found.query_ids.index(example.query_id)
        assert example.value == by_name[example.query_id]
        assert list(example.relevant) == relevant[line]
        assert list(example.history) == shop.histories[line]
