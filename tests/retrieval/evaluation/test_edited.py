"""The judge over a bundle that has changed since it was built: what was taken out or replaced counts for nothing."""

import json

import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import delete, upsert
from indexing.catalogue.catalogue import Catalogue
from retrieval.evaluation import item_groups, losses, sides_of
from retrieval.interactions.interactions import Interactions
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, toy_file


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """The toy bundle without the red shoe, and with a red mug that has become another thing, without a picture."""
    folder = tmp_path_factory.mktemp("edited")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle")
    delete(folder / "bundle", ["red-shoe"])
    path = folder / "new.jsonl"
    kite = {"item_id": "red-mug", "title": "jade kite", "price": 1, "tags": ["jade"], "image": None}
    path.write_text(json.dumps(kite))
    upsert(folder / "bundle", Catalogue.from_jsonl(path), ToyEncoder())
    return Retriever.load(folder / "bundle", ToyEncoder())


def test_groups_are_of_the_items_as_they_are_now(edited: Retriever) -> None:
    past = Interactions.from_arrow(pa.table({"user": ["u", "v", "v"], "item": ["red-mug", "red-mug", "red-shoe"]}))
    groups = item_groups(edited.bundle, past, attributes=["tags"])
    assert groups["item"]["warm"] == groups["popularity"]["popular"] == {"red-mug"}
    assert len(groups["item"]["cold"]) == 18
    assert "red-mug" in groups["image"]["without image"]
    assert "red-mug" not in groups["image"]["with image"]
    assert groups["tags"]["jade"] == {"red-mug"}
    assert groups["tags"]["red"] == {"red-lamp", "red-book", "red-chair"}


def test_sides_have_each_item_once(edited: Retriever) -> None:
    sides = sides_of(edited)
    for name in ("text", "item"):
        assert len(sides[name].item_ids) == 19
        assert set(sides[name].item_ids) == {edited.items[row] for row in range(len(edited.items))} - {"red-shoe"}
    assert not {"red-mug", "red-shoe"} & set(sides["image"].item_ids)


def test_exact_search_is_over_what_is_there(edited: Retriever) -> None:
    asked = edited.search_texts(["red shoe", "red mug"], k=2)
    best = [hits[0].item_id for hits in asked]
    assert best[0] != "red-shoe"
    (row,) = losses(edited, asked, [{item} for item in best], kind="text", measures=["mrr@3"])
    assert (row.perfect, row.exact, row.served) == (1, 1, 1)
    (row,) = losses(edited, asked, [{"red-shoe"}] * 2, kind="text", measures=["recall@20"])
    assert (row.perfect, row.exact, row.served) == (0, 0, 0)
