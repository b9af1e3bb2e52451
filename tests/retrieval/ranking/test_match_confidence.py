"""Match confidence: the best rows by brute force, statistics by hand, and queries with and without a match."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import Rows, Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import add, delete
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.catalogue.item_ids import sampled_rows
from indexing.errors import InputError, ShapeError
from retrieval.ranking import confidence as verdict
from retrieval.ranking.confidence import MatchClassifier, best_rows, statistics
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, toy_file


def groups(seed: int = 0, count: int = 40, each: int = 15) -> tuple[Vectors, Rows]:
    """Items around so many directions of 24, and the group of each."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(count, 24)).astype(np.float32))
    group = np.repeat(np.arange(count), each)
    return unit(centres[group] + 0.12 * rng.normal(size=(len(group), 24)).astype(np.float32)), group


@pytest.mark.parametrize("held", [False, True])
def test_the_best_rows_are_those_of_brute_force(held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "MAX_SCORES", 2_000)  # several blocks
    vectors, _ = groups(count=8)
    rng = np.random.default_rng(1)
    vectors[7] = vectors[3]  # the same thing again
    own = np.append(rng.permutation(120)[:30], [3, 7])
    queries = unit(vectors[own] + 0.1 * rng.normal(size=(32, 24)).astype(np.float32))
    answered, unanswered = best_rows(vectors, queries, own, from_items=held, nearest_fraction=0.1)
    for line, row in enumerate(own):
        scores = vectors @ queries[line]
        others = [other for other in range(120) if other != row]
        assert answered[line] == max(others if held else range(120), key=lambda other: scores[other])
        copies = len(others)
        others = [other for other in others if vectors[other] @ vectors[row] < 0.99]
        copies -= len(others)
        far = sorted(others, key=lambda other: -(vectors[other] @ vectors[row]))[12 - copies :]
        assert unanswered[line] == max(far, key=lambda other: scores[other])


def test_statistics_by_hand() -> None:
    best, queries = np.array([[0.6, 0.8]], np.float32), np.array([[1.0, 0.0]], np.float32)
    assert statistics(best, queries, queries[:0]) == pytest.approx(np.array([[0.6]]))
    cohort = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)  # scores .6, .8, -.6
    deviation = np.std([0.6, 0.8, -0.6])
    assert statistics(best, queries, cohort) == pytest.approx(np.array([[0.6, (0.6 - 0.8 / 3) / deviation]]))


@pytest.mark.parametrize("held", [False, True])
def test_what_is_not_there_is_reported_and_as_many_pass_as_were_to(held: bool) -> None:
    vectors, group = groups()
    there = group < 30
    catalogue = vectors[there]
    rng = np.random.default_rng(2)
    asked = catalogue if held else unit(catalogue + 0.1 * rng.normal(size=catalogue.shape).astype(np.float32))
    own = np.arange(0, len(catalogue), 2)
    matching = MatchClassifier.fit(catalogue, asked[own], own, from_items=held, pass_rate=0.9)
    new, _ = groups(seed=0)
    queries = unit(new + 0.1 * rng.normal(size=new.shape).astype(np.float32)) * 3  # of any length
    best = catalogue[(queries @ catalogue.T).argmax(axis=1)]
    found = matching.predict(best, queries)
    assert found.probability.dtype == np.float32
    assert found.good[~there].mean() < 0.1
    assert found.probability[there].mean() > 0.7 > 0.3 > found.probability[~there].mean()
    known = matching.predict(catalogue[best_rows(catalogue, unit(asked[own]), own, from_items=held)[0]], asked[own])
    assert known.good.mean() == pytest.approx(0.9, abs=0.01)
    apart = np.abs(found.probability - matching.threshold) > 1e-6  # results are rounded to float32
    assert apart.mean() > 0.9
    np.testing.assert_array_equal(found.good[apart], (found.probability > matching.threshold)[apart])


def test_what_cannot_be_learned_is_refused() -> None:
    vectors, _ = groups(count=2)
    with pytest.raises(ShapeError, match="20 queries but 19 rows"):
        MatchClassifier.fit(vectors, vectors[:20], np.arange(19))
    with pytest.raises(InputError, match="19 queries to 30 items are too few to fit to; give 20"):
        MatchClassifier.fit(vectors, vectors[:19], np.arange(19))
    with pytest.raises(InputError, match=r"pass_rate is 1\.0; give a fraction"):
        MatchClassifier.fit(vectors, vectors[:20], np.arange(20), pass_rate=1.0)


def test_searches_of_a_bundle_are_judged(tmp_path: Path) -> None:
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "bundle")
    retriever = Retriever.load(tmp_path / "bundle", ToyEncoder())
    found = retriever.search_texts(["red shoe", "gibberish nonsense", "blue lamp"], 5)
    verdicts = retriever.verdicts(found)
    assert verdicts.good.tolist() == [True, False, True]
    reranked = retriever.blend(found, {"price": -100.0})  # wherever the best has gone
    np.testing.assert_allclose(retriever.verdicts(reranked).probability, verdicts.probability, atol=1e-6)
    nothing = retriever.search_texts(["red shoe"], 5, where="price > 1000")
    assert retriever.verdicts(nothing).probability.tolist() == [0]
    assert retriever.verdicts(nothing).good.tolist() == [False]
    with pytest.raises(InputError, match="only searches are judged"):
        retriever.verdicts(retriever.recommend([["red-mug"]], 3))
    with pytest.raises(InputError, match="no queries of kind 'smell'; known are text, image, audio"):
        retriever.verdicts(found, kind="smell")
    with pytest.raises(InputError, match="no match classifier for audio can be fitted to this bundle"):
        retriever.verdicts(found, kind="audio")


def test_an_added_item_changes_no_verdict_unless_it_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is nobody's best: it has no colour, and the best of every query has the colour of the query."""
    monkeypatch.setattr(verdict, "MAX_QUERIES", 30)
    titles = [f"{('red', 'green', 'blue')[number % 3]} word{number}" for number in range(60)]

    def items(names: list[str], texts: list[str]) -> Catalogue:
        return Catalogue.from_arrow(pa.table({"item_id": names, "title": texts}))

    build_bundle(items([f"item-{number}" for number in range(60)], titles), ToyEncoder(), tmp_path / "bundle")
    retriever, queries = Retriever.open(tmp_path / "bundle", ToyEncoder()), [*titles[:8], "red nonsense", "blue"]

    def judged() -> Vectors:
        return retriever.verdicts(retriever.search_texts(queries, 5)).probability

    before, drawn = judged(), list[bool]()
    for number in range(8):
        add(tmp_path / "bundle", items([f"new-{number}"], [f"odd{number}"]), ToyEncoder())
        retriever = retriever.latest()
        rows = sampled_rows(retriever.items, 30, retriever.bundle.is_live)
        drawn.append(f"new-{number}" in {retriever.items[row] for row in rows})
        assert np.allclose(judged(), before, rtol=0, atol=1e-5) != drawn[-1]  # products of other shapes
        delete(tmp_path / "bundle", [f"new-{number}"])
        retriever = retriever.latest()
        np.testing.assert_allclose(judged(), before, rtol=0, atol=1e-5)
    assert True in drawn
    assert False in drawn


def test_pairs_teach_what_the_items_cannot(tmp_path: Path) -> None:
    catalogue = Catalogue.from_parquet(toy_file(tmp_path), columns=NamedColumns(text=("title",), image=None))
    build_bundle(catalogue, ToyEncoder(), tmp_path / "bundle")
    retriever = Retriever.load(tmp_path / "bundle", ToyEncoder())
    titles = [item_id.replace("-", " ") for item_id in retriever.items]
    matching = MatchClassifier.fit(retriever.vectors, ToyEncoder().encode_texts(titles), np.arange(20))
    found = retriever.search_texts(["red shoe", "gibberish nonsense"], 5)
    assert retriever.verdicts(found, matching=matching).good.tolist() == [True, False]
