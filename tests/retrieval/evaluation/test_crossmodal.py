"""Pairs that find each other: by hand, against the ranking of all, and on real pairs when there are any."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError, VectorError
from retrieval.candidates import Candidates
from retrieval.evaluation import (
    Side,
    cross_modal,
    crossmodal,
    encoded_sides,
    evaluate,
    evaluate_pairs,
    median_rank,
    sides_of,
)
from retrieval.retriever.retriever import Retriever
from tests.pairs import clip_like, hit_rates
from tests.toy import COLOURS, SHAPES, ToyEncoder, toy_file

# A folder with `text_emb.npy` and `image_emb.npy` of 500 real pairs, which are not shipped.


def side(vectors: Sequence[Sequence[float]], owners: str) -> Side:
    return Side(np.array(vectors, np.float32), tuple(owners))


def test_by_hand() -> None:
    targets = side([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], "abcd")
    # The third prefers a, then d, then b; its own is c, which it is at right angles to: last, behind the tie with none.
    queries = side([[1, 0.1, 0], [1, 2, 0], [3, 1, 0], [0, 0, 1]], "abcx")
    found = evaluate_pairs(queries, targets, ks=[1, 2, 4])
    assert found.query_ids == ("a", "b", "c")
    assert found.skipped == 1
    # The second is nearer to d (3/sqrt 10) than to its own b (2/sqrt 5).
    assert found.per_query["rank"].tolist() == [1, 2, 4]
    assert found.per_query["mrr"].tolist() == [1, 1 / 2, 1 / 4]
    assert found.means["hit_rate@1"] == pytest.approx(1 / 3)
    assert found.means["hit_rate@2"] == pytest.approx(2 / 3)
    assert found.means["hit_rate@4"] == 1
    assert found.catalogue == {"median_rank": 2}
    assert found.coverage == {"coverage@1": 2 / 4}  # a, d and a were found first


def test_ties_are_pessimistic() -> None:
    targets = side([[1, 0], [1, 0], [1, 0], [0, 1]], "abcd")
    found = evaluate_pairs(side([[1, 0], [2, 0], [0, 1]], "acd"), targets, ks=[1, 3])
    assert found.per_query["rank"].tolist() == [3, 3, 1]
    assert found.means["hit_rate@1"] == pytest.approx(1 / 3)
    collapsed = side([[0.6, 0.8]] * 50, "".join(chr(65 + n) for n in range(50)))
    assert evaluate_pairs(collapsed, collapsed).per_query["rank"].tolist() == [50] * 50


def test_several_captions_of_a_picture() -> None:
    images = side([[1, 0], [0, 1]], "ab")
    captions = side([[0, 1], [1, 0.1], [1, 0.3], [0.5, 1]], "aaab")
    by_image = evaluate_pairs(images, captions, ks=[1, 2])
    # Of a's captions one is best for it; b's picture is nearest to a caption of a, then to its own.
    assert by_image.per_query["rank"].tolist() == [1, 2]
    by_text = evaluate_pairs(captions, images, ks=[1])
    assert by_text.query_ids == ("a", "a #2", "a #3", "b")
    assert by_text.per_query["rank"].tolist() == [2, 1, 1, 1]


def test_a_query_whose_captions_tie_with_each_other_is_first() -> None:
    assert evaluate_pairs(side([[1, 0]], "a"), side([[1, 0], [1, 0], [0, 1]], "aab")).per_query["rank"].tolist() == [1]


def test_equals_the_evaluation_of_complete_rankings(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"item-{number}" for number in range(60))
    texts, images = (Side(rng.normal(size=(60, 5)).astype(np.float32), names) for _ in range(2))
    scores = texts.vectors @ images.vectors.T
    order = np.argsort(-scores, axis=1)
    ranked = Candidates(
        texts.vectors, order, np.take_along_axis(scores, order, axis=1), ItemIds(names), "retrieve", names
    )
    expected = evaluate(ranked, [{name} for name in names], measures=["hit_rate@1", "hit_rate@5", "mrr@60"])
    found = evaluate_pairs(texts, images, ks=[1, 5])
    for ours, theirs in (("hit_rate@1",) * 2, ("hit_rate@5",) * 2, ("mrr", "mrr@60")):
        np.testing.assert_allclose(found.per_query[ours], expected.per_query[theirs], atol=1e-12)
    monkeypatch.setattr(crossmodal, "_MAX_SCORES", 130)
    np.testing.assert_array_equal(evaluate_pairs(texts, images).per_query["rank"], found.per_query["rank"])


def test_the_median_has_an_interval() -> None:
    rng = np.random.default_rng(1)
    names = tuple(map(str, range(101)))
    found = evaluate_pairs(*(Side(rng.normal(size=(101, 3)).astype(np.float32), names) for _ in range(2)))
    row = median_rank(found)
    assert row.mean == found.catalogue["median_rank"] == np.median(found.per_query["rank"])
    assert row.low < row.mean < row.high
    assert row == median_rank(found)
    # Ranks of vectors without relation are even: the median of 101 is about 51, give or take 10.
    assert row.low < 51 < row.high
    assert 10 < row.high - row.low < 35


def test_sides_of_a_bundle_and_of_a_catalogue_agree(tmp_path: Path) -> None:
    catalogue = Catalogue.from_parquet(toy_file(tmp_path))
    build_bundle(catalogue, ToyEncoder(), tmp_path / "bundle")
    stored = sides_of(Retriever.load(tmp_path / "bundle", ToyEncoder()))
    encoded = encoded_sides(catalogue, ToyEncoder(), batch_size=3)
    assert set(stored) == {"text", "image", "item"}
    for name, one in encoded.items():
        assert one.item_ids == stored[name].item_ids
        np.testing.assert_allclose(one.vectors, stored[name].vectors, atol=2e-3)  # stored as float16
    found = cross_modal(stored, ks=[1])
    assert list(found) == ["text→image", "text→item", "image→text", "image→item"]
    assert found["text→image"].skipped == len(SHAPES)  # white things have no picture
    # A picture tells only the colour: its own item is one of the five of that colour, and they differ by their texts.
    assert found["text→item"].means["hit_rate@1"] == 1
    assert found["text→image"].per_query["rank"].min() == len(SHAPES)  # pictures of one colour tie
    assert len(found["image→text"].query_ids) == len(SHAPES) * (len(COLOURS) - 1)


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="1 vectors but 2 item ids"):
        side([[1, 0]], "ab")
    with pytest.raises(VectorError, match="all zero"):
        side([[0, 0]], "a")
    with pytest.raises(ShapeError, match="queries have 2 dimensions and targets 3"):
        evaluate_pairs(side([[1, 0]], "a"), side([[1, 0, 0]], "a"))
    with pytest.raises(InputError, match="no query has its item id among the targets"):
        evaluate_pairs(side([[1, 0]], "a"), side([[1, 0]], "b"))
    with pytest.raises(InputError, match="cutoffs of at least 1"):
        evaluate_pairs(side([[1, 0]], "a"), side([[1, 0]], "a"), ks=[0])
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\na,red mug\n")
    with pytest.raises(InputError, match="no item has a usable image"):
        encoded_sides(Catalogue.from_csv(path), ToyEncoder())


def test_pairs_with_the_geometry_of_a_two_tower_model() -> None:
    """Texts are far from all pictures, their own is only a little nearer; and most find it all the same."""
    texts, images = clip_like()
    names = tuple(map(str, range(len(texts))))
    found = cross_modal({"text": Side(texts, names), "image": Side(images, names)})["text→image"]
    assert 0.2 < (texts * images).sum(axis=1).mean() < 0.45
    first, five = hit_rates(texts, images, (1, 5))
    assert 0.5 < first < five < 0.97
    # One text in 500 may have two pictures that are as near but for rounding.
    assert found.means["hit_rate@1"] == pytest.approx(first, abs=2.1e-3)
    assert found.means["hit_rate@5"] == pytest.approx(five, abs=2.1e-3)
    assert median_rank(found).mean == 1
