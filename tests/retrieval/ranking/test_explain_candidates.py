"""Any candidates are explained: of a pool, the best of a list, varied and ruled ones; and parts stand beside hits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexing.bundle.build import build_bundle
from indexing.encoders import load_encoder
from indexing.errors import InputError, ShapeError
from indexing.media.files import Modality
from retrieval import Retriever, fit
from retrieval.candidates import Candidates
from retrieval.postprocess.rules import Boost, Pin, Rules
from retrieval.ranking.explain import Explanation
from retrieval.ranking.second_stage import SecondStage
from tests.groups import COUNT, SMALL, STAGE, catalogue, items, walks
from tests.indexing.alignment.things import Things

HISTORIES = [["i000", "i001", "i005"], ["i030", "i031"]]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("fitted")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    assert fit(folder / "bundle", walks(), replace(SMALL, reranker=STAGE)).published == ("behaviour", "reranker")
    return Retriever.load(folder / "bundle")


@pytest.fixture(scope="module")
def unfitted(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("unfitted")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    return Retriever.load(folder / "bundle")


def of(explanations: list[Explanation]) -> dict[str, Explanation]:
    return {one.item_id: one for one in explanations}


@pytest.mark.parametrize("ranked", [False, True])
def test_candidates_of_a_pool_are_explained_as_what_retrieval_finds(fitted: Retriever, ranked: bool) -> None:
    pool = fitted.pool(HISTORIES, per_source=15)
    pool = fitted.rerank(pool) if ranked else pool
    found = fitted.recommend(HISTORIES, COUNT)
    np.testing.assert_allclose(pool.queries, found.queries, rtol=1e-5, atol=1e-6)
    for line, expected in zip(fitted.explain(replace(pool, weights=())), fitted.explain(found), strict=True):
        assert line
        for one in line:
            same = of(expected)[one.item_id]
            assert one.score == pytest.approx(same.score, abs=1e-5)  # the same product, summed up in another order
            assert dict(one.history) == pytest.approx(dict(same.history), abs=1e-5)
            assert bool(one.features) == ranked


def test_an_item_twice_in_a_history_is_one_reason(fitted: Retriever) -> None:
    """Where it comes last, with its last weight: in what is recommended, and in a pool."""
    twice, ratings = ["i001", "i000", "i001", "i005"], [1.0, 3.0, 4.0, 5.0]
    once, plain = ["i000", "i001", "i005"], [3.0, 4.0, 5.0]
    found, expected = (
        fitted.recommend([history], 5, weights=[weights]) for history, weights in ((twice, ratings), (once, plain))
    )
    assert found.rows.tolist() == expected.rows.tolist()
    pairs = zip(fitted.explain(found)[0], fitted.explain(expected)[0], strict=True)
    assert all(dict(one.history) == pytest.approx(dict(other.history), abs=1e-6) for one, other in pairs)
    with pytest.raises(ShapeError, match="one weight for each item of each history"):
        fitted.explain(found, weights=[ratings])  # the candidates know the weights of what they kept
    pools = [fitted.pool([history], 8, weights=[weights]) for history, weights in ((twice, ratings), (once, plain))]
    assert pools[0].rows.tolist() == pools[1].rows.tolist()
    assert [one.weights[0].tolist() for one in pools] == [plain, plain]


def test_a_pool_of_users_without_a_history_is_explained_by_what_is_popular(fitted: Retriever) -> None:
    (explanations,) = fitted.explain(fitted.pool([[]], per_source=5))
    assert explanations
    assert all(one.score == pytest.approx(one.popularity, abs=1e-6) and one.history == () for one in explanations)


def test_queries_of_another_space_are_refused(fitted: Retriever) -> None:
    found = fitted.recommend(HISTORIES, 4)
    with pytest.raises(InputError, match=r"queries have dimension 3, the bundle \d+; explain what it found"):
        fitted.explain(replace(found, queries=np.zeros((2, 3), np.float32)))


def test_the_best_of_a_list_is_explained_as_in_the_whole(fitted: Retriever) -> None:
    every = fitted.rerank(fitted.recommend(HISTORIES, 30))
    whole = fitted.explain(every)
    for best in (every.top(4), fitted.rerank(fitted.recommend(HISTORIES, 30), 4)):
        assert [list(of(line)) for line in fitted.explain(best)] == [list(of(line))[:4] for line in whole]
        for line, expected in zip(fitted.explain(best), whole, strict=True):
            for one, same in zip(line, expected, strict=False):
                assert one.features == pytest.approx(same.features, abs=1e-4)
                assert one.features


def test_one_query_a_varied_and_a_ruled_list_are_explained_as_in_the_whole(fitted: Retriever) -> None:
    every = fitted.rerank(fitted.recommend(HISTORIES, 30, stages="retrieval"))
    whole = fitted.explain(every)
    one = every.take([1]).named(["ann"]).top(5)
    varied = fitted.diversify(every, 5)
    rules = Rules([Boost("shelf = 'shelf 3'"), Pin(["i119"])])
    ruled = fitted.apply_rules(every, rules, 5)
    for shown, expected in ((one, whole[1:]), (varied, whole), (ruled, whole)):
        for line, all_told in zip(fitted.explain(shown), expected, strict=True):
            for explanation in line:
                if explanation.item_id in of(all_told):
                    same = of(all_told)[explanation.item_id].features
                    assert explanation.features == pytest.approx(same, abs=1e-4)
                else:
                    assert (explanation.item_id, explanation.features) == ("i119", {})  # pinned: no head ordered it


def test_a_list_that_was_cut_before_anybody_could_know_is_refused(fitted: Retriever) -> None:
    every = fitted.rerank(fitted.recommend(HISTORIES, 30))
    stranger = replace(every.top(4), among=None)  # as read from a file
    with pytest.raises(InputError, match="give among="):
        fitted.explain(stranger)
    assert fitted.explain(stranger, among=every)[0][0].features


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1.0, float("nan"), 1.0], [1.0, 1.0]], r"weights\[0\]\[1\] is nan"),
        ([[1.0, 1.0, 1.0], [float("-inf"), 1.0]], r"weights\[1\]\[0\] is -inf"),
        ([[1.0, 1.0, 1.0]], "one weight for each item"),
        ([[1.0, 1.0], [1.0, 1.0]], "one weight for each item"),
        ([["many", 1.0, 1.0], [1.0, 1.0]], "weights are numbers"),
        ([1.0, 1.0], "one weight for each item"),
    ],
)
def test_weights_that_are_none_are_refused(fitted: Retriever, weights: list[list[float]], message: str) -> None:
    with pytest.raises((InputError, ShapeError), match=message):
        fitted.explain(fitted.recommend(HISTORIES, 4), weights=weights)


def test_weights_of_the_candidates_count_without_being_given_again(fitted: Retriever) -> None:
    weights = [[1.0, 1.0, 5.0], [5.0, 2.0]]
    found = fitted.recommend(HISTORIES, 6, weights=weights)
    given, known = fitted.explain(found, weights=weights), fitted.explain(found)
    assert [one.history for line in given for one in line] == [one.history for line in known for one in line]


def test_without_a_learned_head_the_order_is_that_of_the_exact_score_and_says_so(unfitted: Retriever) -> None:
    assert not isinstance(unfitted.reranker, SecondStage)
    found = unfitted.recommend(HISTORIES, 6)
    ranked = unfitted.rerank(found)
    assert ranked.stage == "exact"
    np.testing.assert_array_equal(ranked.rows, found.rows)
    assert set(ranked.to_arrow()["stage"].to_pylist()) == {"exact"}
    assert set(unfitted.explain(ranked)[0][0].stages) == {"retrieve", "exact"}


def parts_of(retriever: Retriever, found: Candidates) -> list[list[tuple[str, Modality | None]]]:
    """Name each hit with the modality of its nearest part."""
    parts = retriever.nearest_parts(found)
    return [
        [(hit.item_id, None if part is None else part.modality) for hit, part in zip(hits, line, strict=True)]
        for hits, line in zip(found, parts, strict=True)
    ]


def test_a_hit_without_a_part_to_compare_keeps_its_place(tmp_path: Path) -> None:
    things = Things()
    build_bundle(things.catalogue(tmp_path), load_encoder("vectors:"), tmp_path / "b")
    retriever = Retriever.load(tmp_path / "b")
    texts = retriever.search_vectors(things.texts[:3], 60, modality="text")
    every = np.tile(np.arange(len(things.ids)), (3, 1))  # also items without a text, which the texts say nothing of
    found = replace(texts, rows=every, scores=np.zeros(every.shape, np.float32), sources=None)
    expected = [(name, Modality.TEXT if has else None) for name, has in zip(things.ids, things.has_text, strict=True)]
    assert parts_of(retriever, found) == [expected] * 3
    images = retriever.search_vectors(things.images[:1], 5, modality="image")
    found = replace(images, rows=every[:1, ::-1], scores=np.zeros((1, every.shape[1]), np.float32), sources=None)
    pairs = zip(things.ids, things.has_image, strict=True)
    assert parts_of(retriever, found) == [[(name, Modality.IMAGE if has else None) for name, has in pairs][::-1]]


def test_parts_of_a_pool_and_of_who_did_nothing(fitted: Retriever) -> None:
    pool = fitted.pool([HISTORIES[0], []], per_source=8)
    with_history, without = parts_of(fitted, pool)
    assert {modality for _, modality in with_history} == {Modality.TEXT}
    assert {modality for _, modality in without} == {None}
    assert [len(with_history), len(without)] == [len(line) for line in pool]
