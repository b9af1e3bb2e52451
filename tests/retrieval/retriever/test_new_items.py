"""A shelf of items that nobody has met is asked for by all of a history, and keeps that order in every verb."""

from dataclasses import replace

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import add, delete
from indexing.encoders import load_encoder
from retrieval import Retriever, fit
from retrieval.models.item_space import FOR_NEW_ITEMS
from retrieval.ranking.second_stage import SecondStage
from tests.groups import COUNT, SMALL, STAGE, catalogue, items, walks

NEW = [f"i{row:03}" for row in range(COUNT, COUNT + 4)]
HISTORIES = [["i000", "i003", "i030", "i031"], ["i110", "i004"]]
SHELF = [("item_id", "in", NEW)]


@pytest.fixture(scope="module", params=[None, STAGE], ids=["retrieval", "two stages"])
def retriever(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """A bundle that has learned, to which four items came."""
    folder = tmp_path_factory.mktemp("new")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    fit(folder / "bundle", walks(), replace(SMALL, reranker=request.param))
    add(folder / "bundle", catalogue(folder, items(range(COUNT, COUNT + 4), [0, 1, 1, 4])), load_encoder("vectors:"))
    return Retriever.load(folder / "bundle")


def scores(retriever: Retriever) -> Vectors:
    """Reckon by hand how a history suits each item where all of it counts alike."""
    block = retriever.behaviour
    assert block is not None
    histories = [retriever.items.rows(line) for line in HISTORIES]
    closed, learned = block.towers
    closed = replace(closed, half_lives=np.full(1, np.inf, np.float32))
    towers = closed, replace(learned, share=FOR_NEW_ITEMS.share)
    by_hand = replace(block, towers=towers, popular=FOR_NEW_ITEMS.popular, content=FOR_NEW_ITEMS.content)
    tastes = retriever.users.taste(retriever.vectors, histories, retriever.centre)
    found: Vectors = by_hand.user_queries(tastes, histories) @ retriever.indexed.T
    return found


def test_a_shelf_of_new_items_is_ordered_by_all_of_a_history(retriever: Retriever) -> None:
    found = retriever.recommend(HISTORIES, k=4, where=SHELF)
    rows = retriever.items.rows(NEW)
    for line, wanted in enumerate(scores(retriever)[:, rows]):
        assert sorted(found.rows[line].tolist()) == sorted(rows.tolist())
        np.testing.assert_allclose(found.scores[line], np.sort(wanted)[::-1], atol=2e-3)  # codes of an index
    visit = retriever.recommend(HISTORIES, k=5, where=[("item_id", "in", [*NEW, "i010"])], stages="retrieval")
    assert not np.allclose(visit.queries, found.queries)


def test_it_keeps_its_order_when_it_is_reranked_and_is_explained_as_it_was_asked(retriever: Retriever) -> None:
    found = retriever.recommend(HISTORIES, k=4, where=SHELF)
    ranked = retriever.rerank(found)
    np.testing.assert_array_equal(ranked.rows, found.rows)
    if isinstance(retriever.reranker, SecondStage):  # no head orders these: they are what they were
        assert ranked.stage == found.stage == "retrieve"
        np.testing.assert_array_equal(ranked.scores, found.scores)
    for line, hits in enumerate(retriever.explain(found)):
        for place, hit in enumerate(hits):
            assert hit.score == pytest.approx(found.scores[line, place], abs=2e-3)
            assert len(hit.history) == len(HISTORIES[line])
    last = retriever.recommend(HISTORIES[1:], k=4, where=SHELF)
    (explained,) = retriever.explain(last)
    block, space = retriever.behaviour, retriever.state.space.for_new_items
    assert block is not None
    plain = replace(space, behaviour=replace(block.with_weights(FOR_NEW_ITEMS), history_shrinkage=0.0))
    (history,) = last.histories
    both, first = plain.user_queries([history, history[:1]], centre=retriever.centre)
    moved = float(block.history_fractions([history])[0, 0]) * (both - first)[:-1]  # all but popularity
    for hit in explained:
        row = retriever.items.rows([hit.item_id])[0]
        assert dict(hit.history)["i004"] == pytest.approx(float(plain.indexed[row, :-1] @ moved), abs=1e-5)


def test_candidates_know_whether_they_were_retrieved_as_new_items(retriever: Retriever) -> None:
    found = retriever.recommend(HISTORIES, k=4, where=SHELF)
    assert found.new_items
    assert found.take([1]).new_items
    assert not retriever.recommend(HISTORIES, k=4).new_items
    assert not retriever.search_vectors(retriever.vectors[:1], k=4, where=SHELF).new_items


def test_an_explanation_asks_as_the_candidates_were_asked_for(retriever: Retriever) -> None:
    """Queries that were rounded on the way, as through a file, do not change how they were asked for."""
    found = retriever.recommend(HISTORIES, k=4, where=SHELF)
    rounded = replace(found, queries=np.round(found.queries, 2))
    for exact, hits in zip(retriever.explain(found), retriever.explain(rounded), strict=True):
        for one, other in zip(exact, hits, strict=True):
            for (item, moved), (same_item, same) in zip(one.history, other.history, strict=True):
                assert same_item == item
                assert same == pytest.approx(moved, abs=0.05)


def test_a_pool_of_new_items_is_reranked_to_the_order_in_which_they_are_recommended(retriever: Retriever) -> None:
    if not isinstance(retriever.reranker, SecondStage):
        pytest.skip("without a second stage there is no pool")
    ranked = retriever.rerank(retriever.pool(HISTORIES, where=SHELF))
    assert ranked.stage == "exact"
    np.testing.assert_array_equal(ranked.rows, retriever.recommend(HISTORIES, k=4, where=SHELF).rows)


def test_where_no_item_is_left_or_everything_is_allowed_nothing_is_new(retriever: Retriever) -> None:
    assert not retriever.state.has_only_new([("item_id", "in", ["i000"])])
    assert not retriever.state.has_only_new(())
    assert not retriever.state.has_only_new([("shelf", "==", "shelf 9")])
    assert retriever.state.has_only_new(SHELF)


def test_what_is_deleted_does_not_count(retriever: Retriever) -> None:
    where = [("item_id", "in", [*NEW, "i010"])]
    assert not retriever.state.has_only_new(where)
    root = retriever.bundle.root
    delete(root, ["i010"])
    assert Retriever.load(root).state.has_only_new(where)
