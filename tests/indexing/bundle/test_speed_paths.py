"""What a search without a filter does, and what following deletions does: no masks, no copies, the right mean."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import delete
from indexing.catalogue.catalogue import Catalogue
from indexing.index.backends.flat import FlatIndex
from indexing.index.delta import DeltaIndex
from indexing.store.encode import EncodeConfig
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import UserModel
from retrieval.retriever.retriever import Retriever
from tests.retrieval.models.test_behaviour import random_block
from tests.toy import ToyEncoder, toy_file


class Zeros(ToyEncoder):
    """Gives a zero vector for one word."""

    def encode_texts(self, texts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - not of unit length
        found = super().encode_texts([text if text != "nothing" else "red" for text in texts])
        found[[text == "nothing" for text in texts]] = 0
        return found


def test_a_zero_vector_sets_its_item_aside_and_not_the_build(tmp_path: Path) -> None:
    rows = [{"item_id": "a", "title": "red mug"}, {"item_id": "b", "title": "nothing"}]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    catalogue = Catalogue.from_jsonl(tmp_path / "items.jsonl")
    bundle = build_bundle(catalogue, Zeros(), tmp_path / "bundle", encode=EncodeConfig(32, workers=0))
    assert list(bundle.items) == ["a"]
    assert bundle.manifest.counts["quarantined"] == 1


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_flat_search_among_few_or_many_allowed_rows_is_exact(share: float) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(400, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    allow = rng.random(400) < share
    scores = np.where(allow, queries @ vectors.T, -np.inf)
    assert FlatIndex(vectors).search(queries, 7, allow)[1].tolist() == np.argsort(-scores)[:, :7].tolist()


def test_added_rows_are_searched_without_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    masks: list[Mask | None] = []
    whole = FlatIndex.search

    def search(
        index: FlatIndex, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        masks.append(allow)
        return whole(index, queries, k, allow, kind)

    monkeypatch.setattr(FlatIndex, "search", search)
    delta = DeltaIndex(FlatIndex(vectors[:10]), vectors[10:], np.ones(30, np.bool_))
    rows = delta.search(vectors[:3], 5)[1]
    assert masks == [None, None]
    assert rows.tolist() == np.argsort(-(vectors[:3] @ vectors.T))[:, :5].tolist()


def test_the_mean_of_followed_states_is_that_of_a_fresh_one(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), root, encode=EncodeConfig(32, workers=0))
    retriever = Retriever.load(root, ToyEncoder())
    for gone in ("red-mug", "blue-lamp"):
        _ = retriever.centre
        delete(root, [gone])
        retriever = retriever.latest()
        living = retriever.vectors[retriever.bundle.is_live].astype(np.float64)
        # Sums in another order differ by some roundings of single precision.
        np.testing.assert_allclose(retriever.centre, living.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(retriever.state.space.centre, living.mean(axis=0), atol=1e-6)


def test_sources_of_a_space_ask_as_if_deleted_rows_were_not_there() -> None:
    rng, is_live = np.random.default_rng(3), np.arange(30) % 5 != 2
    content, block = unit(rng.normal(size=(30, 6)).astype(np.float32) + 0.5), random_block()
    content[~is_live] = -content[~is_live]  # so that the means differ
    space = replace(ItemSpace.of(content, UserModel(), block), is_live=is_live)
    compacted = ItemSpace.of(content[is_live], UserModel(), block.take(np.flatnonzero(is_live)))
    np.testing.assert_allclose(space.centre, content[is_live].mean(axis=0), atol=1e-6)  # sums in another order
    assert np.abs(space.centre - content.mean(axis=0)).max() > 0.1
    histories, weights = (
        [np.array([0, 4, 8]), np.array([29])],
        [np.array([5, 1, 3], np.float32), np.ones(1, np.float32)],
    )
    now = [np.searchsorted(np.flatnonzero(is_live), past) for past in histories]
    for mine, theirs in zip(
        space.query_parts(histories, weights)[:2], compacted.query_parts(now, weights)[:2], strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    whole = ItemSpace(
        np.array([[1, 0], [0, 1], [0, -1]], np.float32), 2, UserModel(), is_live=np.array([1, 1, 0], np.bool_)
    )
    assert whole.centre.tolist() == [0.5, 0.5]
    assert replace(whole, is_live=None).centre.tolist() == [pytest.approx(1 / 3), 0]
