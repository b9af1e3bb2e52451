"""What the model lost and what the index lost, where both are known by construction."""

from typing import cast

import pytest

from indexing.arrays import Mask, Rows, Vectors
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError, ShapeError
from indexing.index import FlatIndex, VectorIndex
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate, losses
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, toy_file


class Forgetful:
    """An exact index that never gives the best row of a text query."""

    kind = "forgetful"

    def __init__(self, inner: FlatIndex) -> None:
        self.inner = inner
        self.asked: list[str | None] = []

    def __len__(self) -> int:
        return len(self.inner)

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        self.asked.append(kind)
        scores, rows = self.inner.search(queries, k + 1, allow)
        return (scores[:, 1:], rows[:, 1:]) if kind == "text" else (scores[:, :k], rows[:, :k])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("toy")
    return build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle")


@pytest.fixture
def retriever(bundle: Bundle) -> Retriever:
    return Retriever(bundle, ToyEncoder())


def forgetful(retriever: Retriever) -> Forgetful:
    index = Forgetful(FlatIndex(retriever.vectors))
    retriever.state.__dict__["_index"] = cast("VectorIndex", index)  # in the place of the cached property
    return index


TEXTS = ["red mug", "green shoe", "blue lamp"]


def test_an_exact_index_loses_nothing(retriever: Retriever) -> None:
    asked = retriever.search_texts(TEXTS, k=5)
    relevant = [{"red-mug"}, {"white-book", "green-shoe"}, {"blue-chair", "gone"}]
    found = {
        row.measure: row for row in losses(retriever, asked, relevant, kind="text", measures=["recall@1", "mrr@5"])
    }
    for row in found.values():
        assert (row.kind, row.queries, row.lost_by_index, row.index_interval) == ("text", 3, 0, (0, 0))
    # Perfect at 1: all of one, half of two, and half of two of which one does not exist.
    assert found["recall@1"].perfect == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert found["recall@1"].exact == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["recall@1"].lost_by_model == pytest.approx((0 + 0 + 1 / 2) / 3)
    assert found["mrr@5"].perfect == 1
    assert found["mrr@5"].exact == evaluate(asked, relevant, measures=["mrr@5"]).means["mrr@5"]
    low, high = found["recall@1"].model_interval
    assert low == 0 < found["recall@1"].lost_by_model < high
    assert found["recall@1"].to_json()["model_interval"] == [low, high]


def test_what_the_index_misses_is_its_own_loss(retriever: Retriever) -> None:
    asked = retriever.search_texts(TEXTS, k=5)
    index = forgetful(retriever)
    (row,) = losses(retriever, asked, [{"red-mug"}, {"green-shoe"}, {"blue-lamp"}], kind="text", measures=["recall@5"])
    assert (row.perfect, row.exact, row.served) == (1, 1, 0)
    assert (row.lost_by_model, row.lost_by_index, row.index_interval) == (0, 1, (1, 1))
    assert index.asked == ["text"]
    (row,) = losses(retriever, asked, [{"red-mug"}, {"green-shoe"}, {"blue-lamp"}], kind="image", measures=["recall@5"])
    assert (row.exact, row.served, row.lost_by_index) == (1, 1, 0)


def test_queries_without_relevant_items_are_left_out(retriever: Retriever) -> None:
    asked = retriever.search_texts(TEXTS, k=5)
    (row,) = losses(retriever, asked, [set(), {"green-shoe"}, set()], kind="text", measures=["mrr@3"])
    assert (row.queries, row.exact) == (1, 1)
    with pytest.raises(InputError, match="none of 3 queries has relevant items"):
        losses(retriever, asked, [set()] * 3, kind="text")
    with pytest.raises(ShapeError, match="1 collections of relevant items for 3 queries"):
        losses(retriever, asked, [{"a"}], kind="text")


def test_histories_and_the_item_itself_are_never_answers(retriever: Retriever) -> None:
    history = ["red-mug", "red-lamp"]
    asked = retriever.recommend([history], k=5)
    (row,) = losses(retriever, asked, [{"red-shoe", "red-mug"}], kind="history", measures=["recall@20"])
    assert (row.perfect, row.exact, row.served) == (0.5, 0.5, 0.5)  # what was seen cannot be found again
    similar: Candidates = retriever.similar_items(["green-mug"], k=5)
    wanted = [similar[0][0].item_id]
    (row,) = losses(retriever, similar, [{*wanted, "green-mug"}], kind="item", measures=["mrr@3"])
    assert (row.exact, row.served) == (1, 1)
    (row,) = losses(retriever, similar, [{"green-mug"}], kind="item", measures=["recall@20"])
    assert (row.perfect, row.exact, row.served) == (0, 0, 0)
